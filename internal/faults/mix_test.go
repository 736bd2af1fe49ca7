//go:build unix

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
)

// Everything at once, at random: what each node, the cluster and the operator go
// through is drawn from the seed, which is the name of the test. To repeat one:
//
//	go test ./internal/faults -run TestMix -seed 1234 -v
func TestMix(t *testing.T) {
	t.Parallel()
	for _, seed := range mixSeeds(times(1, 40)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			mix(t, seed)
		})
	}
}

// mixSeeds returns n new seeds, or the one that is to be repeated.
func mixSeeds(n int) (seeds []uint64) {
	if *seed != 0 {
		return []uint64{*seed}
	}
	for range n {
		seeds = append(seeds, 1+rand.Uint64()>>32)
	}
	return seeds
}

// mixer draws what happens to one target. Each target has its own.
type mixer struct {
	*world
	*rand.Rand
	who    string
	until  time.Time
	freeze bool
}

func mix(t *testing.T, seed uint64) {
	draw := rand.New(rand.NewPCG(seed, 0))
	o := options{jobs: 1 + draw.IntN(4), nodes: 2 + draw.IntN(3)}
	freeze := draw.IntN(2) == 0
	if !freeze { // a process that was frozen must stop at once, see wake
		o.linger = time.Duration(draw.IntN(250)) * time.Millisecond
	}
	if draw.IntN(2) == 0 {
		o.term = time.Second
	}
	if o.balance = draw.IntN(2) == 0; o.balance {
		o.jobs *= 3
	}
	t.Logf("%d nodes, %d jobs, balance %v, linger %v, term %v, freeze %v", o.nodes, o.jobs, o.balance, o.linger, o.term, freeze)
	w := newWorld(t, newCluster(t, 3, nil), o)
	w.startAll()
	until := time.Now().Add(time.Duration(times(12, 40)) * time.Second)
	var wg sync.WaitGroup
	actor := func(who string, stream uint64, act func(*mixer)) {
		m := &mixer{w, rand.New(rand.NewPCG(seed, stream)), who, until, freeze}
		wg.Go(func() {
			for m.pause(3*time.Second) && !t.Failed() {
				act(m)
			}
		})
	}
	for i, n := range w.nodes {
		actor(n.name, uint64(1+i), func(m *mixer) { m.breakNode(i) })
	}
	actor("etcd", 100, (*mixer).breakETCD)
	actor("operator", 101, (*mixer).operate)
	wg.Wait()
	calm := monotonic()
	w.etcdLeader(nil)
	w.awaitRunning()
	require.LessOrEqual(t, monotonic()-calm, w.gapAfterLoss()+election+w.stalls.Worst(), "O4, once all is well again")
	w.hold(time.Duration(times(12, 40))*time.Second+w.gapAfterLoss()+election, freeze)
}

// pause reports whether the mix goes on after it.
func (m *mixer) pause(limit time.Duration) bool {
	time.Sleep(m.upTo(limit))
	return time.Now().Before(m.until)
}

// upTo mostly returns short times.
func (m *mixer) upTo(limit time.Duration) time.Duration {
	return time.Duration(m.Int64N(1 + m.Int64N(int64(limit))))
}

func (m *mixer) say(format string, args ...any) {
	m.t.Logf("%8v %s: %s", (monotonic() - m.began).Round(time.Millisecond), m.who, fmt.Sprintf(format, args...))
}

func (m *mixer) breakNode(i int) {
	n, d := m.nodes[i], m.upTo(3*m.ttl)
	switch m.IntN(9) {
	case 0:
		m.say("blackhole for %v", d)
		n.each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
	case 1:
		m.say("nothing reaches it for %v", d)
		n.each((*link.Link).HoldDown)
	case 2:
		m.say("reaches nothing for %v", d)
		n.each((*link.Link).HoldUp)
	case 3:
		m.say("refused for %v", d)
		n.each((*link.Link).Refuse)
	case 4:
		one := m.IntN(len(n.links))
		m.say("cut off from member %d for %v", one, d)
		n.links[one].HoldUp()
		n.links[one].HoldDown()
	case 5:
		m.say("all connections cut")
		n.each((*link.Link).Cut)
		d = 0
	case 6:
		m.say("killed for %v", d)
		n.Kill()
		time.Sleep(d)
		m.start(i)
		return
	case 7:
		m.say("stopped for %v", d)
		if err := n.End(15 * time.Second); err != nil {
			m.t.Errorf("%s: %v", n.name, err)
		}
		time.Sleep(d)
		m.start(i)
		return
	case 8:
		if m.freeze {
			m.say("frozen for %v", d)
			n.Process.Pause()
			time.Sleep(d)
			n.Resume()
			return
		}
		d = 0
	}
	time.Sleep(d)
	if m.IntN(3) == 0 {
		n.each((*link.Link).Cut) // and what was held is lost
	}
	n.each((*link.Link).Heal)
}

// breakETCD breaks one member at a time.
func (m *mixer) breakETCD() {
	member := m.cluster.members[m.IntN(len(m.cluster.members))]
	d := m.upTo(3 * m.ttl)
	switch m.IntN(3) {
	case 0:
		m.say("%s paused for %v", member.config.Name, d)
		member.Process.Pause()
		time.Sleep(d)
		member.Resume()
	case 1:
		m.say("%s killed for %v", member.config.Name, d)
		member.Kill()
		time.Sleep(d)
		if err := member.start(); err != nil {
			m.t.Errorf("start %s: %v", member.config.Name, err)
		}
	}
}

// operate does what must not be done by hand, but for what lies outside the
// guarantee. It may fail: etcd may be away.
func (m *mixer) operate() {
	n, job := m.nodes[m.IntN(len(m.nodes))], m.jobNames[m.IntN(len(m.jobNames))]
	var claims string
	m.history.look(func(p *picture) { claims = p.document(n.name, job) })
	if claims == "" {
		return
	}
	node := "nodes/" + strings.Split(claims, "/")[1]
	ctx, cancel := context.WithTimeout(m.ctx, 2*time.Second)
	defer cancel()
	c, key := m.cluster.client, func(document string) string { return m.app + "/" + document }
	act := func(what string, err error) { m.say("%s of %s: %v", what, n.name, err) }
	switch m.IntN(6) {
	case 0:
		_, err := c.Delete(ctx, key(node))
		act("node document deleted", err)
	case 1:
		_, err := c.Delete(ctx, key(claims))
		act("claims deleted", err)
	case 2:
		_, err := c.Put(ctx, key(claims), "broken")
		act("claims broken", err)
	case 3:
		_, err := c.Put(ctx, key(node), "broken")
		act("node document broken", err)
	case 4:
		_, err := c.Delete(ctx, key("epoch"))
		act("epoch deleted, not only", err)
	case 5:
		_, err := c.Compact(ctx, m.history.last())
		act("compacted, by way", err)
	}
}

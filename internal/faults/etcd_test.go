//go:build unix

package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/internal/link"
)

// election is how long etcd may be without a leader: three election timeouts.
const election = 6 * time.Second

// These faults break etcd itself, so each has a cluster of its own. The bound of
// a gap is that of a crash and the time for which etcd was away.

func TestETCDLeaderKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 3 * time.Second})
	w.startAll()
	for range times(1, 5) {
		leader := w.etcdLeader(nil)
		leader.Kill()
		w.etcdLeader(leader)
		w.awaitRunning()
		require.NoError(t, leader.start())
		w.awaitRunning()
	}
	w.hold(w.gapAfterLoss()+election, false)
}

// A paused etcd leader is deposed. What it is asked meanwhile, and answers when it is
// woken, is of a time that has passed.
func TestETCDLeaderPausedForLongerThanTheTTL(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 1, leases: 10, ttl: 5 * time.Second, linger: 100 * time.Millisecond})
	w.startAll()
	for range times(2, 30) {
		leader := w.etcdLeader(nil)
		leader.Pause()
		time.Sleep(w.ttl + w.ttl/2)
		leader.Resume()
		time.Sleep(2 * time.Second)
		w.awaitRunning()
	}
	w.hold(w.gapAfterLoss()+election, false)
}

func TestETCDMemberPaused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 5 * time.Second})
	w.startAll()
	before := w.holders()
	leader := w.etcdLeader(nil)
	for _, m := range c.members {
		if m != leader {
			m.Pause()
			time.Sleep(2 * w.ttl)
			m.Resume()
			break
		}
	}
	w.unmoved(before)
	for _, n := range w.nodes {
		require.NotContains(t, w.said(n), "lease lost", n.name)
	}
	w.hold(silence, false)
}

// The network may fall into two parts, with one node and one member of etcd on
// the smaller side: that member takes the node's calls, and can do nothing with
// them.
func TestANodeThatSeesOnlyAMinority(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		minority string
		others   string // what the other nodes see
	}{
		{"follower", "the majority"}, {"leader", "the majority"}, {"follower", "all members"}, {"leader", "all members"},
	} {
		t.Run(tc.minority+", others see "+tc.others, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, nil)
			w := newWorld(t, c, options{jobs: 3, ttl: 3 * time.Second})
			alone := w.startAll()
			was := w.etcdLeader(nil)
			member := was
			if tc.minority == "follower" {
				member = c.other(was)
			}
			before := w.holders()
			alone.eachBut(c, member, (*link.Link).Refuse)
			time.Sleep(w.ttl / 2) // it has moved on to the member
			w.unmoved(before)

			member.isolate()
			w.await("the member is cut off", member.isolated)
			cut := monotonic()
			if tc.others == "the majority" {
				for _, n := range w.nodes[1:] {
					n.linkTo(c, member).Refuse()
				}
			}
			w.await("the node has stopped", func() bool { return w.stoppedAfter(before, cut) >= 0 })
			stopped := w.stoppedAfter(before, cut)
			t.Logf("the node has stopped %v after the member was cut off (bound %v)", stopped.Round(time.Millisecond), w.silentFor())
			require.LessOrEqual(t, stopped, w.silentFor()+w.stalls.Worst())
			w.awaitTaken(before)
			require.NotEqual(t, alone, w.holder(), "it cannot lead")
			time.Sleep(w.ttl)

			member.rejoin()
			w.awaitCandidates(len(w.nodes))
			after := w.holders()
			for _, n := range w.nodes {
				n.each((*link.Link).Heal)
			}
			w.unmoved(after)
			bound := w.gapAfterLoss()
			if member == was {
				bound += election
			}
			w.hold(bound, false)
		})
	}
}

// Without a quorum nobody can renew anything: all nodes stop in time, and go on
// when etcd does.
func TestETCDQuorumAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 3})
	w.startAll()
	for _, m := range c.members[:2] {
		m.Pause()
	}
	away := 2 * w.ttl
	time.Sleep(away)
	for _, m := range c.members[:2] {
		m.Resume()
	}
	w.etcdLeader(nil)
	time.Sleep(w.ttl)
	w.awaitRunning()
	w.hold(away+w.gapAfterLoss()+election, false)
}

func TestETCDRestarted(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]time.Duration{"at-once": 0, "after-more-than-the-lease": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, nil)
			w := newWorld(t, c, options{jobs: 3})
			w.startAll()
			for _, m := range c.members {
				m.Kill()
			}
			time.Sleep(away)
			for _, m := range c.members {
				require.NoError(t, m.start())
			}
			require.NoError(t, c.await(w.ctx))
			time.Sleep(w.ttl)
			w.awaitRunning()
			w.hold(away+w.gapAfterLoss()+election, false)
		})
	}
}

// What the watch has missed may have been compacted away. Then the node lists,
// and must not take what it cannot see any more for nothing.
func TestCompactionWhileTheWatchIsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 4 * time.Second})
	leader := w.startAll()
	before := w.holders()
	for _, victim := range []*node{w.nodes[1], leader} {
		victim.each((*link.Link).HoldDown)
		time.Sleep(w.ttl / 4)
		if victim == w.nodes[1] {
			node, _ := w.documents(leader)
			w.delete(node) // unseen by one
		}
		time.Sleep(w.ttl / 8)
		w.operate(func(ctx context.Context, c *clientv3.Client) error {
			events, err := w.history.all(ctx, c)
			if err == nil {
				_, err = c.Compact(ctx, events[len(events)-1].rev)
			}
			return err
		})
		victim.each((*link.Link).Cut)
		victim.each((*link.Link).Heal)
		w.awaitTaken(before)
		w.awaitCandidates(len(w.nodes))
	}
	w.hold(w.gapAfterLoss(), false)
}

// A node may be cut off at any point of its coming, also once etcd has documents of
// which it does not know. It comes nevertheless, the others bury what is left, and
// do not care.
func TestCutWhileANodeComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newCluster(t, 1, nil), options{ttl: 6 * time.Second})
	w.startAll()
	before := w.holders()
	n, lives := w.nodes[2], 1
	const comes = 3000 // bytes that a node is told until it campaigns for its job
	for bytes := 40; bytes <= comes; bytes += times(90, 8) {
		w.stop(n)
		n.links[0].CutAfter(bytes)
		w.start(2)
		lives++
		w.awaitCandidates(len(w.nodes))
	}
	written := 0
	w.await("what nobody knows of is buried", func() (buried bool) {
		w.history.look(func(p *picture) { buried, written = p.alive() == len(w.nodes), p.lives(n.name) })
		return buried
	})
	t.Logf("%d times cut: %d sessions of which nobody knew", lives-1, written-lives)
	w.unmoved(before)
	w.hold(unnoticed(w), false)
}

// A database that is full takes no heartbeats: leadership ends as if etcd were
// away, and comes back when there is room again.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newCluster(t, 1, func(m *memberConfig) { m.Quota = 8 << 20 }), options{jobs: 3})
	w.startAll()
	before := w.holders()
	for full := false; !full; {
		w.operate(func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Put(ctx, "rubbish", strings.Repeat("x", 1<<20))
			if full = errors.Is(err, rpctypes.ErrNoSpace); full {
				return nil
			}
			return err
		})
	}
	filled := monotonic()
	const full = 5 * time.Second
	time.Sleep(full)
	stopped := w.stoppedAfter(before, filled)
	require.GreaterOrEqual(t, stopped, time.Duration(0), "all have stopped")
	require.LessOrEqual(t, stopped, w.silentFor()+w.stalls.Worst())
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		deleted, err := c.Delete(ctx, "rubbish")
		if err != nil {
			return err
		}
		if _, err := c.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			return err
		}
		if _, err := c.Defragment(ctx, w.cluster.members[0].config.Client); err != nil {
			return err
		}
		_, err = c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
		return err
	})
	w.awaitRunning()
	w.hold(full+w.gapAfterLoss()+closing, false)
}

// closing is how long a node tries to close a lost lease, before it asks for the
// next one.
const closing = 5 * time.Second

// A thousand jobs keep a small machine busy: no other test runs meanwhile.
func TestANodeWithManyJobsIsKilled(t *testing.T) {
	w := newWorld(t, newCluster(t, 3, nil), options{jobs: 1000, ttl: 3 * time.Second, tick: 200 * time.Millisecond})
	leader := w.startAll()
	before := w.holders()
	leader.crash()
	w.awaitTaken(before)
	w.hold(w.gapAfterLoss()+busy, false)
}

// etcdLeader waits for a leader other than the given member.
func (w *world) etcdLeader(other *Member) *Member {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	m, err := w.cluster.leader(ctx, other)
	require.NoError(w.t, err)
	return m
}

// times returns how often to repeat something, in short and in long.
func times(short, many int) int {
	if *long {
		return many
	}
	return short
}

//go:build unix

package faults

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Load balancing on real processes: after each change of the nodes the jobs are
// even again, with the fewest moves that there can be, and the largest time that a
// job was without a runner is told. The oracles judge it all.
func TestBalancing(t *testing.T) {
	t.Parallel()
	sizes := []struct{ jobs, nodes int }{{29, 3}}
	if *long {
		sizes = append(sizes, struct{ jobs, nodes int }{1000, 10})
	}
	for _, size := range sizes {
		t.Run(fmt.Sprintf("%d jobs on %d nodes", size.jobs, size.nodes), func(t *testing.T) {
			w := newWorld(t, newCluster(t, 3, nil), options{
				jobs: size.jobs, nodes: size.nodes + 1, balance: true, ttl: 3 * time.Second, tick: time.Duration(5+size.jobs/2) * time.Millisecond,
			})
			b := &balancing{world: w, up: map[string]bool{}}
			b.phase("first node starts", func() { b.join(0) })
			b.phase("the others start", func() {
				for i := range size.nodes - 1 {
					b.join(i + 1)
				}
			})
			w.began = monotonic()
			for i := range size.nodes {
				b.phase(fmt.Sprintf("node %d stops", i), func() { b.leave(i, w.stop) })
				b.phase(fmt.Sprintf("node %d starts", i), func() { b.join(i) })
			}
			b.phase("node 1 killed", func() { b.leave(1, func(n *node) { n.crash() }) })
			b.phase("node 1 starts", func() { b.join(1) })
			b.phase("another node joins", func() { b.join(size.nodes) })
			v := w.hold(w.gapAfterLoss(), false)
			b.report(v)
		})
	}
}

// balancing goes through phases in which nodes come or go.
type balancing struct {
	*world
	up     map[string]bool
	least  int // moves that the phase cannot do without
	phases []phase
}

type phase struct {
	name        string
	from, until time.Duration
	loads       []int
	least       int
}

// phase does something, and waits until the jobs are even, and nothing has moved
// for a while after that.
func (b *balancing) phase(name string, do func()) {
	b.t.Helper()
	p := phase{name: name, from: monotonic()}
	b.least = 0
	do()
	b.await(name+": jobs are even", func() bool {
		b.awaitRunning()
		least, most, sum := b.spread()
		return most-least <= 1 && sum == len(b.jobNames)
	})
	before := b.holders()
	time.Sleep(b.ttl)
	b.unmoved(before)
	for _, n := range b.loads() {
		p.loads = append(p.loads, n)
	}
	p.until, p.least = monotonic(), b.least
	b.phases = append(b.phases, p)
}

func (b *balancing) join(i int) {
	n := b.world.start(i)
	if b.up[n.name] = true; len(b.up) > 1 {
		b.least = b.leastMoves()
	}
}

func (b *balancing) leave(i int, how func(*node)) {
	n := b.nodes[i]
	b.least = b.loads()[n.name]
	delete(b.up, n.name)
	how(n)
}

// loads returns the number of jobs on each node that is up.
func (b *balancing) loads() map[string]int {
	loads := map[string]int{}
	for name := range b.up {
		loads[name] = 0
	}
	for _, last := range b.holders() {
		if b.up[last.node] {
			loads[last.node]++
		}
	}
	return loads
}

func (b *balancing) spread() (least, most, sum int) {
	least = len(b.jobNames)
	for _, n := range b.loads() {
		least, most, sum = min(least, n), max(most, n), sum+n
	}
	return least, most, sum
}

// leastMoves is how many moves make the present loads even, whatever is done.
func (b *balancing) leastMoves() int {
	floor := len(b.jobNames) / len(b.up)
	ceil := (len(b.jobNames) + len(b.up) - 1) / len(b.up)
	above, below := 0, 0
	for _, n := range b.loads() {
		above += max(0, n-ceil)
		below += max(0, floor-n)
	}
	return max(above, below)
}

// report tells what each phase cost, from the records of the jobs.
func (b *balancing) report(v verdict) {
	b.t.Logf("%-20s %6s %6s %10s  %s", "", "moves", "least", "max gap", "jobs on each node")
	for _, p := range b.phases {
		moves, longest := 0, time.Duration(0)
		for _, r := range v.runs {
			if r.Start > p.from && r.Start <= p.until {
				moves++
			}
		}
		for _, g := range v.report.Gaps {
			if g.To > p.from && g.To <= p.until {
				longest = max(longest, g.To-b.ranUntil(g))
			}
		}
		b.t.Logf("%-20s %6d %6d %10v  %v", p.name, moves, p.least, longest.Round(time.Millisecond), p.loads)
		if p.from > b.began {
			require.Equal(b.t, p.least, moves, "%s: moves", p.name)
		}
	}
}

//go:build unix

package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
)

// fault is something that happens to a world in which the first node runs all
// jobs, and two more wait.
type fault struct {
	name    string
	options options
	frozen  bool                       // a process gets frozen
	bound   func(*world) time.Duration // of the time a job has no runner
	do      func(w *world, leader *node)
}

func crash(w *world) time.Duration { return w.gapAfterLoss() }

// handover bounds the gap when a job is handed over while etcd works.
func handover(w *world) time.Duration { return w.linger + 500*time.Millisecond }

// afterWhatWasDone bounds it where we do something to documents once the job has no runner.
func afterWhatWasDone(w *world) time.Duration { return handover(w) + w.operated }

// unnoticed bounds the gap when nobody loses anything.
func unnoticed(*world) time.Duration { return silence }

// lossAndReturn is for what comes and goes, and what is lost may be lost again
// while it is being taken over.
func lossAndReturn(w *world) time.Duration { return 2 * w.gapAfterLoss() }

// cutOff makes a fault of what is done to the links of the node that runs all
// jobs: the jobs go elsewhere, and the node comes back later.
func cutOff(do func(*link.Link)) func(w *world, leader *node) {
	return func(w *world, leader *node) {
		before := w.holders()
		leader.each(do)
		w.awaitTaken(before)
		time.Sleep(w.ttl / 2)
		leader.each((*link.Link).Heal)
		w.awaitCandidates(len(w.nodes))
	}
}

// faultsOfNodes break one node, or its network. They do not disturb each other,
// so they share an etcd cluster and run at the same time.
var faultsOfNodes = []fault{
	{name: "clean stop", bound: handover, do: func(w *world, leader *node) {
		before := w.holders()
		w.stop(leader)
		w.awaitTaken(before)
	}},
	{name: "SIGTERM under load", options: options{jobs: 40, linger: 100 * time.Millisecond}, bound: handover, do: func(w *world, leader *node) {
		before := w.holders()
		w.stop(leader)
		w.awaitTaken(before)
	}},
	{name: "kill -9", options: options{jobs: 5}, bound: crash, do: func(w *world, leader *node) {
		before := w.holders()
		leader.crash()
		w.awaitTaken(before)
	}},
	{name: "frozen for less than the validity", options: options{ttl: 4 * time.Second}, frozen: true, bound: func(*world) time.Duration { return 1500 * time.Millisecond }, do: func(w *world, leader *node) {
		before := w.holders()
		for range 3 {
			leader.Pause()
			time.Sleep(w.ttl / 4)
			leader.Resume()
			time.Sleep(time.Second)
		}
		w.unmoved(before)
	}},
	{name: "starved of processor time", frozen: true, bound: lossAndReturn, do: func(w *world, leader *node) {
		for range 40 { // nine tenths of the time
			leader.Pause()
			time.Sleep(90 * time.Millisecond)
			leader.Resume()
			time.Sleep(10 * time.Millisecond)
		}
		w.awaitRunning()
	}},
	{name: "frozen for longer than the lease", frozen: true, bound: crash, do: frozenForLong},
	{name: "blackhole both ways", bound: crash, do: cutOff(func(l *link.Link) { l.HoldUp(); l.HoldDown() })},
	{name: "blackhole to the members", bound: crash, do: cutOff((*link.Link).HoldUp)},
	{name: "blackhole to the node", bound: crash, do: cutOff((*link.Link).HoldDown)},
	{name: "blackhole with work that lingers", options: options{jobs: 3, linger: 250 * time.Millisecond}, bound: crash, do: cutOff(func(l *link.Link) { l.HoldUp(); l.HoldDown() })},
	{name: "connections refused", bound: crash, do: cutOff((*link.Link).Refuse)},
	{name: "replies held until the deadline", bound: lossAndReturn, do: func(w *world, _ *node) {
		for _, part := range []float64{.75, .8, .95, 1} {
			n := w.holder()
			n.each((*link.Link).HoldDown)
			time.Sleep(time.Duration(part * float64(w.ttl)))
			n.each((*link.Link).Heal)
			w.awaitRunning()
			time.Sleep(w.ttl / 4)
		}
	}},
	{name: "a reply held and then silence", options: options{ttl: 4 * time.Second, linger: 700 * time.Millisecond}, bound: lossAndReturn, do: func(w *world, leader *node) {
		before := w.holders()
		leader.each((*link.Link).HoldDown)
		time.Sleep(w.ttl * 26 / 100) // one more heartbeat
		leader.each((*link.Link).HoldUp)
		time.Sleep(w.ttl * 21 / 100)
		leader.each((*link.Link).ReleaseDown) // its answer, just before the deadline
		w.awaitTaken(before)
		leader.each((*link.Link).Heal)
	}},
	{name: "heartbeats that arrive after the burial", options: options{ttl: 4 * time.Second}, frozen: true, bound: unnoticed, do: func(w *world, _ *node) {
		before := w.holders()
		waiting := w.nodes[1]
		key, _ := w.documents(waiting)
		w.awaitHeartbeat(key)
		waiting.each((*link.Link).HoldUp)
		time.Sleep(w.ttl * 28 / 100) // the next heartbeat is on its way, and has not been given up
		waiting.Pause()
		w.awaitVoid(key)
		waiting.each((*link.Link).Heal)
		time.Sleep(w.ttl / 4)
		waiting.Resume()
		w.awaitCandidates(len(w.nodes))
		w.unmoved(before)
	}},
	{name: "a blip", bound: unnoticed, options: options{ttl: 6 * time.Second}, do: func(w *world, leader *node) {
		before := w.holders()
		for range 3 {
			leader.each((*link.Link).Cut)
			time.Sleep(w.ttl / 4)
			leader.each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
			time.Sleep(w.ttl / 5)
			leader.each((*link.Link).Heal)
			time.Sleep(w.ttl / 2)
		}
		w.unmoved(before)
	}},
	{name: "transactions cut after they were sent", options: options{jobs: 3, term: 500 * time.Millisecond}, bound: lossAndReturn, do: func(w *world, _ *node) {
		for range 15 {
			n := w.holder()
			n.each((*link.Link).HoldDown)
			time.Sleep(150 * time.Millisecond)
			n.each((*link.Link).Cut)
			n.each((*link.Link).Heal)
			time.Sleep(150 * time.Millisecond)
		}
		w.awaitRunning()
	}},
	// As little time between the two as the protocol allows for; see the mutants
	// that change the rates of the clocks.
	{name: "cut off and all of the grace used", options: options{ttl: 6 * time.Second, linger: 1150 * time.Millisecond}, bound: lossAndReturn, do: func(w *world, leader *node) {
		before := w.holders()
		key, _ := w.documents(leader)
		w.awaitHeartbeat(key) // that all have seen as it came
		leader.each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
		w.awaitTaken(before)
		leader.each((*link.Link).Heal)
	}},
	{name: "log handler blocks, and cut off", options: options{jobs: 50, block: "log", tick: 50 * time.Millisecond}, bound: lossAndReturn, do: cutOffTogether},
	{name: "hooks block, and cut off", options: options{jobs: 50, block: "hooks", tick: 50 * time.Millisecond}, bound: lossAndReturn, do: cutOffTogether},
	{name: "log handler blocks, and a document deleted", options: options{jobs: 50, block: "log", tick: 50 * time.Millisecond}, bound: crash, do: func(w *world, leader *node) {
		before := w.holders()
		key, _ := w.documents(leader)
		w.delete(key)
		w.awaitTaken(before)
		w.toldTogether(before)
	}},
}

// cutOffTogether cuts the node off that runs all jobs: they all stop together.
func cutOffTogether(w *world, leader *node) {
	before := w.holders()
	leader.each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
	w.awaitTaken(before)
	w.toldTogether(before)
	leader.each((*link.Link).Heal)
	w.awaitCandidates(len(w.nodes))
}

// frozenForLong freezes two leaders. One that had lost its lease by then, as the machine
// stood still, has nothing more to write and does not count.
func frozenForLong(w *world, _ *node) {
	for frozen, tries := 0, 0; frozen < 2; tries++ {
		require.Less(w.t, tries, 10, "who leads loses its lease before it is frozen")
		leader := w.holder()
		before := w.heldBy(leader)
		leader.Pause()
		asleep := monotonic()
		w.awaitTaken(before)
		time.Sleep(w.ttl / 2)
		woken := monotonic()
		leader.Resume()
		w.await("the frozen node has stopped", func() bool { return w.stoppedAfter(before, woken) >= 0 })
		late := w.stoppedAfter(before, woken)
		w.t.Logf("woken after more than the lease, told to stop %v later", late.Round(time.Microsecond))
		require.LessOrEqual(w.t, late, w.wake())
		if w.stoppedAfter(before, asleep) > 0 {
			frozen++
			stale, _ := w.register.verdict()
			require.GreaterOrEqual(w.t, len(stale), frozen, "its last write must have come, and been refused")
		}
		w.awaitCandidates(len(w.nodes))
	}
}

// A crash costs the TTL, however short: others wait for T·(1+ρ) from the last
// heartbeat, and what comes after that is a tombstone and its event. No other test
// runs meanwhile, as a busy machine is a slow one.
func TestACrashCostsTheTTL(t *testing.T) {
	cluster := newCluster(t, 3, nil)
	for _, ttl := range []time.Duration{500 * time.Millisecond, time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			w := newWorld(t, cluster, options{jobs: 20, ttl: ttl, tick: 20 * time.Millisecond})
			w.startAll()
			for range times(3, 20) {
				leader := w.holder()
				before := w.heldBy(leader)
				leader.crash()
				w.awaitTaken(before)
				w.start(slices.Index(w.nodes, leader))
				w.awaitCandidates(len(w.nodes))
			}
			promised := ttl + ttl/10 + 150*time.Millisecond
			v := w.hold(promised+busy, false)
			t.Logf("T = %v: all jobs ran elsewhere %v after a kill -9; promised are %v on a quiet machine", ttl, v.longest.Round(time.Millisecond), promised)
		})
	}
}

// busy is what a machine with too little to do with may add.
const busy = 300 * time.Millisecond

// withShortTTLs returns the faults that must do as well with the shortest TTLs.
func withShortTTLs() (all []fault) {
	ttls := []time.Duration{500 * time.Millisecond, time.Second}[:times(1, 2)]
	names := []string{"frozen for longer than the lease", "blackhole both ways", "replies held until the deadline", "connections refused"}
	for _, f := range slices.Concat(faultsOfNodes, lossesCutOff()) {
		if !*long && !slices.Contains(names, f.name) || !slices.Contains(names, f.name) && !strings.HasSuffix(f.name, "cut off") {
			continue
		}
		for _, ttl := range ttls {
			short := f
			short.name = fmt.Sprintf("%s with a TTL of %v", f.name, ttl)
			short.options.ttl, short.options.linger, short.bound = ttl, min(f.options.linger, ttl/10), lossAndReturn
			all = append(all, short)
		}
	}
	return all
}

func TestFaultsOfNodes(t *testing.T) {
	cluster := newCluster(t, 3, nil)
	for _, f := range slices.Concat(faultsOfNodes, faultsOfDocuments, lossesInTurn(), lossesCutOff()) {
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			f.run(t, cluster)
		})
	}
}

// One after the other, as a busy machine takes short leases away.
func TestFaultsOfNodesWithShortTTLs(t *testing.T) {
	cluster := newCluster(t, 3, nil)
	for _, f := range withShortTTLs() {
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			f.run(t, cluster)
		})
	}
}

func (f fault) run(t *testing.T, cluster *Cluster) verdict {
	w := newWorld(t, cluster, f.options)
	w.startAll()
	f.do(w, w.holder()) // the first node, unless the machine stood still
	return w.hold(f.bound(w), f.frozen)
}

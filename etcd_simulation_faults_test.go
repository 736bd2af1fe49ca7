package distributed

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/b2552be4/distributed/internal/simetcd"
)

// simLatency is the least time that a message takes.
const simLatency = 50 * time.Microsecond

// simWeather is what befalls single messages: it implements simetcd.Faults.
type simWeather struct {
	s                             *simulation
	clears                        time.Time // from then on messages are at most a little late, and none is lost
	lost, mute, again, late, slow float64   // how likely

	mu    sync.Mutex
	calls map[string]uint64
	lags  map[string]time.Duration // by link: of its watches
	stale map[string]bool          // by link: its keep-alives renew nothing
}

func newSimWeather(s *simulation, rng *rand.Rand) *simWeather {
	w := &simWeather{
		s: s, clears: s.start.Add(12 * s.ttl),
		calls: map[string]uint64{}, lags: map[string]time.Duration{}, stale: map[string]bool{},
	}
	if !s.calm {
		w.lost, w.mute = pick(rng, 0, 0.02, 0.1), pick(rng, 0, 0.02, 0.1)
		w.again, w.late, w.slow = pick(rng, 0, 0.1, 0.5), pick(rng, 0, 0.02, 0.05), pick(rng, 0, 0.05, 0.2)
	}
	return w
}

// Call implements simetcd.Faults.
func (w *simWeather) Call(link, method string) simetcd.Fate {
	rng, _ := w.next(link + method)
	left := time.Until(w.clears)
	fate := simetcd.Fate{Before: simLatencyOf(rng), After: simLatencyOf(rng)}
	if w.befalls(rng, w.again, "executed again") {
		fate.Again = between(rng, time.Millisecond, time.Second)
	}
	if left <= 0 {
		return fate
	}
	if rng.Float64() < w.slow {
		fate.Before += between(rng, 0, 800*time.Millisecond)
	}
	if rng.Float64() < w.slow {
		fate.After += between(rng, 0, 800*time.Millisecond)
	}
	if w.befalls(rng, w.late, "executed late") { // likely after the caller has given up
		fate.Before = between(rng, 0, min(left, 2*w.s.ttl))
	}
	if w.befalls(rng, w.again/2, "executed again") {
		fate.Again = between(rng, time.Millisecond, min(left, 2*w.s.ttl))
	}
	fate.Lost = w.befalls(rng, w.lost, "request lost")
	fate.Mute = w.befalls(rng, w.mute, "reply lost")
	w.mu.Lock()
	defer w.mu.Unlock()
	fate.Stale = w.stale[link]
	return fate
}

func (w *simWeather) befalls(rng *rand.Rand, likelihood float64, what string) bool {
	if rng.Float64() >= likelihood {
		return false
	}
	w.s.total.count(what)
	return true
}

// Event implements simetcd.Faults.
func (w *simWeather) Event(link string) time.Duration {
	rng, lag := w.next(link)
	return simLatencyOf(rng) + lag
}

// Told implements simetcd.Observer.
func (w *simWeather) Told(link string, deleted []*mvccpb.KeyValue) {
	for _, kv := range deleted {
		if kind, job, lease := (etcdKeys{prefix: "app/"}).parse(string(kv.Key)); kind == aliveKey || kind == candidateKey {
			w.s.requireStopped(link, lease, job, kv.ModRevision)
		}
	}
}

func (w *simWeather) next(what string) (rng *rand.Rand, lag time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[what]++
	return simDraw(w.s.seed, what, w.calls[what]), w.lags[what]
}

func (w *simWeather) setLag(link string, lag time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lags[link] = lag
}

func (w *simWeather) setStale(link string, stale bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale[link] = stale
}

func simLatencyOf(rng *rand.Rand) time.Duration {
	return between(rng, simLatency, pick(rng, 200*time.Microsecond, 2*time.Millisecond, 20*time.Millisecond))
}

// trouble lets one fault follow the other, in part while those before last.
func (s *simulation) trouble() {
	rng := simDraw(s.seed, "trouble", 0)
	for i := uint64(0); ; i++ {
		pause := between(rng, 0, s.ttl)
		if s.calm {
			pause += s.ttl
		}
		if s.left() <= pause {
			break
		}
		time.Sleep(pause)
		f := &simFault{simulation: s, rng: simDraw(s.seed, "fault", i)}
		f.node = pick(f.rng, s.nodes...)
		f.link, f.id = f.node.current()
		s.faults.Go(f.happen)
	}
	time.Sleep(s.left())
	s.faults.Wait()
}

// left is the time until the trouble is over.
func (s *simulation) left() time.Duration { return time.Until(s.clears) }

// simFault is one that befalls a node, or all of etcd.
type simFault struct {
	*simulation
	rng  *rand.Rand
	node *simNode
	link *simetcd.Link
	id   string
}

// simFaults are all of them, with their weights. The first is the only one in a
// calm simulation, where nothing else gets in its way.
var simFaults = []struct {
	name   string
	weight int
	happen func(*simFault)
}{
	{"coup", 4, (*simFault).coup},
	{"node cut off", 1, (*simFault).isolate},
	{"watch lags", 1, (*simFault).lag},
	{"lease revoked", 1, (*simFault).revoke},
	{"keep-alives renew nothing", 1, (*simFault).staleOK},
	{"unheard history compacted", 1, (*simFault).forget},
	{"etcd hangs", 1, (*simFault).pauseAll},
	{"etcd away", 1, (*simFault).refuseAll},
	{"no leader", 1, (*simFault).loseLeader},
	{"key deleted", 2, (*simFault).operator},
	{"node stopped", 1, (*simFault).stop},
	{"node crashed", 1, (*simFault).crash},
}

func (f *simFault) happen() {
	var which []int
	for i, fault := range simFaults {
		which = append(which, slices.Repeat([]int{i}, fault.weight)...)
	}
	fault := simFaults[pick(f.rng, which...)]
	if f.calm {
		fault = simFaults[0]
	}
	f.total.count(fault.name)
	fault.happen(f)
}

// while waits for a drawn time, but not past the trouble.
func (f *simFault) while(from, to time.Duration) {
	time.Sleep(min(between(f.rng, from, to), f.left()))
}

// coup takes a node's lease away while the node cannot know, and, now and then,
// makes another look at etcd afresh: the moments at which two may come to lead.
func (f *simFault) coup() {
	if f.rng.IntN(2) == 0 {
		most := min(callTimeout, f.ttl/5) * 95 / 100 // or the node starts another watch
		f.setLag(f.id, pick(f.rng, most, between(f.rng, 0, most)))
		defer f.setLag(f.id, 0)
		f.while(f.ttl/2, f.ttl)
	}
	defer f.cut()()
	f.while(0, f.ttl/4)
	f.revoke()
	f.while(0, f.ttl/2)
	if other := pick(f.rng, f.nodes...); other != f.node && f.rng.IntN(2) == 0 {
		if f.rng.IntN(2) == 0 {
			other.restart(simRestart{})
		} else {
			f.makeForget(other)
		}
	}
	f.while(0, 2*f.ttl)
}

// isolate cuts a node off for a while.
func (f *simFault) isolate() {
	defer f.cut()()
	f.while(0, 2*f.ttl)
}

// cut cuts a node off in some way and returns what mends it.
func (f *simFault) cut() (mend func()) {
	switch f.rng.IntN(8) {
	case 0:
		f.note("fault: %s is refused", f.id)
		f.link.Refuse()
	case 1:
		f.note("fault: nothing gets to %s from etcd", f.id)
		f.link.Hold(false, true)
	case 2:
		f.note("fault: nothing gets from %s to etcd", f.id)
		f.link.Hold(true, false)
	case 3, 4, 5:
		f.note("fault: %s is cut off", f.id)
		f.link.Hold(true, true)
	default:
		f.note("fault: watches tell %s nothing", f.id)
		f.etcd.Stall(f.id, true)
	}
	return func() {
		f.note("fault over: %s is reached again", f.id)
		f.link.Heal()
		f.etcd.Stall(f.id, false)
	}
}

// lag makes a node's watches slow for a while.
func (f *simFault) lag() {
	f.note("fault: watches of %s lag", f.id)
	f.setLag(f.id, between(f.rng, 0, f.ttl/2))
	f.while(f.ttl/2, 2*f.ttl)
	f.setLag(f.id, 0)
}

func (f *simFault) revoke() {
	f.note("fault: the leases of %s are revoked", f.id)
	f.etcd.Revoke(f.id)
}

// forget compacts what a node has not heard.
func (f *simFault) forget() { f.makeForget(f.node) }

func (f *simFault) makeForget(n *simNode) {
	_, id := n.current()
	f.note("fault: what happens is compacted before %s hears of it", id)
	f.etcd.Stall(id, true)
	f.while(f.ttl/4, f.ttl/2)
	f.etcd.Compact()
	f.etcd.Stall(id, false)
}

func (f *simFault) pauseAll() {
	f.note("fault: etcd hangs")
	f.etcd.Pause()
	f.while(0, 2*f.ttl)
	f.note("fault over: etcd goes on")
	f.etcd.Resume(f.rng.IntN(2) == 0)
}

func (f *simFault) refuseAll() {
	f.note("fault: etcd is away")
	for _, n := range f.nodes {
		link, _ := n.current()
		link.Refuse()
		defer link.Heal()
	}
	f.while(0, 2*f.ttl)
	f.note("fault over: etcd is back")
}

func (f *simFault) loseLeader() {
	f.note("fault: etcd has no leader for a moment")
	f.etcd.LoseLeader()
	if f.rng.IntN(2) == 0 {
		f.etcd.CutWatches(f.id)
	}
}

// operator deletes a key; not a node key: that is announced to be unsafe.
func (f *simFault) operator() {
	var keys []string
	for _, key := range f.etcd.Keys() {
		if !strings.HasPrefix(key, "app/node/") {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		key := pick(f.rng, keys...)
		f.note("fault: an operator deletes %s", key)
		f.etcd.Delete(key)
	}
}

func (f *simFault) stop() { f.node.restart(simRestart{pause: between(f.rng, 0, f.ttl)}) }

func (f *simFault) crash() {
	f.node.restart(simRestart{crash: true, pause: between(f.rng, 0, f.ttl)})
}

func (n *simNode) restart(r simRestart) {
	select {
	case n.restarts <- r:
		n.note("fault: %s is restarted: %+v", n.name, r)
	default: // it is being restarted
	}
}

// staleOK makes etcd answer a node's keep-alives, and let its lease run out.
func (f *simFault) staleOK() {
	f.note("fault: keep-alives of %s renew nothing", f.id)
	f.setStale(f.id, true)
	f.while(f.ttl, 2*f.ttl)
	f.setStale(f.id, false)
}

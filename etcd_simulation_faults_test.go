package distributed

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/b2552be4/distributed/internal/simetcd"
)

// simLatency is the least time that a message takes.
const simLatency = 50 * time.Microsecond

// simWeather is what befalls single messages: it implements simetcd.Faults.
type simWeather struct {
	s                             *etcdSimulation
	clears                        time.Time // from then on messages are at most a little late, and none is lost
	lost, mute, again, late, slow float64   // how likely

	mu    sync.Mutex
	calls map[string]uint64
	lags  map[string]time.Duration // by link: of its watches
}

func newSimWeather(s *etcdSimulation, rng *rand.Rand) *simWeather {
	w := &simWeather{
		s: s, clears: s.start.Add(12 * s.ttl),
		calls: map[string]uint64{}, lags: map[string]time.Duration{},
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
		if kind, id, _ := simKeys.parse(string(kv.Key)); kind == nodeDocument || kind == claimsDocument {
			w.s.requireStopped(link, id, kv.ModRevision)
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

func simLatencyOf(rng *rand.Rand) time.Duration {
	return between(rng, simLatency, pick(rng, 200*time.Microsecond, 2*time.Millisecond, 20*time.Millisecond))
}

// trouble lets one fault follow the other, in part while those before last.
func (s *etcdSimulation) trouble() {
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
		f := &simFault{etcdSimulation: s, rng: simDraw(s.seed, "fault", i)}
		f.node = pick(f.rng, s.nodes...)
		f.link, f.id = f.node.current()
		s.faults.Go(f.happen)
	}
	time.Sleep(s.left())
	s.faults.Wait()
}

// left is the time until the trouble is over.
func (s *etcdSimulation) left() time.Duration { return time.Until(s.clears) }

// simFault is one that befalls a node, or all of etcd.
type simFault struct {
	*etcdSimulation
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
	{"history replaced", 1, (*simFault).restore},
	{"everything deleted", 1, (*simFault).wipe},
	{"unheard history compacted", 1, (*simFault).forget},
	{"etcd hangs", 1, (*simFault).pauseAll},
	{"etcd unreachable", 1, (*simFault).refuseAll},
	{"no leader", 1, (*simFault).loseLeader},
	{"document deleted", 2, (*simFault).operator},
	{"document written over", 1, (*simFault).stranger},
	{"document touched", 1, (*simFault).touch},
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

// coup deletes a document of a node while the node cannot know, and, now and then,
// makes another look at etcd afresh: the moments at which two may come to lead.
func (f *simFault) coup() {
	if f.rng.IntN(2) == 0 {
		most := timing{ttl: f.ttl}.lag() * 95 / 100 // or the node starts another feed
		f.setLag(f.id, pick(f.rng, most, between(f.rng, 0, most)))
		defer f.setLag(f.id, 0)
		f.while(f.ttl/2, f.ttl)
	}
	defer f.cut()()
	f.while(0, f.ttl/4)
	f.rob()
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

// cut cuts a node off in some way and returns what ends that.
func (f *simFault) cut() (heal func()) {
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

// rob deletes a document of the node's session.
func (f *simFault) rob() {
	session := f.node.currentSession()
	if session == nil {
		return
	}
	f.edit("an operator deletes", func(d Document) bool {
		kind, id, _ := simKeys.parse(d.Key)
		return id == session.id && (kind == nodeDocument || kind == claimsDocument)
	}, func([]byte) []byte { return nil })
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
	f.etcd.Resume()
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

// operator deletes any document.
func (f *simFault) operator() {
	f.edit("an operator deletes", anyDocument, func([]byte) []byte { return nil })
}

// stranger writes over any document.
func (f *simFault) stranger() {
	f.edit("a stranger writes over", anyDocument, func([]byte) []byte { return []byte("x") })
}

// touch writes any document again as it is.
func (f *simFault) touch() {
	f.edit("a stranger touches", anyDocument, func(value []byte) []byte { return value })
}

func anyDocument(Document) bool { return true }

// edit changes one of the documents, but not the last one that tells of a session:
// who comes then cannot know.
func (f *simFault) edit(what string, which func(Document) bool, change func(value []byte) []byte) {
	f.etcd.Edit(func(kvs map[string]*mvccpb.KeyValue) (string, []byte) {
		docs := documentsOf(kvs)
		var keys []string
		for key, d := range docs {
			if which(d) && !isLastTrace(simKeys, key, docs) {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			return "", nil
		}
		slices.Sort(keys)
		key := pick(f.rng, keys...)
		f.note("fault: %s %s", what, key)
		f.editing(key)
		return key, change(kvs[key].Value)
	})
}

func documentsOf(kvs map[string]*mvccpb.KeyValue) map[string]Document {
	docs := map[string]Document{}
	for key, kv := range kvs {
		docs[key] = document(kv)
	}
	return docs
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

// wipe deletes everything, if each process has seen it.
func (f *simFault) wipe() {
	for f.left() > 0 && !f.wipeNow() {
		f.while(0, f.ttl/2)
	}
}

func (f *simFault) wipeNow() bool {
	if !f.hold(f.ttl*3/2, func() bool { return f.allKnow(0) }) {
		return false
	}
	f.total.count("wiped")
	f.note("fault: an operator deletes everything")
	for _, key := range f.etcd.Keys() {
		f.etcd.Delete(key)
	}
	return true
}

// restore puts back a backup of a moment ago, when each process has seen all until
// now.
func (f *simFault) restore() {
	for f.left() > 0 && !f.restoreNow() {
		f.while(0, f.ttl/20)
	}
}

func (f *simFault) restoreNow() bool {
	ago, bumped := 1+f.rng.Int64N(40), f.rng.IntN(2) == 0
	return f.etcd.Restore(ago, bumped, func(rev int64) bool {
		if !f.hold(f.ttl*3/2, func() bool { return f.allKnow(rev) }) {
			return false
		}
		f.note("fault: a backup of %d revisions ago is put back, bumped %v; it was %d", ago, bumped, rev)
		f.replaced()
		f.total.count("restored")
		return true
	})
}

// allKnow reports whether each process has a session that has seen the app; and,
// unless rev is 0, all up to that.
func (f *simFault) allKnow(rev int64) bool {
	for _, n := range f.nodes {
		s := n.currentSession()
		if s == nil || !s.hasSeen(rev) {
			return false
		}
	}
	return true
}

func (s *session) hasSeen(rev int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost == nil && s.mirror.listed && s.mirror.rev >= rev
}

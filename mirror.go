package distributed

import (
	"bytes"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"time"
)

// mirror is a node's picture of its app in the store, as of one revision. It does
// no I/O and reads no clock: times are those of the node's own clock, read after
// the step arrived that they are for.
//
// What it knows of each node is in doubt.go, who claims what in claims.go.
type mirror struct {
	keys  keys
	self  string // our own id; "" for who only looks
	last  string // the id of the process's last session, "" if it had none
	drift float64

	rev    int64
	listed bool              // there is a picture
	least  int64             // the first listing must not be of a revision below it
	nodes  map[string]*node  // by id
	queues map[string]*queue // by job
	infos  map[string]*told  // by key: info documents and pieces of lists
	orders map[string]heldOrder

	ordered []Order           // those of orders that can be read, sorted; nil if not made
	states  map[string]*state // by job: what is on record

	epoch   string             // the one of the app, as first seen; "" before
	shown   string             // the one in the picture, "" if there is none
	amiss   time.Duration      // until then anything may have been lost, 0 if not
	doubted map[*node]struct{} // nodes in doubt
	silence time.Duration      // the longest that any node seen needs
	foreign map[string]error   // documents in an unknown version of the format, by key

	garbageAge time.Duration // how long a node is void at least before its documents go

	torn    error // why our own session is over, as far as the picture shows
	changes int64 // counts what makes another view; heartbeats do not
	news    news  // what that was
}

// memory is what a process knows of an app from one session to the next.
type memory struct {
	last    string // the id of the session that knew it
	rev     int64
	epoch   string
	shown   string
	amiss   time.Duration
	silence time.Duration
	nodes   map[string]node // of their documents only those that nobody can read
}

// told is a document that concerns views alone.
type told struct {
	value  []byte
	rev    int64
	unused time.Duration // since when no list has this piece; 0 if not, or not known; see unusedLists
}

// change is what a step has changed for elections.
type change struct {
	queues []*queue // whose first claims may be others now; some twice
	all    bool     // whoever could not begin to lead may be able to now
	own    bool     // documents of our own were in it
	orders bool     // there are other orders
	told   bool     // nodes tell something else, or other lists are there
	states []string // jobs of which something else is on record

	namesakes []*node // that have our instance name, and were found to live
}

func newMirror(k keys, self string, t timing, known memory) *mirror {
	m := &mirror{
		keys: k, self: self, last: known.last, drift: t.drift, least: known.rev,
		nodes: map[string]*node{}, queues: map[string]*queue{}, infos: map[string]*told{}, orders: map[string]heldOrder{}, states: map[string]*state{},
		epoch: known.epoch, shown: known.shown, amiss: known.amiss, doubted: map[*node]struct{}{},
		silence: max(known.silence, silence(t.ttl, t.drift)),
		foreign: map[string]error{}, garbageAge: garbageAge, news: news{all: true},
	}
	for id, n := range known.nodes {
		m.nodes[id] = &n
		n.docs = n.unreadable()
		if n.doubt > 0 {
			m.doubted[&n] = struct{}{}
		}
	}
	return m
}

// memory returns what the next session has to know.
func (m *mirror) memory() memory {
	known := memory{last: m.self, epoch: m.epoch, shown: m.shown, amiss: m.amiss, silence: m.silence, nodes: map[string]node{}}
	if errors.Is(m.torn, errHistory) {
		return known // nothing else that was seen is known to be there
	}
	known.rev = max(m.rev, m.least)
	for id, n := range m.nodes {
		carried := *n
		carried.docs, carried.counts = n.unreadable(), false
		known.nodes[id] = carried
	}
	return known
}

// unreadable returns copies of the claim documents that nobody can read. A process waits
// once for what they may have claimed, and not once a session.
func (n *node) unreadable() (docs []*claimDocument) {
	for k, d := range n.docs {
		if d != nil && !d.readable {
			docs = append(docs, make([]*claimDocument, k-len(docs))...)
			docs = append(docs, &claimDocument{node: n, rev: d.rev, hash: d.hash})
		}
	}
	return docs
}

// step takes in a step of the feed at now. Whatever happens, the picture is that
// of the step afterwards; if it has gone back, that is why our session is over.
func (m *mirror) step(s Step, now time.Duration) change {
	t := &transition{m: m, now: now, whole: s.Whole, from: m.rev}
	if s.Revision < max(m.rev, m.least) {
		t.replaced()
	}
	if s.Whole {
		t.deleteUnlisted(s.Documents)
	}
	for _, d := range slices.Backward(s.Documents) { // mostly in order: nodes before what they claim
		t.take(d)
	}
	if !m.listed {
		m.changes++
	}
	m.rev, m.listed = s.Revision, true
	for _, n := range t.nodes {
		n.touched = false
		t.settle(n)
	}
	if s.Whole {
		t.all = true
		if m.epoch == "" && m.shown == "" && len(m.nodes) > 0 {
			t.doubtEverybody() // the epoch comes before anything else
		}
	}
	if !m.waits() {
		m.settleLeaders(t.queues)
	}
	return t.change
}

// transition is a step while it is taken in.
type transition struct {
	change
	m     *mirror
	now   time.Duration
	whole bool    // it is a listing
	from  int64   // the revision of the picture before, which was exact; 0 if there was none
	nodes []*node // that the step touches
}

// deleteUnlisted takes what a listing does not show for deleted.
func (t *transition) deleteUnlisted(listed []Document) {
	m := t.m
	there := make(map[string]struct{}, len(listed))
	for _, d := range listed {
		there[d.Key] = struct{}{}
	}
	gone := func(key string) {
		if _, ok := there[key]; !ok {
			t.take(Document{Key: key})
		}
	}
	gone(m.keys.epoch())
	for id, n := range m.nodes {
		if n.rev != 0 {
			gone(m.keys.node(id))
		}
		for k, d := range n.docs {
			if d != nil {
				gone(m.keys.claims(id, k))
			}
		}
	}
	for key := range m.infos {
		gone(key)
	}
	for name := range m.orders {
		gone(m.keys.order(name))
	}
	for job := range m.states {
		gone(m.keys.state(job))
	}
	for key := range m.foreign {
		gone(key)
	}
}

// take takes in a document. What it means for its node shows when all of the step
// is there.
func (t *transition) take(d Document) {
	kind, id, k := t.m.keys.parse(d.Key)
	switch kind {
	case epochDocument:
		t.takeEpoch(d)
	case nodeDocument:
		t.takeNode(t.node(id), d)
	case claimsDocument:
		t.takeClaims(t.node(id), k, d)
	case infoDocument, listDocument:
		t.takeTold(d)
	case orderDocument:
		t.takeOrder(id, d)
	case stateDocument:
		t.takeState(id, d)
	}
}

// node returns the node with that id, which the step touches.
func (t *transition) node(id string) *node {
	n := t.m.nodes[id]
	if n == nil {
		n = &node{id: id, seen: t.now, since: t.now, whole: true}
		t.m.nodes[id] = n
	}
	if !n.touched {
		n.touched = true
		t.nodes = append(t.nodes, n)
	}
	t.own = t.own || id == t.m.self
	return n
}

func (t *transition) takeTold(d Document) {
	old := t.m.infos[d.Key]
	switch {
	case d.Value == nil && old == nil:
		return
	case d.Value == nil:
		delete(t.m.infos, d.Key)
	case old != nil && bytes.Equal(old.value, d.Value):
		old.rev = d.Revision
		return
	default:
		t.m.infos[d.Key] = &told{value: d.Value, rev: d.Revision}
	}
	t.told = true
	t.m.changedNodes()
}

// read decodes a document whose content decides who may lead. One in a version of
// the format that is not known here is kept in mind: who wrote it may lead by it.
func (m *mirror) read(d Document, v value) error {
	if m.foreign[d.Key] != nil {
		delete(m.foreign, d.Key)
		m.changes++
	}
	if d.Value == nil {
		return nil
	}
	err := m.keys.decode(d.Key, d.Value, v)
	if err != nil && !errors.Is(err, errUnreadable) {
		m.foreign[d.Key] = err
		m.changes++
		m.tear(err)
	}
	return err
}

// tear says that our own session is over.
func (m *mirror) tear(cause error) {
	if m.torn == nil && m.self != "" {
		m.torn = cause
	}
}

// unknown returns what is wrong if a document is in an unknown version of the
// format: with the first of them, by key.
func (m *mirror) unknown() error {
	var first string
	for key := range m.foreign {
		if first == "" || key < first {
			first = key
		}
	}
	return m.foreign[first]
}

// expire lets go of what has been waited for until now, and reports whether
// anybody may begin to lead because of it.
func (m *mirror) expire(now time.Duration) (all bool) {
	if m.amiss > 0 && m.amiss <= now {
		m.amiss, m.epoch, all = 0, m.shown, true
	}
	for n := range m.doubted {
		if n.doubt <= now {
			m.endDoubt(n)
			all = true
			m.forget(n)
		}
	}
	if all {
		m.changes++
	}
	if all = all && !m.waits(); all {
		m.settleLeaders(slices.Collect(maps.Values(m.queues)))
	}
	return all
}

// nextExpiry returns when expire has something to do next.
func (m *mirror) nextExpiry() (at time.Duration, ok bool) {
	if m.amiss > 0 {
		at, ok = m.amiss, true
	}
	for n := range m.doubted {
		if !ok || n.doubt < at {
			at, ok = n.doubt, true
		}
	}
	return at, ok
}

// waits reports whether nobody may begin to lead anything for now.
func (m *mirror) waits() bool {
	return len(m.doubted) > 0 || m.amiss > 0 || len(m.foreign) > 0
}

var hashSeed = maphash.MakeSeed()

func hash(b []byte) uint64 { return maphash.Bytes(hashSeed, b) }

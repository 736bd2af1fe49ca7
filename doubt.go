package distributed

import (
	"time"
)

// node is a session, as the picture shows it.
//
// A document of it that somebody else changes is a loss: its owner may not
// know of it yet, and goes on working. But no heartbeat that is committed after the
// loss comes back to the owner before it has seen the loss, and then its session
// is over. What counts was sent before; so nothing runs there any more once T·(1+ρ)
// have passed since the loss was taken in.
type node struct {
	id    string
	value nodeValue     // as last read
	rev   int64         // of the node document, 0 if there is none
	hash  uint64        // of its bytes
	seen  time.Duration // when the node document changed last, or was met first
	since time.Duration // when the first document of it was met
	beat  int64         // the highest heartbeat seen
	docs  []*claimDocument

	readable bool          // the node document is there, and as its session or a burier wrote it
	void     bool          // it has drained or was buried, for good
	buried   bool          // it is void because others buried it
	voidAt   time.Duration // when that was seen
	doubt    time.Duration // until then it may work by what was lost, 0 if nothing was
	quiet    time.Duration // how long to wait for it, 0 if that is not known
	whole    bool          // its registered claim documents are those that are there
	orphaned bool          // it has claims, and no node document
	counts   bool          // its claims are in the queues
	tried    int64         // one above the revision at which we have tried to bury it
	retry    time.Duration // when to try that again
	warned   bool          // it was said that it has our instance name

	touched bool // in this step
	lost    bool // in this step
}

// silence is how long to wait without a heartbeat until nothing runs on n any more.
func (n *node) silence() time.Duration {
	if n.quiet == 0 {
		return longestSilence
	}
	return n.quiet
}

// learn notes the timing of a node, as one of its documents has it.
func (t *transition) learn(n *node, ttl int64, drift millionths) {
	wait := silence(time.Duration(ttl)*time.Millisecond, max(drift.rate(), t.m.drift))
	n.quiet = max(n.quiet, wait)
	t.m.silence = max(t.m.silence, n.quiet)
}

func (t *transition) takeNode(n *node, d Document) {
	h := hash(d.Value)
	if d.Value != nil && n.rev != 0 {
		if d.Revision < n.rev || (d.Revision == n.rev && h != n.hash) {
			t.replaced()
		}
		if h == n.hash {
			if d.Revision != n.rev {
				n.seen = t.now // touched; or deleted and made again, and then it has lived in between
			}
			n.rev = d.Revision
			return
		}
	}
	var v nodeValue
	err := t.m.read(d, &v)
	n.rev, n.hash, n.readable = d.Revision, h, d.Value != nil && err == nil
	switch {
	case d.Value == nil:
		n.rev, n.hash, n.lost = 0, 0, true
		return
	case err != nil:
		n.seen, n.lost = t.now, true
		return
	}
	t.learn(n, v.TTL, v.Drift)
	if v.State == "" && !n.void {
		n.lost = n.lost || v.Beat <= n.beat
		t.recognizeNamesake(n, &v)
		n.seen, n.beat = t.now, max(v.Beat, n.beat)
	}
	if n.value.Instance != v.Instance {
		t.m.changedNodes()
	}
	n.value = v
	t.recount(n)
}

// recognizeNamesake looks whether a heartbeat is a new one of another node with our
// name. What the first listing shows may be of a dead one; but then we are not valid.
func (t *transition) recognizeNamesake(n *node, v *nodeValue) {
	m := t.m
	self := m.nodes[m.self]
	fresh := v.Beat > n.beat
	if fresh && self != nil && n.id != m.self && n.id != m.last && v.Instance == self.value.Instance {
		t.namesakes = append(t.namesakes, n)
	}
}

// settle judges a node by all that a step shows of it.
func (t *transition) settle(n *node) {
	if n.readable && n.value.State != "" && !n.void {
		t.bury(n)
	}
	t.judgeDocuments(n)
	if n.lost && !n.void {
		t.lose(n)
	}
	n.lost = false
	t.recount(n)
	t.m.forget(n)
}

// recount puts the claims of a node in the queues if they count now and did not, and
// the other way round.
func (t *transition) recount(n *node) {
	if counts := n.readable && !n.void; counts != n.counts {
		t.enlist(n, counts)
	}
}

// judgeDocuments looks whether the claim documents are those that are registered,
// and whether there is a node document for them. That is a loss once: what is as
// it was before is none.
func (t *transition) judgeDocuments(n *node) {
	if n.readable {
		whole := n.registered()
		n.lost = n.lost || (n.whole && !whole)
		n.whole, n.orphaned = whole, false
		return
	}
	orphaned := n.rev == 0 && n.used()
	n.lost = n.lost || (orphaned && !n.orphaned)
	n.orphaned = orphaned
}

// registered reports whether the claim documents that the node document speaks of
// are there, as they were made.
func (n *node) registered() bool {
	if len(n.docs) < n.value.Documents {
		return false
	}
	sum := int64(0)
	for _, d := range n.docs[:n.value.Documents] {
		if d == nil || !d.readable {
			return false
		}
		sum += d.madeAt()
	}
	return sum == n.value.Made
}

// used reports whether a claim document has ever had a claim in it. Before the node
// document is there, none may.
func (n *node) used() bool {
	for _, d := range n.docs {
		if d != nil && (!d.readable || d.seq > 1 || len(d.claims) > 0) {
			return true
		}
	}
	return false
}

// lose puts a node in doubt from now on.
func (t *transition) lose(n *node) {
	n.doubt = max(n.doubt, t.now+n.silence())
	t.m.doubted[n] = struct{}{}
	if n.id == t.m.self {
		t.m.tear(errTornAway)
	}
	t.m.changes++
}

// bury takes a node for void, at once and for good.
func (t *transition) bury(n *node) {
	n.void, n.voidAt, n.buried = true, t.now, n.value.State == stateBuried
	if n.id == t.m.self {
		t.m.tear(errBuried)
	}
	if n.doubt > 0 {
		t.m.endDoubt(n)
		t.all = true
	}
	if !n.counts {
		for _, d := range n.docs {
			if d != nil {
				d.claims = nil
			}
		}
	}
	t.m.changedNodes()
}

func (m *mirror) endDoubt(n *node) {
	n.doubt = 0
	delete(m.doubted, n)
}

// forget drops a node of which nothing is left.
func (m *mirror) forget(n *node) {
	if n.rev == 0 && n.doubt == 0 && len(n.docs) == 0 {
		delete(m.nodes, n.id)
		if n.buried {
			m.changedNodes()
		}
	}
}

// takeEpoch takes in the epoch. If it is not the one that we know, documents of
// other nodes may have gone with it.
func (t *transition) takeEpoch(d Document) {
	m := t.m
	var v epochValue
	err := m.read(d, &v)
	shown := v.Value
	if d.Value != nil && err != nil {
		shown = "?" // somebody has written over it
	}
	if shown == m.shown {
		return
	}
	m.shown = shown
	switch m.epoch {
	case shown:
	case "":
		m.epoch = shown
	default:
		t.doubtEverybody()
	}
}

// doubtEverybody makes all wait for whatever may run, ourselves included.
func (t *transition) doubtEverybody() {
	m := t.m
	m.amiss = t.now + m.silence
	if m.nodes[m.self] != nil {
		m.tear(errEpoch)
	}
	m.changes++
}

// replaced takes in that the store goes on from an earlier state: what it has
// confirmed is gone, whatever it was.
func (t *transition) replaced() {
	t.m.torn = errHistory
	t.doubtEverybody()
}

// replaced is the same, as our own writes show it.
func (m *mirror) replaced(now time.Duration) { (&transition{m: m, now: now}).replaced() }

// grave is a node document in place of which a tombstone is due.
type grave struct {
	id    string
	rev   int64 // 0: there is none, only claim documents
	value nodeValue
}

// due returns the nodes to be buried at now, and when the next one will be if
// nothing more is heard of it; 0 if there is none.
//
// A node document that stands unmoved in our picture since seen was committed no
// later, and so was every heartbeat before. If the tombstone is accepted in its
// place, there was none after. What has no node document is buried as well, once
// no doubt about it is left: nobody else will end it. So is at once who is known
// to be void, if its node document does not say so any more.
func (m *mirror) due(now time.Duration) (graves []grave, next time.Duration) {
	for id, n := range m.nodes {
		if id == m.self || (n.rev == 0 && n.doubt > 0 && !n.void) {
			continue
		}
		if n.tried == n.rev+1 && now < n.retry {
			if next == 0 || n.retry < next {
				next = n.retry
			}
			continue
		}
		if n.void {
			if !n.readable || n.value.State == "" { // somebody has written over it, or deleted it
				graves = append(graves, grave{id, n.rev, n.value})
			}
			continue
		}
		at := max(n.seen, n.since) + n.silence()
		if at <= now {
			graves = append(graves, grave{id, n.rev, n.value})
		} else if next == 0 || at < next {
			next = at
		}
	}
	return graves, next
}

// dug notes that there is no need to try that again soon: the feed will tell more,
// unless the store goes on from an earlier state that it has not told of.
func (m *mirror) dug(g grave, now time.Duration) {
	if n := m.nodes[g.id]; n != nil {
		n.tried, n.retry = g.rev+1, now+n.silence()
	}
}

// garbage returns documents, some at a time, of nodes that have been void for so
// long that no picture can be older: first their claim documents, and when those
// are gone from the picture, what they told, and in the end the node document. A
// picture that shows the node document go shows the others gone before.
func (m *mirror) garbage(now time.Duration, limit int) (found []Document) {
	for id, n := range m.nodes {
		if !n.void || n.rev == 0 || now < n.voidAt+max(3*n.silence(), m.garbageAge) {
			continue
		}
		for k, d := range n.docs {
			if d != nil && len(found) < limit {
				found = append(found, Document{Key: m.keys.claims(id, k), Revision: d.rev})
			}
		}
		if len(n.docs) > 0 || len(found) >= limit {
			continue
		}
		if info := m.infos[m.keys.info(id)]; info != nil {
			found = append(found, Document{Key: m.keys.info(id), Revision: info.rev})
			continue
		}
		found = append(found, Document{Key: m.keys.node(id), Revision: n.rev})
	}
	return found
}

// garbageAge is how long a node is void at least before its documents go.
const garbageAge = 10 * time.Minute

// collects reports whether it is ours to delete garbage: one node does, so that
// not all of them try.
func (m *mirror) collects() bool {
	for id, n := range m.nodes {
		if n.counts && id < m.self {
			return false
		}
	}
	return true
}

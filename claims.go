package distributed

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// queue is who claims a job, in the order in which they lead.
type queue struct {
	job     string
	claims  []claim
	vacated time.Duration  // when the first was seen to release it, 0 if that was not so
	leader  *claimDocument // of the first, when it was last certain that it leads; for views
}

// claim is a place in a queue. Two pointers' worth: there are as many as jobs times
// nodes.
type claim struct {
	doc    *claimDocument
	number int64
}

// claimDocument is a document of claims, as the picture shows it.
//
// What is written with position 0 has its place from the revision at which it was
// committed. Others may believe an earlier one, never a later one: a node finds
// itself first by its own number, which is not below that revision, and the
// numbers of all others, which are not above theirs. A document that has changed
// since the last picture was committed after that, and after the revision that it
// replaces; a stranger who writes it again as it is moves its revision, but not
// that.
type claimDocument struct {
	node     *node
	rev      int64
	hash     uint64 // of its bytes
	seq      int64  // the highest seen
	made     int64  // as written
	bound    int64  // the place of what the last write brought in
	guess    int64  // the same, of the write before
	arrived  int64  // the revision at which that was first seen
	readable bool
	claims   []entry // sorted by job
}

// entry is a claim of a document.
type entry struct {
	queue  *queue
	number int64
}

// madeAt returns when the document was made. One that is as it was made may have
// been deleted and made again by a copy of that write: it counts as new.
func (d *claimDocument) madeAt() int64 { return cmp.Or(d.made, d.rev) }

func (t *transition) takeClaims(n *node, k int, d Document) {
	for len(n.docs) <= k {
		n.docs = append(n.docs, nil)
	}
	old := n.docs[k]
	if d.Value == nil {
		n.lost = true
		n.orphaned = false
		_ = t.m.read(d, nil) // there is nothing to read, or to wonder at
		t.drop(n, k)
		return
	}
	h := hash(d.Value)
	if old == nil {
		old = &claimDocument{node: n}
		n.docs[k] = old
	} else if d.Revision < old.rev || (d.Revision == old.rev && h != old.hash) {
		t.replaced()
	}
	if old.rev != 0 && h == old.hash {
		old.rev = d.Revision
		if n.id == t.m.self {
			t.report(old)
		}
		return
	}
	var v claimsValue
	err := t.m.read(d, &v)
	old.rev, old.hash, old.readable = d.Revision, h, err == nil
	if err != nil {
		n.lost = true
		t.replace(old, &claimsValue{}, false)
		return
	}
	t.learn(n, v.TTL, v.Drift)
	old.guess = old.bound
	if v.Seq <= old.seq {
		n.lost = true
		old.bound = v.Guard + 1
	} else {
		old.bound = max(t.from, v.Guard) + 1
		n.orphaned = false // who writes, lives
	}
	old.seq, old.made, old.arrived = max(v.Seq, old.seq), v.Made, d.Revision
	if n.void {
		return // nothing of it counts, ever
	}
	t.replace(old, &v, !n.lost)
}

// drop takes a claim document out.
func (t *transition) drop(n *node, k int) {
	if d := n.docs[k]; d != nil {
		t.replace(d, &claimsValue{}, false)
	}
	n.docs[k] = nil
	for len(n.docs) > 0 && n.docs[len(n.docs)-1] == nil {
		n.docs = n.docs[:len(n.docs)-1]
	}
	if len(n.docs) == 0 {
		n.docs = nil
	}
}

// replace puts the claims of v in place of those of d. Both are sorted; what stays as
// it is costs no more than a comparison. released says that its owner did it.
//
// It finds all queues before it looks into any: with many pictures, most of the time
// goes into waiting for memory, and so the processor waits for several at once.
func (t *transition) replace(d *claimDocument, v *claimsValue, released bool) {
	fresh := make([]entry, len(v.Jobs))
	old := d.claims
	for i, job := range v.Jobs {
		for len(old) > 0 && old[0].queue.job < job {
			t.remove(d, old[0].queue, released)
			old = old[1:]
		}
		if len(old) > 0 && old[0].queue.job == job {
			fresh[i], old = old[0], old[1:]
		} else {
			fresh[i].queue = t.m.queue(job)
		}
	}
	for _, p := range old {
		t.remove(d, p.queue, released)
	}
	d.claims = fresh
	for i := range fresh {
		t.place(d, &fresh[i], cmp.Or(v.number(i), d.bound))
	}
}

// place gives a claim its number, and its place by that. One that is new has none yet.
func (t *transition) place(d *claimDocument, p *entry, number int64) {
	switch {
	case p.number == 0:
		t.insert(d, p.queue, number)
	case p.number != number:
		t.move(d, p.queue, number)
	case number == d.guess && number != d.bound:
		t.m.note(p.queue.job) // it was a guess
	}
	p.number = number
}

// queue returns the queue of a job, which may be one in which nobody stands yet.
func (m *mirror) queue(job string) *queue {
	if q := m.queues[job]; q != nil {
		return q
	}
	return &queue{job: strings.Clone(job)} // and not all of the document
}

// insert puts a claim in its place, if its node counts: most come last, and then
// nothing changes for those before. Whoever makes one of our own claims has to look.
func (t *transition) insert(d *claimDocument, q *queue, number int64) {
	if !d.node.counts {
		return
	}
	if len(q.claims) == 0 {
		t.m.queues[q.job] = q
		q.claims = slices.Grow(q.claims, 2) // mostly one waits
	}
	i := len(q.claims)
	for i > 0 && q.claims[i-1].number >= number {
		i--
	}
	q.claims = slices.Insert(q.claims, i, claim{d, number})
	t.m.changed(q.job)
	if i == 0 || d.node.id == t.m.self {
		t.queues = append(t.queues, q)
	}
}

// move gives a claim another number.
func (t *transition) move(d *claimDocument, q *queue, number int64) {
	if i := q.find(d); i >= 0 {
		q.claims = slices.Delete(q.claims, i, i+1)
		t.insert(d, q, number)
		t.queues = append(t.queues, q)
	}
}

// remove takes a claim out of its queue, if it is in there. It matters to us if it was
// the first of another node: ours may be the only one before it.
func (t *transition) remove(d *claimDocument, q *queue, released bool) {
	i := q.find(d)
	if i < 0 {
		return
	}
	if i == 0 {
		q.vacated = 0
		if released && !t.whole {
			q.vacated = t.now
		}
	}
	q.claims = slices.Delete(q.claims, i, i+1)
	t.m.changed(q.job)
	if i <= 1 {
		t.queues = append(t.queues, q)
	}
	if len(q.claims) == 0 {
		delete(t.m.queues, q.job)
	}
}

func (q *queue) find(d *claimDocument) int {
	return slices.IndexFunc(q.claims, func(c claim) bool { return c.doc == d })
}

// report has whoever stands for what d claims look again.
func (t *transition) report(d *claimDocument) {
	for _, p := range d.claims {
		t.queues = append(t.queues, p.queue)
	}
}

// enlist puts all claims of a node in the queues, now that it counts, or takes them
// out, now that it does not.
func (t *transition) enlist(n *node, counts bool) {
	n.counts = counts
	t.m.changedNodes()
	for _, d := range n.docs {
		if d == nil {
			continue
		}
		for i, p := range d.claims {
			if counts {
				d.claims[i].queue = t.m.queue(p.queue.job)
				t.insert(d, d.claims[i].queue, p.number)
			} else {
				t.remove(d, p.queue, n.void && n.value.State == stateDrained)
			}
		}
		if n.void {
			d.claims = nil
		}
	}
}

// standing is a claim of ours: the document that it is in, the write that brought
// it in, and our number, 0 while we do not know it.
type standing struct {
	document    int
	seq, number int64
}

// leads reports whether we lead job, as far as the picture says: it has come to our
// number and shows our claim, nobody stands before us, and nobody may work by
// something that is lost.
func (m *mirror) leads(job string, s standing) bool {
	if m.waits() || s.number == 0 || s.number > m.rev {
		return false
	}
	q := m.queues[job]
	if q == nil || !m.shows(s) {
		return false
	}
	for _, c := range q.claims {
		if c.doc.node.id != m.self {
			return s.number <= c.number
		}
	}
	return true
}

// shows reports whether a claim of ours is in the picture.
func (m *mirror) shows(s standing) bool {
	self := m.nodes[m.self]
	if self == nil || !self.counts || s.document >= len(self.docs) {
		return false
	}
	d := self.docs[s.document]
	return d != nil && d.readable && d.seq >= s.seq
}

// led reports whether the first of a queue leads: it does not begin to while anybody
// waits for what may run elsewhere.
func (m *mirror) led(q *queue) bool { return !m.waits() || q.leader == q.claims[0].doc }

// settleLeaders notes who leads, now that nobody waits.
func (m *mirror) settleLeaders(queues []*queue) {
	for _, q := range queues {
		if len(q.claims) > 0 {
			q.leader = q.claims[0].doc
		}
	}
}

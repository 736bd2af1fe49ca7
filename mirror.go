package distributed

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// mirror is a node's picture of its app in etcd: all nodes and all queues of
// candidates, as of one revision. It does no I/O and reads no clock; times are
// those of the node's own clock, and revisions are applied one by one, each as
// a whole.
//
// It also remembers what is no longer in etcd, but must still be respected: a
// key that went without its owner's doing. The owner may not know yet, and goes
// on working until its validity ends: that is TTL·(1-ρ) after it sent its last
// heartbeat, on its clock. We have seen that heartbeat before the loss, since
// revisions come in order, and no earlier than it was sent. So nobody can be
// working any more once TTL·(1+ρ) have passed on our clock since we saw it.
type mirror struct {
	keys   etcdKeys
	self   string // our own lease
	drift  float64
	rev    int64
	queues map[string][]candidate // by job, in order of rev
	nodes  map[string]*node       // by lease
	epoch  int64                  // create revision of the epoch key, 0 if there is none
	known  memory
	infos  map[string]*announced // by lease

	// changes counts what makes another View; heartbeats do not.
	changes int64

	amiss time.Duration // until then nobody may lead anything: keys of nodes that run may have gone without a trace; 0 if not
}

// memory is what a process knows of an app from one lease to the next.
type memory struct {
	epoch   int64         // create revision of the epoch key, 0 if it was never seen
	silence time.Duration // after so long without a heartbeat nothing can run on any of the nodes seen
}

// candidate is a candidate key, or the ghost of one that was lost uncleanly and
// keeps its place until then.
type candidate struct {
	lease string
	rev   int64         // create revision
	until time.Duration // of a ghost, 0 for a key that is there; a flag beside it would cost 8 bytes a candidate
}

func (c candidate) ghost() bool { return c.until != 0 }

type node struct {
	lease string
	value nodeValue
	rev   int64         // mod revision of the node key, 0 if there is none
	seen  time.Duration // when its heartbeat moved last

	alive bool // has its alive key
	count int  // aliveValue.Keys
	keys  int  // its candidate keys that are there

	haunts  []string      // the jobs with a ghost of this node
	unclear time.Duration // until then nobody may lead anything: it may have lost any job; 0 if it has not
}

// keyEvent is a change of a key, or with deleted false, a key as listed.
type keyEvent struct {
	key     string
	value   []byte
	deleted bool
	create  int64 // create revision, of a put
	mod     int64 // the revision of the change
}

// created returns the create revision of the key, 0 if it is gone.
func (e keyEvent) created() int64 {
	if e.deleted {
		return 0
	}
	return e.create
}

func newMirror(keys etcdKeys, self string, t timing, known memory) *mirror {
	known.silence = max(known.silence, silence(t.ttl, t.drift))
	return &mirror{keys: keys, self: self, drift: t.drift, queues: map[string][]candidate{}, nodes: map[string]*node{}, infos: map[string]*announced{}, epoch: known.epoch, known: known}
}

// whole reports whether the node's candidate keys are just those that it knows
// it has: whatever else it had, it has given up by itself.
func (n *node) whole() bool { return n.alive && n.count == n.keys }

func (n *node) drained() bool { return n.value.State == stateDrained }

// silentBy returns when nothing can run on n any more, if its last heartbeat is
// the one seen last.
func (m *mirror) silentBy(n *node) time.Duration {
	if n.value.TTL == 0 { // its node key was never seen
		return n.seen + m.known.silence
	}
	return n.seen + silence(time.Duration(n.value.TTL)*time.Second, max(n.value.Drift, m.drift))
}

func silence(ttl time.Duration, drift float64) time.Duration {
	return ttl + time.Duration(float64(ttl)*drift)
}

// leads reports whether we lead job, as far as the queue is concerned. A key not
// newer than after, our last release of the job, is not ours: the mirror lags
// behind what we do.
func (m *mirror) leads(job string, after int64) bool {
	queue := m.queues[job]
	return len(queue) > 0 && queue[0].lease == m.self && queue[0].rev > after && m.amiss == 0 && !m.anyUnclear()
}

// standing returns the create revision of our candidacy for job; see leads.
func (m *mirror) standing(job string, after int64) (rev int64, ok bool) {
	for _, c := range m.queues[job] {
		if c.lease == m.self && c.rev > after {
			return c.rev, true
		}
	}
	return 0, false
}

// rank returns where the candidate with the create revision rev stands; 0 is none.
func (m *mirror) rank(job string, rev int64) rank {
	queue := m.queues[job]
	switch {
	case rev == 0 || len(queue) == 0:
		return rankUnknown
	case queue[0].rev == rev:
		return rankFirst
	case queue[0].ghost():
		return rankBehindGhost
	}
	return rankBehindLive
}

func (m *mirror) anyUnclear() bool {
	for _, n := range m.nodes {
		if n.unclear > 0 {
			return true
		}
	}
	return false
}

// apply takes in all events of one revision, seen at now, and returns the jobs
// whose queue has changed, and whether any job may be concerned.
func (m *mirror) apply(events []keyEvent, now time.Duration) (jobs []string, all bool) {
	m.rev = events[0].mod
	spoke := map[string]bool{} // nodes that wrote in this revision: what else they changed in it was their doing
	for _, e := range events {
		switch kind, _, lease := m.keys.parse(e.key); kind {
		case epochKey:
			m.setEpoch(e.created(), now)
		case nodeKey, aliveKey:
			m.setNode(kind, lease, e, now)
			spoke[lease] = spoke[lease] || !e.deleted
		}
	}
	for _, e := range events {
		kind, job, lease := m.keys.parse(e.key)
		if kind == infoKey || kind == jobsKey {
			m.setInfo(kind, lease, e)
		}
		if kind != candidateKey {
			continue
		}
		m.changes++
		if e.deleted {
			m.remove(job, lease, spoke[lease])
		} else {
			m.insert(job, lease, e.create)
		}
		jobs = append(jobs, job)
	}
	for _, e := range events {
		if kind, _, lease := m.keys.parse(e.key); kind == nodeKey || kind == aliveKey {
			lifted, wasUnclear := m.clear(lease)
			jobs, all = append(jobs, lifted...), all || wasUnclear
		}
	}
	return jobs, all
}

// setEpoch takes in the create revision of the epoch key, 0 for none. If it is not
// the one that we know, keys of other nodes may have gone with it, and their
// owners may not know yet. None has sent a heartbeat since.
func (m *mirror) setEpoch(rev int64, now time.Duration) {
	if rev == m.epoch {
		return
	}
	m.epoch = rev
	switch m.known.epoch {
	case rev:
	case 0:
		m.known.epoch = rev
	default:
		m.amiss = now + m.known.silence
	}
}

func (m *mirror) setNode(kind keyKind, lease string, e keyEvent, now time.Duration) {
	n := m.nodes[lease]
	if n == nil {
		lease = strings.Clone(lease)
		n = &node{lease: lease, seen: now}
		m.nodes[lease] = n
	}
	switch {
	case kind == nodeKey && e.deleted:
		n.rev = 0
	case kind == nodeKey:
		n.rev, n.seen, n.value = e.mod, now, decodeNode(e.value)
		m.known.silence = max(m.known.silence, m.silentBy(n)-now)
	case e.deleted:
		n.alive = false
		m.changes++
	default:
		var v aliveValue
		if json.Unmarshal(e.value, &v) != nil {
			v.Keys = -1 // not ours: never whole
		}
		if !n.alive {
			m.changes++
		}
		n.alive, n.count = true, v.Keys
	}
}

// decodeNode takes a value that it cannot read for that of a node with the
// longest TTL there is.
func decodeNode(b []byte) nodeValue {
	var v nodeValue
	if json.Unmarshal(b, &v) != nil || v.TTL <= 0 {
		v = nodeValue{TTL: int64(maxLeaseTTL / time.Second)}
	}
	return v
}

// insert adds a candidate key. A later put to an existing key changes nothing.
func (m *mirror) insert(job, lease string, create int64) {
	n := m.nodes[lease]
	if n != nil {
		lease = n.lease
	} else {
		lease = strings.Clone(lease)
	}
	queue := m.queues[job]
	i, found := slices.BinarySearchFunc(queue, create, func(c candidate, rev int64) int { return cmp.Compare(c.rev, rev) })
	if found {
		return
	}
	if n != nil {
		n.keys++
	}
	m.queues[strings.Clone(job)] = slices.Insert(queue, i, candidate{lease: lease, rev: create})
}

// remove takes a candidate key out. Unless its owner let go of it, a ghost
// keeps its place. A candidate without a node is foreign, a plain etcd election:
// it gets no more than that gives.
func (m *mirror) remove(job, lease string, released bool) {
	queue := m.queues[job]
	i := slices.IndexFunc(queue, func(c candidate) bool { return c.lease == lease && !c.ghost() })
	if i < 0 {
		return
	}
	n := m.nodes[lease]
	if n != nil {
		n.keys--
	}
	if n == nil || released || n.drained() || lease == m.self {
		m.setQueue(job, slices.Delete(queue, i, i+1))
		return
	}
	queue[i].until = m.silentBy(n)
	n.haunts = append(n.haunts, job)
}

func (m *mirror) setQueue(job string, queue []candidate) {
	if len(queue) == 0 {
		delete(m.queues, job)
		return
	}
	m.queues[strings.Clone(job)] = queue // the map keeps it, and with it the whole key that it may be a part of
}

// clear lets go of what a node has lost, if it has drained or written that its
// keys are all it has: it stopped the work of those that were torn away. And it
// forgets a node of which nothing is left.
func (m *mirror) clear(lease string) (jobs []string, wasUnclear bool) {
	n := m.nodes[lease]
	if n == nil {
		return nil, false
	}
	if n.drained() || n.whole() {
		jobs, wasUnclear = n.haunts, n.unclear > 0
		for _, job := range jobs {
			m.exorcise(job, func(c candidate) bool { return c.lease == lease })
		}
		n.haunts, n.unclear = nil, 0
		if len(jobs) > 0 || wasUnclear {
			m.changes++
		}
	}
	m.forget(n)
	return jobs, wasUnclear
}

func (m *mirror) exorcise(job string, which func(candidate) bool) {
	queue, ok := m.queues[job]
	if ok {
		m.setQueue(job, slices.DeleteFunc(queue, func(c candidate) bool { return c.ghost() && which(c) }))
	}
}

func (m *mirror) forget(n *node) {
	if n.rev == 0 && !n.alive && n.keys == 0 && len(n.haunts) == 0 && n.unclear == 0 {
		delete(m.nodes, n.lease)
	}
}

// expire lets go of what has kept its place until now, and returns the jobs
// concerned, and whether that may be any.
func (m *mirror) expire(now time.Duration) (jobs []string, all bool) {
	if m.amiss > 0 && m.amiss <= now {
		m.amiss, all = 0, true
		m.known.epoch = cmp.Or(m.epoch, m.known.epoch)
	}
	for _, n := range m.nodes {
		if n.unclear > 0 && n.unclear <= now {
			n.unclear, all = 0, true
		}
		n.haunts = slices.DeleteFunc(n.haunts, func(job string) bool {
			m.exorcise(job, func(c candidate) bool { return c.lease == n.lease && c.until <= now })
			gone := !slices.ContainsFunc(m.queues[job], func(c candidate) bool { return c.ghost() && c.lease == n.lease })
			if gone {
				jobs = append(jobs, job)
			}
			return gone
		})
		m.forget(n)
	}
	if len(jobs) > 0 || all {
		m.changes++
	}
	return jobs, all
}

// nextExpiry returns when expire has something to do next.
func (m *mirror) nextExpiry() (at time.Duration, ok bool) {
	next := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if m.amiss > 0 {
		next(m.amiss)
	}
	for _, n := range m.nodes {
		if n.unclear > 0 {
			next(n.unclear)
		}
		for _, job := range n.haunts {
			for _, c := range m.queues[job] {
				if c.ghost() {
					next(c.until)
				}
			}
		}
	}
	return at, ok
}

// load replaces everything by what a listing at rev shows, received at now. What
// was lost between the picture so far and the listing was lost unseen: a node
// that is not whole, or has gone without having drained, may have lost any job,
// so nothing may be led until it is surely silent.
func (m *mirror) load(rev int64, listed []keyEvent, now time.Duration) {
	old := m.nodes
	haunted := m.queues
	m.rev, m.nodes, m.queues, m.infos = rev, map[string]*node{}, map[string][]candidate{}, map[string]*announced{}
	m.changes++
	epoch := int64(0)
	for _, e := range listed {
		switch kind, _, lease := m.keys.parse(e.key); kind {
		case epochKey:
			epoch = e.created()
		case nodeKey, aliveKey:
			m.setNode(kind, lease, e, now)
		}
	}
	m.setEpoch(epoch, now)
	for _, e := range listed {
		switch kind, job, lease := m.keys.parse(e.key); kind {
		case candidateKey:
			m.insert(job, lease, e.create)
		case infoKey, jobsKey:
			m.setInfo(kind, lease, e)
		}
	}
	for lease, was := range old {
		m.carry(lease, was, haunted, now)
	}
	for lease, n := range m.nodes {
		if lease != m.self && n.unclear == 0 && !n.whole() && !n.drained() {
			n.unclear = m.silentBy(n)
		}
		if n.unclear <= now {
			n.unclear = 0
		}
		m.clear(lease)
	}
}

// carry brings what is known of a node over a listing.
func (m *mirror) carry(lease string, was *node, haunted map[string][]candidate, now time.Duration) {
	n := m.nodes[lease]
	if n == nil {
		if was.drained() || lease == m.self {
			return
		}
		n = &node{lease: lease, value: was.value, seen: now}
		n.unclear = m.silentBy(n)
		m.nodes[lease] = n
	}
	if n.rev == was.rev && n.rev != 0 {
		n.seen = was.seen // that heartbeat is not new
	}
	n.unclear = max(n.unclear, was.unclear)
	for _, job := range was.haunts {
		for _, c := range haunted[job] {
			if c.ghost() && c.lease == lease {
				m.queues[job] = append(m.queues[job], c)
				slices.SortFunc(m.queues[job], func(a, b candidate) int { return cmp.Compare(a.rev, b.rev) })
			}
		}
	}
	n.haunts = was.haunts
}

// dead returns the nodes whose node key nobody needs any more: their lease is
// gone, and they are silent by now.
func (m *mirror) dead(now time.Duration) (dead []node) {
	for _, n := range m.nodes {
		if n.rev != 0 && !n.alive && n.lease != m.self && now >= m.silentBy(n) {
			dead = append(dead, *n)
		}
	}
	return dead
}

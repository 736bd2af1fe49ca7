package distributed

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// views makes the views of a mirror, which its owner guards by a mutex of its own.
// Only the copying is done under that: nothing that concerns validity may wait for
// the rest.
type views struct {
	making   sync.Mutex
	latest   *View
	lists    jobLists      // those in latest
	at       int64         // changes of the mirror in latest; guarded by the owner's mutex
	outdated chan struct{} // closed when there is another; nil while nobody asked; likewise
}

func (v *views) get(mu *sync.Mutex, m *mirror) (*View, <-chan struct{}) {
	v.making.Lock()
	defer v.making.Unlock()
	var sketch *sketch
	mu.Lock()
	if v.outdated == nil {
		v.outdated = make(chan struct{})
	}
	outdated := v.outdated
	if v.latest == nil || v.at != m.changes {
		v.at = m.changes
		sketch = m.sketch()
	}
	mu.Unlock()
	if sketch != nil {
		v.latest, v.lists = sketch.view(m.keys, v.lists)
	}
	return v.latest, outdated
}

// expire is called with the owner's mutex held, after each change.
func (v *views) expire(m *mirror, over bool) {
	if v.outdated != nil && (v.at != m.changes || over) {
		close(v.outdated)
		v.outdated = nil
	}
}

// sketch is a view as it is copied from a mirror, in no order and with what nodes
// tell as it came.
type sketch struct {
	View
	infos map[string][]byte // by id
	lists map[string][]byte // by key
}

func (m *mirror) sketch() *sketch {
	v := &sketch{View: View{Self: m.self, Nodes: make([]NodeView, 0, len(m.nodes)), Jobs: make([]JobView, 0, len(m.queues))}, infos: map[string][]byte{}, lists: map[string][]byte{}}
	for id, n := range m.nodes {
		if !n.counts {
			continue
		}
		v.Nodes = append(v.Nodes, NodeView{ID: id, Instance: n.value.Instance})
		if told := m.infos[m.keys.info(id)]; told != nil {
			v.infos[id] = told.value
		}
	}
	for key, told := range m.infos {
		if kind, _, _ := m.keys.parse(key); kind == listDocument {
			v.lists[key] = told.value
		}
	}
	v.Orders = m.listOrders()
	candidates := make([]CandidateView, 0, 2*len(m.queues))
	for job, q := range m.queues {
		if len(q.claims) == 0 {
			continue
		}
		start := len(candidates)
		for _, c := range q.claims {
			candidates = append(candidates, CandidateView{Node: c.doc.node.id, Token: c.number, guessed: c.number == c.doc.bound})
		}
		end := len(candidates)
		v.Jobs = append(v.Jobs, JobView{Name: job, Queue: candidates[start:end:end], Led: m.led(q)})
	}
	return v
}

// view completes the sketch. known are lists that have been read before: most nodes
// have the same, and they seldom change.
func (v *sketch) view(k keys, known jobLists) (*View, jobLists) {
	lists := known.read(k, v.lists)
	for x := range v.Nodes {
		n := &v.Nodes[x]
		n.NodeInfo = k.readInfo(n.ID, v.infos[n.ID], lists)
		if _, ok := drainedBy(v.Orders, n.Instance); ok {
			n.Draining = true
		}
	}
	v.sort()
	return &v.View, lists
}

// readInfo reads what a node tells. A list with a piece that is not there, or not
// yet, is none: the node takes no part.
func (k keys) readInfo(id string, value []byte, lists jobLists) NodeInfo {
	var v infoValue
	if value == nil || k.decode(k.info(id), value, &v) != nil {
		return NodeInfo{}
	}
	info := NodeInfo{
		Version: v.Version, Started: time.UnixMilli(v.Started), Labels: v.Labels, Metadata: v.Metadata,
		Capacity: v.Capacity, Draining: v.Draining,
	}
	if v.Listed {
		info.Jobs = lists.join(k, v.Lists)
	}
	return info
}

func (v *View) sort() {
	slices.SortFunc(v.Nodes, func(a, b NodeView) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(v.Jobs, func(a, b JobView) int { return cmp.Compare(a.Name, b.Name) })
}

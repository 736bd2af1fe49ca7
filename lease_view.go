package distributed

import (
	"cmp"
	"slices"
	"sync"
	"time"
	"weak"
)

// views makes the views of a mirror, which its owner guards by a mutex of its own.
// Only the copying of what has changed is done under that: nothing that concerns
// validity may wait for the rest.
type views struct {
	making   sync.Mutex
	latest   weak.Pointer[View] // for as long as somebody has it
	lists    jobLists           // those in latest
	at       int64              // changes of the mirror in latest; guarded by the owner's mutex
	waited   bool               // the mirror waits; likewise
	outdated chan struct{}      // closed when there is another; nil while nobody asked; likewise
}

func (v *views) get(mu *sync.Mutex, m *mirror) (*View, <-chan struct{}) {
	v.making.Lock()
	defer v.making.Unlock()
	latest := v.latest.Value()
	var sketch *sketch
	mu.Lock()
	if v.outdated == nil {
		v.outdated = make(chan struct{})
	}
	outdated := v.outdated
	if latest == nil || v.at != m.changes {
		m.news.all = m.news.all || latest == nil
		v.at = m.changes
		sketch = m.sketch()
	}
	mu.Unlock()
	if sketch != nil {
		latest, v.lists = sketch.view(m.keys, latest, v.lists)
		v.latest = weak.Make(latest)
	}
	return latest, outdated
}

// expire is called with the owner's mutex held, after each change.
func (v *views) expire(m *mirror, over bool) {
	if v.waited != m.waits() { // any job may be led now that was not, or the other way round
		v.waited, m.news.all = m.waits(), true
	}
	if v.outdated != nil && (v.at != m.changes || over) {
		close(v.outdated)
		v.outdated = nil
	}
}

// news is what has changed since there was a view last.
type news struct {
	all     bool     // perhaps everything: as nobody asks for views, there is no more to note
	nodes   bool     // nodes, or what they tell
	records bool     // what is on record of jobs
	jobs    []string // whose queues; some twice
}

// changed notes that the queue of a job has changed.
func (m *mirror) changed(job string) {
	m.changes++
	m.note(job)
}

// note has the next view show a job anew.
func (m *mirror) note(job string) {
	if m.news.all {
		return
	}
	m.news.jobs = append(m.news.jobs, job)
	if len(m.news.jobs) > 1024+len(m.queues) {
		m.news = news{all: true}
	}
}

// changedNodes notes that there are other nodes, or that they tell something else.
func (m *mirror) changedNodes() {
	m.changes++
	m.news.nodes = true
}

// changedOrders notes that there are other orders, which may drain a node.
func (m *mirror) changedOrders() {
	m.changedNodes()
	m.ordered = nil
}

// changedRecords notes that something else is on record of a job.
func (m *mirror) changedRecords() {
	m.changes++
	m.news.records = true
}

// sketch is what has changed, as it is copied from a mirror, in no order and with what
// nodes tell as it came.
type sketch struct {
	news
	self    string
	nodes   []NodeView
	buried  map[string]string // as in a View
	jobs    []JobView         // without a queue: nobody campaigns for it any more
	records []JobRecord
	orders  []Order
	unread  string            // what is wrong with a document in an unknown format
	infos   map[string][]byte // by id
	lists   map[string][]byte // by key
}

func (m *mirror) sketch() *sketch {
	v := &sketch{news: m.news, self: m.self, orders: m.listOrders()}
	if err := m.unknown(); err != nil {
		v.unread = err.Error()
	}
	m.news = news{}
	if v.all || v.news.nodes {
		m.sketchNodes(v)
	}
	if v.all || v.news.records {
		v.records = make([]JobRecord, 0, len(m.states))
		for _, state := range m.states {
			v.records = append(v.records, state.record)
		}
	}
	if v.all {
		v.jobs = make([]JobView, 0, len(m.queues))
		candidates := make([]CandidateView, 0, 2*len(m.queues))
		for job, q := range m.queues {
			if len(q.claims) > 0 {
				candidates = m.sketchJob(v, job, q, candidates)
			}
		}
		return v
	}
	candidates := make([]CandidateView, 0, 2*len(v.news.jobs))
	for _, job := range v.news.jobs {
		candidates = m.sketchJob(v, job, m.queues[job], candidates)
	}
	return v
}

func (m *mirror) sketchNodes(v *sketch) {
	v.nodes = make([]NodeView, 0, len(m.nodes))
	v.infos, v.lists = map[string][]byte{}, map[string][]byte{}
	for id, n := range m.nodes {
		if n.buried {
			if v.buried == nil {
				v.buried = map[string]string{}
			}
			v.buried[id] = n.value.Instance
		}
		if !n.counts {
			continue
		}
		v.nodes = append(v.nodes, NodeView{ID: id, Instance: n.value.Instance})
		if told := m.infos[m.keys.info(id)]; told != nil {
			v.infos[id] = told.value
		}
	}
	for key, told := range m.infos {
		if kind, _, _ := m.keys.parse(key); kind == listDocument {
			v.lists[key] = told.value
		}
	}
}

// sketchJob takes the candidates from one array for all.
func (m *mirror) sketchJob(v *sketch, job string, q *queue, candidates []CandidateView) []CandidateView {
	if q == nil || len(q.claims) == 0 {
		v.jobs = append(v.jobs, JobView{Name: job})
		return candidates
	}
	start := len(candidates)
	for _, c := range q.claims {
		candidates = append(candidates, CandidateView{Node: c.doc.node.id, Token: c.number, guessed: c.number == c.doc.bound})
	}
	end := len(candidates)
	v.jobs = append(v.jobs, JobView{Name: job, Queue: candidates[start:end:end], Led: m.led(q)})
	return candidates
}

// view puts what has changed into the view before. known are lists that have been read
// before: most nodes have the same, and they seldom change. What has not changed is
// shared with the view before, so that who goes through both sees that at once.
func (v *sketch) view(k keys, before *View, known jobLists) (*View, jobLists) {
	slices.SortFunc(v.jobs, func(a, b JobView) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(v.records, func(a, b JobRecord) int { return cmp.Compare(a.Job, b.Job) })
	view := &View{Self: v.self, Jobs: v.jobs, Records: v.records, Unreadable: v.unread}
	if !v.all {
		view.Nodes, view.Buried, view.Jobs = before.Nodes, before.Buried, patchJobs(before.Jobs, v.jobs)
		if !v.news.records {
			view.Records = before.Records
		}
	}
	if v.all || v.news.nodes {
		view.Buried = v.buried
		view.Nodes, known = v.readNodes(k, known)
	}
	view.Orders = v.orders
	if over := func(o Order) bool { return o.over(view) }; slices.ContainsFunc(v.orders, over) {
		view.Orders = slices.DeleteFunc(slices.Clone(v.orders), over)
	}
	return view, known
}

// readNodes reads what the nodes tell.
func (v *sketch) readNodes(k keys, known jobLists) ([]NodeView, jobLists) {
	lists := known.read(k, v.lists)
	for x := range v.nodes {
		n := &v.nodes[x]
		n.NodeInfo = k.readInfo(n.ID, v.infos[n.ID], lists)
		if _, ok := drainedBy(v.orders, n.Instance); ok {
			n.Draining = true
		}
	}
	slices.SortFunc(v.nodes, func(a, b NodeView) int { return cmp.Compare(a.ID, b.ID) })
	return v.nodes, lists
}

// patchJobs returns jobs with the news in place of what is old; both are sorted, and
// the news may have some twice.
func patchJobs(jobs, news []JobView) []JobView {
	patched := make([]JobView, 0, len(jobs)+len(news))
	for i, n := range news {
		if i > 0 && news[i-1].Name == n.Name {
			continue
		}
		at, found := slices.BinarySearchFunc(jobs, n.Name, func(j JobView, name string) int { return cmp.Compare(j.Name, name) })
		patched = append(patched, jobs[:at]...)
		if jobs = jobs[at:]; found {
			jobs = jobs[1:]
		}
		if len(n.Queue) > 0 {
			patched = append(patched, n)
		}
	}
	return append(patched, jobs...)
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
		Capacity: v.Capacity, Draining: v.Draining, Warming: v.Warming,
	}
	switch {
	case v.Listed:
		info.Jobs = lists.join(k, v.Lists)
	case len(v.Lists) > 0:
		info.Barred = lists.join(k, v.Lists)
	}
	return info
}

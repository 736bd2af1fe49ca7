package distributed

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// infoValue is a [NodeInfo] but for its jobs, which are many, and change less.
type infoValue struct {
	Instance string            `json:"instance"`
	Version  string            `json:"version,omitempty"`
	Started  int64             `json:"started"` // Unix time in milliseconds
	Labels   map[string]string `json:"labels,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Capacity int               `json:"capacity,omitempty"`
	Draining bool              `json:"draining,omitempty"`
}

// jobValue is a [JobInfo].
type jobValue struct {
	Name   string   `json:"n"`
	Weight int      `json:"w,omitempty"` // 0 for 1
	Prefer []string `json:"p,omitempty"`
	Avoid  []string `json:"a,omitempty"`
}

const (
	maxAnnouncement = 1 << 20  // bytes; etcd takes 1.5 MiB in all
	maxJobList      = 64 << 20 // bytes; of a list that is read
)

// Announce implements [Roster].
func (l *etcdLease) Announce(ctx context.Context, info NodeInfo) error {
	ops, err := l.announcement(info)
	if err != nil {
		return err
	}
	var wr *write
	l.update(func() {
		if l.lost == nil {
			wr = l.written.announce(ops)
		}
	})
	if wr == nil {
		return ErrLeaseLost
	}
	select {
	case <-wr.done:
		if wr.err != nil && l.over() != nil {
			return ErrLeaseLost // the write may be the first to notice
		}
		return wr.err
	case <-l.ended:
		return ErrLeaseLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *etcdLease) announcement(info NodeInfo) ([]clientv3.Op, error) {
	value := encode(infoValue{
		Instance: l.instance, Version: info.Version, Started: info.Started.UnixMilli(),
		Labels: info.Labels, Metadata: info.Metadata, Capacity: info.Capacity, Draining: info.Draining,
	})
	if len(value) > maxAnnouncement/4 {
		return nil, fmt.Errorf("%w: labels and metadata take %d bytes, at most %d are allowed", ErrInvalidConfig, len(value), maxAnnouncement/4)
	}
	jobs := encodeJobs(info.Jobs)
	if len(jobs) > maxAnnouncement {
		return nil, fmt.Errorf("%w: the list of %d jobs takes %d bytes compressed, at most %d are allowed", ErrInvalidConfig, len(info.Jobs), len(jobs), maxAnnouncement)
	}
	lease := clientv3.WithLease(l.id)
	told := clientv3.OpPut(l.keys.info(l.name), value, lease)
	if info.Jobs == nil {
		return []clientv3.Op{told, clientv3.OpDelete(l.keys.jobs(l.name))}, nil
	}
	return []clientv3.Op{told, clientv3.OpPut(l.keys.jobs(l.name), jobs, lease)}, nil
}

// encodeJobs returns the list as JSON, compressed: names are much alike.
func encodeJobs(jobs []JobInfo) string {
	values := make([]jobValue, len(jobs))
	for i, j := range jobs {
		values[i] = jobValue(j)
		if j.Weight == 1 {
			values[i].Weight = 0
		}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	err := cmp.Or(json.NewEncoder(z).Encode(values), z.Close())
	if err != nil {
		panic(fmt.Sprintf("distributed: encode jobs: %v", err)) // a buffer takes everything
	}
	return b.String()
}

// decodeJobs returns nil for what it cannot read: a node that takes no part.
func decodeJobs(b []byte) []JobInfo {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	var values []jobValue
	if json.NewDecoder(io.LimitReader(z, maxJobList)).Decode(&values) != nil {
		return nil
	}
	jobs := make([]JobInfo, len(values))
	for i, v := range values {
		jobs[i] = JobInfo{Name: v.Name, Weight: max(v.Weight, 1), Prefer: v.Prefer, Avoid: v.Avoid}
	}
	sorted := slices.IsSortedFunc(jobs, func(a, b JobInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), -1) })
	if !sorted {
		return nil
	}
	return jobs
}

// announced is what a node has announced, its jobs as they came: to decode them
// takes too long to be done under the lease's mu.
type announced struct {
	info NodeInfo
	jobs []byte
}

func (m *mirror) setInfo(kind keyKind, lease string, e keyEvent) {
	m.changes++
	a := m.infos[lease]
	switch {
	case e.deleted && kind == infoKey:
		delete(m.infos, lease)
		return
	case e.deleted && a == nil:
		return // both have gone with the lease
	case e.deleted:
		a.jobs = nil
		return
	case a == nil:
		a = new(announced)
		m.infos[lease] = a
	}
	if kind == jobsKey {
		a.jobs = e.value
		return
	}
	var v infoValue
	if json.Unmarshal(e.value, &v) == nil {
		a.info = NodeInfo{
			Version: v.Version, Started: time.UnixMilli(v.Started), Labels: v.Labels, Metadata: v.Metadata,
			Capacity: v.Capacity, Draining: v.Draining,
		}
	}
}

// view returns the picture, in no order yet and with the jobs of the nodes as they
// came: the rest is for when the lease's mu is free again.
func (m *mirror) view() (v *View, jobs map[string][]byte) {
	jobs = map[string][]byte{}
	v = &View{Self: m.self, Nodes: make([]NodeView, 0, len(m.nodes)), Jobs: make([]JobView, 0, len(m.queues))}
	for lease, n := range m.nodes {
		if !n.alive || n.drained() {
			continue
		}
		node := NodeView{ID: lease, Instance: n.value.Instance}
		if a := m.infos[lease]; a != nil {
			node.NodeInfo, jobs[lease] = a.info, a.jobs
		}
		v.Nodes = append(v.Nodes, node)
	}
	candidates := make([]CandidateView, 0, 2*len(m.queues))
	for job, queue := range m.queues {
		start := len(candidates)
		for _, c := range queue {
			if !c.ghost() {
				candidates = append(candidates, CandidateView{Node: c.lease, Token: c.rev})
			}
		}
		if end := len(candidates); end > start {
			v.Jobs = append(v.Jobs, JobView{Name: job, Queue: candidates[start:end:end], Led: !queue[0].ghost()})
		}
	}
	return v, jobs
}

func (v *View) sort() {
	slices.SortFunc(v.Nodes, func(a, b NodeView) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(v.Jobs, func(a, b JobView) int { return cmp.Compare(a.Name, b.Name) })
}

// View implements [Roster].
func (l *etcdLease) View() (*View, <-chan struct{}, error) {
	view, outdated := l.views.get(&l.mu, l.mirror)
	if l.over() != nil {
		return nil, nil, ErrLeaseLost
	}
	return view, outdated, nil
}

// Silence implements [Roster].
func (l *etcdLease) Silence() map[string]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mirror.silence(l.clock.now())
}

func (m *mirror) silence(now time.Duration) map[string]time.Duration {
	silence := map[string]time.Duration{}
	for lease, n := range m.nodes {
		if n.alive && !n.drained() {
			silence[lease] = now - n.seen
		}
	}
	return silence
}

// views makes the views of a mirror, which its owner guards by a mutex of its
// own. Only the copying is done under that: nothing that concerns validity may
// wait for the rest.
type views struct {
	making   sync.Mutex
	latest   *View
	lists    []jobList     // those in latest
	at       int64         // changes of the mirror in latest; guarded by the owner's mutex
	outdated chan struct{} // closed when there is another; nil while nobody asked; likewise
}

func (v *views) get(mu *sync.Mutex, m *mirror) (*View, <-chan struct{}) {
	v.making.Lock()
	defer v.making.Unlock()
	var fresh *View
	var jobs map[string][]byte
	mu.Lock()
	if v.outdated == nil {
		v.outdated = make(chan struct{})
	}
	outdated := v.outdated
	if v.latest == nil || v.at != m.changes {
		v.at = m.changes
		fresh, jobs = m.view()
	}
	mu.Unlock()
	if fresh != nil {
		v.lists = decodeLists(jobs, v.lists)
		for x := range fresh.Nodes {
			fresh.Nodes[x].Jobs = findList(v.lists, jobs[fresh.Nodes[x].ID])
		}
		fresh.sort()
		v.latest = fresh
	}
	return v.latest, outdated
}

// jobList is a list of jobs as it came, and what it says. Most nodes have the same
// list, and it seldom changes: so each is decoded once.
type jobList struct {
	raw  []byte
	jobs []JobInfo
}

// decodeLists returns the lists of all nodes. old are lists that are known.
func decodeLists(raws map[string][]byte, old []jobList) (lists []jobList) {
	for _, raw := range raws {
		switch {
		case raw == nil || findList(lists, raw) != nil:
		case findList(old, raw) != nil:
			lists = append(lists, jobList{raw, findList(old, raw)})
		default:
			lists = append(lists, jobList{raw, decodeJobs(raw)})
		}
	}
	return lists
}

func findList(lists []jobList, raw []byte) []JobInfo {
	for _, l := range lists {
		if bytes.Equal(l.raw, raw) {
			return l.jobs
		}
	}
	return nil
}

// expire is called with the owner's mutex held, after each change.
func (v *views) expire(m *mirror, over bool) {
	if v.outdated != nil && (v.at != m.changes || over) {
		close(v.outdated)
		v.outdated = nil
	}
}

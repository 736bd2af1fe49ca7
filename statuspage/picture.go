package statuspage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// picture is all that the page shows, at one moment. It is not changed after it
// was made: streams that are behind hold on to the picture they have sent last.
type picture struct {
	Title string    `json:"title"`
	At    time.Time `json:"at"`
	Store store     `json:"store"`
	Self  string    `json:"self"`  // ID of the node that shows the page; empty if that is none
	Nodes []node    `json:"nodes"` // sorted by instance
	Jobs  []job     `json:"jobs"`  // sorted by name
	Moves []move    `json:"moves"` // the last, oldest first
	Stuck []stuck   `json:"stuck"` // on the node that shows the page

	Unreadable string `json:"unreadable,omitempty"` // why nobody is shown to lead

	view  *distributed.View                // of which it is
	local map[string]distributed.JobStatus // what only the node that shows the page knows
}

// store is what the page knows of etcd.
type store struct {
	State   storeState `json:"state"`
	Silence int64      `json:"silence_ms"` // since any node was heard of
}

type storeState string

const (
	storeReachable storeState = "reachable"
	storeAway      storeState = "away"
	storeUnknown   storeState = "unknown" // there is no node to be heard of
)

type node struct {
	ID       string            `json:"id"`
	Instance string            `json:"instance"`
	Version  string            `json:"version"`
	Started  *time.Time        `json:"started"` // null if it has not said so
	Labels   map[string]string `json:"labels"`
	Metadata map[string]string `json:"metadata"`
	Capacity int               `json:"capacity"` // 0: no limit
	Draining bool              `json:"draining"`
	Gone     bool              `json:"gone"` // it was there a moment ago
	Went     departure         `json:"went,omitempty"`
	Jobs     int               `json:"jobs"`    // that it leads
	Standby  int               `json:"standby"` // jobs that it waits for
	Color    int               `json:"color"`
	Silence  int64             `json:"silence_ms"`
}

type job struct {
	Name    string               `json:"name"`
	Node    string               `json:"node"` // ID; empty if nobody leads it
	State   distributed.JobState `json:"state"`
	Since   stamp                `json:"since"` // null if it was so before the page looked
	Token   int64                `json:"token"`
	Standby int                  `json:"standby"` // nodes that wait for it

	Failures int    `json:"failures,omitempty"` // of its Work, in a row
	Error    string `json:"error,omitempty"`    // the last
	Next     stamp  `json:"next"`               // when Work is called again after it; null if it has not failed
	Lacks    string `json:"lacks,omitempty"`    // the instances that do not have it, though others have
	Paused   string `json:"paused,omitempty"`   // by whom, and why
	Warming  bool   `json:"warming,omitempty"`  // its node leads it, and Work is not warm yet
	Prepares string `json:"prepares,omitempty"` // the instances that warm up for it
}

// stuck is a Work that does not stop.
type stuck struct {
	Job   string    `json:"job"`
	Since time.Time `json:"since"`
	Token int64     `json:"token"`
	Cause string    `json:"cause"`
}

// stamp is a time in Unix milliseconds, 0 for none: jobs are compared, and there
// are many.
type stamp int64

func stampOf(t time.Time) stamp {
	if t.IsZero() {
		return 0
	}
	return stamp(t.UnixMilli())
}

// Time returns the time, in UTC.
func (s stamp) Time() time.Time { return time.UnixMilli(int64(s)).UTC() }

// MarshalJSON implements [json.Marshaler].
func (s stamp) MarshalJSON() ([]byte, error) {
	if s == 0 {
		return []byte("null"), nil
	}
	return s.Time().AppendFormat(nil, `"2006-01-02T15:04:05.000Z07:00"`), nil
}

// pace is how old a picture is before there is another, at least.
const pace = 200 * time.Millisecond

// paceOf keeps what took so long to make for long enough that no more than a tenth of a
// processor goes into it.
func paceOf(took time.Duration) time.Duration { return max(pace, 9*took) }

// picture returns what there is to show now, or was a moment ago: however many
// ask, pictures are made at a bounded rate.
func (p *Page) picture() *picture {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.latest == nil || now.Sub(p.made) >= p.keep {
		p.latest, p.made = p.draw(now), now
		p.keep = paceOf(time.Since(now))
	}
	return p.latest
}

func (p *Page) draw(now time.Time) *picture {
	var status *distributed.Status
	if p.processor != nil {
		s := p.processor.Status()
		status = &s
	}
	view := p.observer.View()
	pic := p.history.draw(view, status, p.latest, now)
	pic.addRecords(view, now)
	pic.addWarmth(view)
	pic.Unreadable = view.Unreadable
	pic.Title, pic.At = p.title, now.UTC()
	silence := p.observer.Silence()
	pic.Store = storeOf(view, silence, p.silence)
	for i := range pic.Nodes {
		pic.Nodes[i].Silence = silence[pic.Nodes[i].ID].Milliseconds()
	}
	return pic
}

// storeOf judges by the nodes: each that is heard of was heard through the store.
func storeOf(view *distributed.View, silence map[string]time.Duration, limit time.Duration) store {
	if len(silence) == 0 && len(view.Nodes) == 0 {
		return store{State: storeUnknown}
	}
	if len(silence) == 0 {
		return store{State: storeAway}
	}
	least := slices.Min(slices.Collect(maps.Values(silence)))
	s := store{State: storeReachable, Silence: least.Milliseconds()}
	if least > limit {
		s.State = storeAway
	}
	return s
}

// draw makes a picture of view, with what history and the processor know. The picture
// before, if there is one, has most of it already.
func (h *history) draw(view *distributed.View, status *distributed.Status, before *picture, now time.Time) *picture {
	h.mu.Lock()
	defer h.mu.Unlock()
	local := map[string]distributed.JobStatus{}
	pic := &picture{Moves: h.moves, Nodes: []node{}, Stuck: []stuck{}, view: view, local: local}
	if status != nil {
		pic.Self = status.Node
		for _, j := range status.Jobs {
			switch j.State {
			case distributed.JobStuck:
				pic.Stuck = append(pic.Stuck, stuckOf(j))
				local[j.Name] = j
			case distributed.JobStopping:
				local[j.Name] = j
			}
		}
	}
	if before == nil {
		before = &picture{view: new(distributed.View)}
	}
	pic.Jobs = h.drawJobs(pic, before, allJobs(view, h.vacant, status))
	pic.Nodes = h.drawNodes(view, now)
	pic.count(view)
	return pic
}

func stuckOf(j distributed.JobStatus) stuck {
	s := stuck{Job: j.Name, Since: j.Since.UTC(), Token: j.Token}
	if j.Cause != nil {
		s.Cause = j.Cause.Error()
	}
	return s
}

// allJobs returns the names of all jobs that anybody has spoken of, sorted.
func allJobs(view *distributed.View, vacant map[string]vacancy, status *distributed.Status) []string {
	all := make([]string, len(view.Jobs))
	for i := range view.Jobs {
		all[i] = view.Jobs[i].Name
	}
	var last *distributed.JobInfo
	for i := range view.Nodes {
		jobs := view.Nodes[i].Jobs
		if jobs == nil {
			jobs = view.Nodes[i].Barred
		}
		if len(jobs) == 0 || &jobs[0] == last { // nodes with the same list share it
			continue
		}
		last = &jobs[0]
		all = union(all, len(jobs), func(i int) string { return jobs[i].Name })
	}
	if status != nil {
		all = union(all, len(status.Jobs), func(i int) string { return status.Jobs[i].Name })
	}
	all = union(all, len(view.Records), func(i int) string { return view.Records[i].Job })
	_, paused := pausedJobs(view)
	all = union(all, len(paused), func(i int) string { return paused[i] })
	vacated := slices.Sorted(maps.Keys(vacant))
	return union(all, len(vacated), func(i int) string { return vacated[i] })
}

// union merges two sorted lists. It returns a itself if nothing is missing there.
func union(a []string, n int, b func(int) string) []string {
	var missing []string
	for i, j := 0, 0; j < n; {
		switch name := b(j); {
		case i == len(a) || name < a[i]:
			missing = append(missing, name)
			j++
		case name == a[i]:
			j++
		default:
			i++
		}
	}
	if missing == nil {
		return a
	}
	all := slices.Concat(a, missing)
	slices.Sort(all)
	return slices.Compact(all)
}

func (h *history) drawJobs(pic, before *picture, names []string) []job {
	jobs := make([]job, len(names))
	view, was, drawn := pic.view.Jobs, before.view.Jobs, before.Jobs
	paused, _ := pausedJobs(pic.view)
	for i, name := range names {
		view, was, drawn = view[jobsBefore(view, name):], was[jobsBefore(was, name):], drawn[drawnBefore(drawn, name):]
		var v *distributed.JobView
		if len(view) > 0 && view[0].Name == name {
			v = &view[0]
		}
		known := v != nil && len(was) > 0 && was[0].Name == name && sameJob(v, &was[0]) && len(drawn) > 0 && drawn[0].Name == name
		if known && !pic.knowsMore(name) && !before.knowsMore(name) && drawn[0].plain() {
			jobs[i] = drawn[0]
		} else {
			jobs[i] = h.drawJob(pic, v, name)
		}
		if by := paused(name); by != "" && jobs[i].State == distributed.JobWaiting {
			jobs[i].State, jobs[i].Paused = distributed.JobPaused, by
		}
	}
	return jobs
}

// jobsBefore returns how many jobs, sorted by name, come before name.
func jobsBefore(jobs []distributed.JobView, name string) (n int) {
	for n < len(jobs) && jobs[n].Name < name {
		n++
	}
	return n
}

// drawnBefore does the same for jobs that have been drawn.
func drawnBefore(jobs []job, name string) (n int) {
	for n < len(jobs) && jobs[n].Name < name {
		n++
	}
	return n
}

// plain reports whether nothing was shown of j but what is in its queue.
func (j *job) plain() bool {
	return j.Failures == 0 && j.Lacks == "" && !j.Warming && j.Prepares == "" && (j.State == distributed.JobRunning || j.State == distributed.JobWaiting)
}

// knowsMore reports whether the node that shows the page has something to say of job.
func (pic *picture) knowsMore(job string) bool {
	if len(pic.local) == 0 {
		return false
	}
	_, ok := pic.local[job]
	return ok
}

// drawJob draws a job; v is nil for one that nobody stands for.
func (h *history) drawJob(pic *picture, v *distributed.JobView, name string) job {
	j := job{Name: name, State: distributed.JobWaiting, Since: stampOf(h.vacant[name].at)}
	if v != nil {
		j.Standby = len(v.Queue)
		if v.Led {
			j.Standby--
			j.State, j.Node, j.Token, j.Since = distributed.JobRunning, v.Queue[0].Node, v.Queue[0].Token, 0
			if t := h.terms[name]; t != nil && t.token == j.Token {
				j.Since = stampOf(t.since)
			}
		}
	}
	if l, ok := pic.local[name]; ok && (j.Node == pic.Self || j.Node == "") {
		j.Node, j.State, j.Since, j.Token = pic.Self, l.State, stampOf(l.Since), l.Token
	}
	return j
}

func (h *history) drawNodes(view *distributed.View, now time.Time) []node {
	nodes := make([]node, 0, len(view.Nodes)+len(h.gone))
	present := map[string]bool{}
	for _, n := range view.Nodes {
		present[n.Instance] = true
		nodes = append(nodes, h.drawNode(n, ""))
	}
	for _, n := range slices.Backward(h.gone) {
		if !present[n.Instance] && now.Sub(n.at) <= rememberNodes {
			present[n.Instance] = true
			nodes = append(nodes, h.drawNode(n.NodeView, departed(n.ID, view.Buried)))
		}
	}
	slices.SortStableFunc(nodes, func(a, b node) int {
		return cmp.Or(natural(a.Instance, b.Instance), strings.Compare(a.ID, b.ID))
	})
	return nodes
}

func (h *history) drawNode(n distributed.NodeView, went departure) node {
	d := node{
		ID: n.ID, Instance: n.Instance, Version: n.Version, Labels: n.Labels, Metadata: n.Metadata,
		Capacity: n.Capacity, Draining: n.Draining, Gone: went != "", Went: went, Color: h.colors[n.Instance] % palette,
	}
	if n.Started.Unix() > 0 {
		d.Started = new(n.Started.UTC())
	}
	return d
}

// natural compares names so that node-10 comes after node-9.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x == 0 || y == 0 {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
		if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
			return c
		}
		a, b = a[x:], b[y:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns how many digits s begins with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}

// count counts what each node leads and waits for.
func (pic *picture) count(view *distributed.View) {
	at := map[string]*node{}
	for i := range pic.Nodes {
		at[pic.Nodes[i].ID] = &pic.Nodes[i]
	}
	for i := range pic.Jobs {
		if n := at[pic.Jobs[i].Node]; n != nil {
			n.Jobs++
		}
	}
	for i := range view.Jobs {
		for q, c := range view.Jobs[i].Queue {
			if n := at[c.Node]; n != nil && (q > 0 || !view.Jobs[i].Led) {
				n.Standby++
			}
		}
	}
}

package statuspage

import (
	"maps"
	"slices"
	"time"

	"github.com/b2552be4/distributed"
)

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

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
	p.history.look(p.observer, p.silence)
	pic, view := p.history.draw(status, p.latest, now)
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

// draw makes a picture of the view taken in last, which it returns as well, with what
// history and the processor know. The picture before, if there is one, has most of it
// already.
func (h *history) draw(status *distributed.Status, before *picture, now time.Time) (*picture, *distributed.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before == nil {
		before = new(picture)
	}
	pic := &picture{Moves: h.moves, Stuck: []stuck{}, told: h.view.Nodes, partial: before.partial}
	if !sameNodes(before.told, pic.told) {
		pic.partial = h.view.Partial()
	}
	local := map[string]distributed.JobStatus{}
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
	pic.Jobs = h.drawJobs(pic, before.Jobs, local, otherJobs(h.view, h.vacant, status), now)
	pic.Nodes = h.drawNodes(h.view, now)
	if self := slices.IndexFunc(pic.Nodes, func(n node) bool { return n.ID == pic.Self }); self >= 0 {
		pic.Nodes[self].Jobs += unled(h.view, local)
	}
	return pic, h.view
}

// sameNodes reports whether two views share what nodes tell.
func sameNodes(a, b []distributed.NodeView) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func stuckOf(j distributed.JobStatus) stuck {
	s := stuck{Job: j.Name, Since: j.Since.UTC(), Token: j.Token}
	if j.Cause != nil {
		s.Cause = j.Cause.Error()
	}
	return s
}

// otherJobs returns the names of the jobs that anybody has spoken of and nobody campaigns
// for, sorted.
func otherJobs(view *distributed.View, vacant map[string]vacancy, status *distributed.Status) (others []string) {
	add := func(n int, name func(i int) string) { others = appendOthers(others, view.Jobs, n, name) }
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
		add(len(jobs), func(i int) string { return jobs[i].Name })
	}
	if status != nil {
		add(len(status.Jobs), func(i int) string { return status.Jobs[i].Name })
	}
	add(len(view.Records), func(i int) string { return view.Records[i].Job })
	_, paused := pausedJobs(view)
	add(len(paused), func(i int) string { return paused[i] })
	vacated := slices.Sorted(maps.Keys(vacant))
	add(len(vacated), func(i int) string { return vacated[i] })
	slices.Sort(others)
	return slices.Compact(others)
}

// appendOthers appends those of n sorted names that none of the jobs, sorted likewise, has.
func appendOthers(others []string, jobs []distributed.JobView, n int, name func(i int) string) []string {
	for i := range n {
		name := name(i)
		jobs = jobs[jobsBefore(jobs, name):]
		if len(jobs) == 0 || jobs[0].Name != name {
			others = append(others, name)
		}
	}
	return others
}

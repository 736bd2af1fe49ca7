package statuspage

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
)

// change is what is new in one picture since another.
type change struct {
	Nodes []node   `json:"nodes,omitempty"` // all, if any has changed
	Self  *string  `json:"self,omitempty"`
	Jobs  []*job   `json:"jobs,omitempty"`
	Gone  []string `json:"gone,omitempty"` // jobs
	Moves []move   `json:"moves,omitempty"`
	Stuck *[]stuck `json:"stuck,omitempty"`

	Unreadable *string `json:"unreadable,omitempty"`
}

// changes returns what is new in to, and false if there is nothing that a beat
// would not tell.
func changes(from, to *picture) (c change, ok bool) {
	if !slices.EqualFunc(from.Nodes, to.Nodes, sameNode) {
		c.Nodes = to.Nodes
		ok = true
	}
	if from.Self != to.Self {
		c.Self = &to.Self
		ok = true
	}
	if !slices.Equal(from.Stuck, to.Stuck) {
		c.Stuck = &to.Stuck
		ok = true
	}
	if from.Unreadable != to.Unreadable {
		c.Unreadable = &to.Unreadable
		ok = true
	}
	c.Jobs, c.Gone = changedJobs(from.Jobs, to.Jobs)
	c.Moves = newMoves(from.Moves, to.Moves)
	return c, ok || len(c.Jobs)+len(c.Gone)+len(c.Moves) > 0
}

// sameNode leaves out the silence, which always changes.
func sameNode(a, b node) bool {
	a.Silence, b.Silence = 0, 0
	return reflect.DeepEqual(a, b)
}

// changedJobs compares two lists sorted by name. Most jobs are in both.
func changedJobs(from, to []*job) (changed []*job, gone []string) {
	for _, j := range to {
		if len(from) > 0 && from[0] == j {
			from = from[1:]
			continue
		}
		for len(from) > 0 && from[0].Name < j.Name {
			gone = append(gone, from[0].Name)
			from = from[1:]
		}
		if len(from) > 0 && from[0].Name == j.Name {
			same := from[0].looksLike(j)
			if from = from[1:]; same {
				continue
			}
		}
		changed = append(changed, j)
	}
	for _, j := range from {
		gone = append(gone, j.Name)
	}
	return changed, gone
}

func newMoves(from, to []move) []move {
	if len(from) == 0 {
		return to
	}
	last := from[len(from)-1].Number
	i, _ := slices.BinarySearchFunc(to, last+1, func(m move, n int64) int { return cmp.Compare(m.Number, n) })
	return to[i:]
}

// filter is what of a picture somebody wants to see.
type filter struct {
	text  string // a part of a job's name, or of its node's; in lower case
	state string // empty for all
}

// matches takes the instance that leads j, if any.
func (f filter) matches(j *job, instance string) bool {
	if f.state != "" && f.state != string(j.State) {
		return false
	}
	return f.text == "" || strings.Contains(strings.ToLower(j.Name), f.text) || strings.Contains(strings.ToLower(instance), f.text)
}

// apply returns the jobs that match.
func (f filter) apply(pic *picture) []*job {
	instances := map[string]string{}
	for i := range pic.Nodes {
		instances[pic.Nodes[i].ID] = pic.Nodes[i].Instance
	}
	if f == (filter{}) {
		return pic.Jobs
	}
	jobs := []*job{}
	for _, j := range pic.Jobs {
		if f.matches(j, instances[j.Node]) {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

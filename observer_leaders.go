package distributed

import (
	"sort"
	"time"
)

// Leader is who leads a job.
type Leader struct {
	Job      string            `json:"job"`
	Token    int64             `json:"token"` // of the leadership
	Node     string            `json:"node"`  // ID of the node, see [View]
	Instance string            `json:"instance"`
	Metadata map[string]string `json:"metadata"`       // what the node says with [WithMetadata]; not to be changed
	Warming  bool              `json:"warming"`        // it has not said yet that it is ready, see [Job].SaysReady
	Since    time.Time         `json:"since,omitzero"` // when the observer saw it begin to lead; zero if it led before
}

// leaders returns the leaders of all jobs that have one; since has when each began, by
// job.
func (v *View) leaders(since []*time.Time) []Leader {
	leaders := make([]Leader, 0, len(since))
	for j := range since {
		if v.Jobs[j].Led {
			leaders = append(leaders, v.leader(j, since[j]))
		}
	}
	return leaders
}

// leader returns who leads a job that is led.
func (v *View) leader(job int, since *time.Time) Leader {
	j := &v.Jobs[job]
	first := j.Queue[0]
	l := Leader{Job: j.Name, Token: first.Token, Node: first.Node}
	if since != nil {
		l.Since = *since
	}
	x := sort.Search(len(v.Nodes), func(x int) bool { return v.Nodes[x].ID >= first.Node }) // without copying nodes
	if x < len(v.Nodes) && v.Nodes[x].ID == first.Node {
		l.Instance, l.Metadata = v.Nodes[x].Instance, v.Nodes[x].Metadata
		_, l.Warming = v.Nodes[x].Warming[j.Name]
	}
	return l
}

// beginnings returns when the leader of each job of a view was seen to begin. The view
// was seen at now, which is nil for the first: its leaders led before. Those that the view
// before has as well are known.
func beginnings(view *View, now *time.Time, before *View, known []*time.Time) []*time.Time {
	since := make([]*time.Time, len(view.Jobs))
	i := 0
	for j := range view.Jobs {
		job := &view.Jobs[j]
		for i < len(before.Jobs) && before.Jobs[i].Name < job.Name {
			i++
		}
		if !job.Led {
			continue
		}
		since[j] = now
		if i < len(before.Jobs) && before.Jobs[i].Name == job.Name && before.Jobs[i].Led && goesOn(&before.Jobs[i].Queue[0], &job.Queue[0]) {
			since[j] = known[i]
		}
	}
	return since
}

// goesOn reports whether what one view shows as a leadership is the same that a later
// one shows: its token may not have been known. What both share is not looked at.
func goesOn(was, is *CandidateView) bool {
	return was == is || was.Token == is.Token || was.guessed && was.Node == is.Node && was.Token < is.Token
}

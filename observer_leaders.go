package distributed

import (
	"cmp"
	"slices"
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

// leadersOf returns the leaders by job of a view that was seen at now, which is zero
// for the first. Those of the view before are known: what both share is not looked at.
func leadersOf(view *View, now time.Time, before *View, known []Leader) []Leader {
	leaders := make([]Leader, len(view.Jobs))
	sameNodes := len(view.Nodes) > 0 && len(before.Nodes) == len(view.Nodes) && &before.Nodes[0] == &view.Nodes[0]
	i := 0
	for j := range view.Jobs {
		job := &view.Jobs[j]
		for i < len(before.Jobs) && before.Jobs[i].Name < job.Name {
			i++
		}
		var was *JobView
		if i < len(before.Jobs) && before.Jobs[i].Name == job.Name {
			was = &before.Jobs[i]
		}
		switch {
		case !job.Led:
		case was != nil && sameNodes && was.Led && &was.Queue[0] == &job.Queue[0]:
			leaders[j] = known[i]
		default:
			leaders[j] = view.leader(job)
			leaders[j].Since = now
			if was != nil && was.Led && goesOn(was.Queue[0], job.Queue[0]) {
				leaders[j].Since = known[i].Since
			}
		}
	}
	return leaders
}

// goesOn reports whether what one view shows as a leadership is the same that a later
// one shows: its token may not have been known.
func goesOn(was, is CandidateView) bool {
	return was.Token == is.Token || was.guessed && was.Node == is.Node && was.Token < is.Token
}

// leader returns who leads a job that is led.
func (v *View) leader(job *JobView) Leader {
	first := job.Queue[0]
	l := Leader{Job: job.Name, Token: first.Token, Node: first.Node}
	x, ok := slices.BinarySearchFunc(v.Nodes, first.Node, func(n NodeView, id string) int { return cmp.Compare(n.ID, id) })
	if ok {
		l.Instance, l.Metadata = v.Nodes[x].Instance, v.Nodes[x].Metadata
		_, l.Warming = v.Nodes[x].Warming[job.Name]
	}
	return l
}

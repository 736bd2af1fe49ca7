package distributed

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Which of equal jobs are to move depends on who waits for which, so it can be
// others in the next view. What has been told to go by then counts.
func TestJobsThatAreOnTheirWayCount(t *testing.T) {
	jobs := []JobInfo{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}, {Name: "c", Weight: 1}, {Name: "d", Weight: 1}}
	node := func(id string) NodeView { return NodeView{ID: id, Instance: id, NodeInfo: NodeInfo{Jobs: jobs}} }
	view := &View{Self: "1", Nodes: []NodeView{node("1"), node("2")}}
	for _, job := range jobs {
		view.Jobs = append(view.Jobs, JobView{Name: job.Name, Led: true, Queue: []CandidateView{{Node: "1"}, {Node: "2"}}})
	}
	b := newBalancer(&LeadershipBasedJobProcessor{}, balancing{maxMoves: 10}, NodeInfo{})
	for _, job := range jobs {
		ctx, cancel := context.WithCancelCause(t.Context())
		leading := &Leadership{name: job.Name, ctx: ctx, cancel: cancel}
		b.seats[job.Name] = &seat{job: &plannedJob{Job: Job{Name: job.Name}}, leading: leading, taken: true}
	}
	p := place(view)
	leaving := 0
	for j := range p.jobs {
		if p.moves(j) {
			leaving++
		}
	}
	require.Equal(t, 2, leaving)

	stays := slices.IndexFunc(p.jobs, func(j placedJob) bool { return j.target == p.self })
	b.seats[p.jobs[stays].Name].leading.cancel(ErrMoved) // by an earlier view
	moved := b.seat(t.Context(), p, true, true)
	require.Len(t, moved, 1, "one of two is on its way")
	for _, l := range moved {
		l.cancel(ErrMoved)
	}
	require.Empty(t, b.seat(t.Context(), p, true, true), "both are")
}

// A view of an earlier leadership of the job does not show whether others have run it since.
func TestAJobLeavesByAViewOfItsLeadership(t *testing.T) {
	jobs := []JobInfo{{Name: "a", Weight: 1}}
	node := func(id string) NodeView { return NodeView{ID: id, Instance: id, NodeInfo: NodeInfo{Jobs: jobs}} }
	draining := node("1")
	draining.Draining = true
	leaving := func(shown int64) []*Leadership {
		b := newBalancer(&LeadershipBasedJobProcessor{}, balancing{maxMoves: 10}, NodeInfo{})
		leading := &Leadership{name: "a", token: 7, ctx: t.Context()}
		b.seats["a"] = &seat{job: &plannedJob{Job: Job{Name: "a"}}, leading: leading, taken: true}
		view := &View{Self: "1", Nodes: []NodeView{draining, node("2")}}
		view.Jobs = []JobView{{Name: "a", Led: true, Queue: []CandidateView{{Node: "1", Token: shown}, {Node: "2", Token: 9}}}}
		return b.seat(t.Context(), place(view), true, true)
	}
	require.Empty(t, leaving(5))
	require.Len(t, leaving(7), 1)
}

// What a node did last for a job need not be in its view yet. But it does not wait for
// that for ever: a job may have to wait for something else before it is claimed.
func TestASeatDoesNotChangeBeforeItsLastChangeIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := []JobInfo{{Name: "a", Weight: 1}}
		node := func(id string) NodeView { return NodeView{ID: id, Instance: id, NodeInfo: NodeInfo{Jobs: jobs}} }
		view := &View{Self: "3", Nodes: []NodeView{node("1"), node("2"), node("3")}}
		view.Jobs = []JobView{{Name: "a", Led: true, Queue: []CandidateView{{Node: "1"}, {Node: "2"}}}}
		b := newBalancer(&LeadershipBasedJobProcessor{}, balancing{maxMoves: 10}, NodeInfo{})
		_, withdraw := context.WithCancelCause(t.Context())
		s := &seat{job: &plannedJob{Job: Job{Name: "a"}}, taken: true, standing: &standingOrder{t.Context(), withdraw}, changed: new(time.Now())}
		b.seats["a"] = s
		p := place(view)
		b.seat(t.Context(), p, true, true)
		require.NotNil(t, s.standing, "2 waits, and 3 does not see its own claim yet")
		require.True(t, b.unseen)
		time.Sleep(seatPatience)
		b.seat(t.Context(), p, true, true)
		require.Nil(t, s.standing)
		require.False(t, b.unseen)
	})
}

// While nothing changes, a placement is of no use. What comes next is computed all the
// same.
func TestAQuietNodeForgetsItsPlacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		view := &View{Self: "1", Nodes: []NodeView{{ID: "1", Instance: "1", NodeInfo: NodeInfo{Jobs: []JobInfo{{Name: "a", Weight: 1}}}}}}
		b := newBalancer(&LeadershipBasedJobProcessor{}, balancing{maxMoves: 10}, NodeInfo{})
		var p placer
		b.seat(t.Context(), p.place(view), true, true)
		outdated, awaited := make(chan struct{}), make(chan bool)
		go func() { awaited <- b.await(t.Context(), outdated, 0, &p) }()
		time.Sleep(quietTime)
		synctest.Wait()
		close(outdated)
		require.True(t, <-awaited)
		require.Nil(t, p.placed)
		require.Zero(t, b.found)
		require.Equal(t, place(view).jobs[0].target, p.place(view).jobs[0].target)
	})
}

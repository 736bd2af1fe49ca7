package statuspage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestWhatIsOnRecordOfJobsIsShown(t *testing.T) {
	at := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	failed := distributed.JobRecord{Job: "b", At: at, Failures: 3, Error: "broken", Pause: 4 * time.Second}
	for name, c := range map[string]struct {
		record distributed.JobRecord
		state  distributed.JobState
		now    time.Time
		want   job
	}{
		"it pauses":            {failed, distributed.JobRunning, at.Add(time.Second), job{Name: "b", State: distributed.JobFailed, Since: stampOf(at), Failures: 3, Error: "broken", Next: stampOf(at.Add(4 * time.Second))}},
		"it is tried again":    {failed, distributed.JobRunning, at.Add(5 * time.Second), job{Name: "b", State: distributed.JobRunning, Failures: 3, Error: "broken", Next: stampOf(at.Add(4 * time.Second))}},
		"nobody leads it":      {failed, distributed.JobWaiting, at.Add(time.Hour), job{Name: "b", State: distributed.JobFailed, Since: stampOf(at), Failures: 3, Error: "broken", Next: stampOf(at.Add(4 * time.Second))}},
		"it is stuck":          {failed, distributed.JobStuck, at.Add(time.Second), job{Name: "b", State: distributed.JobStuck, Failures: 3, Error: "broken", Next: stampOf(at.Add(4 * time.Second))}},
		"it is done":           {distributed.JobRecord{Job: "b", At: at, Done: true}, distributed.JobWaiting, at, job{Name: "b", State: distributed.JobDone, Since: stampOf(at)}},
		"another is on record": {distributed.JobRecord{Job: "a", At: at, Done: true}, distributed.JobWaiting, at, job{Name: "b", State: distributed.JobWaiting}},
	} {
		t.Run(name, func(t *testing.T) {
			remarks := new(picture).remarks(&distributed.View{Records: []distributed.JobRecord{c.record}}, nil, c.now)
			require.Equal(t, c.record.Job == "b", remarks.on("b"))
			got := job{Name: "b", State: c.state}
			remarks.add(&got)
			require.Equal(t, c.want, got)
		})
	}
}

func TestJobsThatNodesLackAreShown(t *testing.T) {
	list := func(names ...string) (jobs []distributed.JobInfo) {
		for _, name := range names {
			jobs = append(jobs, distributed.JobInfo{Name: name, Weight: 1})
		}
		return jobs
	}
	node := func(id string, jobs []distributed.JobInfo) distributed.NodeView {
		return distributed.NodeView{ID: id, Instance: "node-" + id, NodeInfo: distributed.NodeInfo{Jobs: jobs}}
	}
	view := &distributed.View{Nodes: []distributed.NodeView{node("1", list("a", "b")), node("2", list("a")), node("3", list("a"))}}
	remarks := (&picture{partial: view.Partial()}).remarks(view, nil, time.Now())
	require.False(t, remarks.on("a"))
	require.True(t, remarks.on("b"))
	got := job{Name: "b"}
	remarks.add(&got)
	require.Equal(t, "node-2, node-3", got.Lacks)
}

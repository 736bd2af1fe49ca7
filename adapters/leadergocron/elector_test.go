package leadergocron_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/adapters/leadergocron"
)

func TestWorkWaitsForTheTaskUnderWay(t *testing.T) {
	e := new(leadergocron.Elector)
	require.Error(t, e.IsLeader(t.Context()))
	require.Error(t, e.Task(func(context.Context) error { return nil })(), "it does not lead")
	require.Error(t, e.Work(t.Context()), "ctx is not that of a job")

	began, goOn := make(chan struct{}), make(chan struct{})
	task := e.Task(func(ctx context.Context) error {
		close(began)
		<-ctx.Done() // it is told
		<-goOn
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	p := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewMemoryLeaseProvider(nil), []distributed.Job{{Name: "x", Work: e.Work}})
	executed := make(chan error, 1)
	go func() { executed <- p.Execute(ctx) }()
	observer, err := p.Observe(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, observer.Close()) }()
	_, err = observer.Await(t.Context(), "x")
	require.NoError(t, err)
	for e.IsLeader(t.Context()) != nil { // Work is about to be called
		runtime.Gosched()
	}
	ended := make(chan error, 1)
	go func() { ended <- task() }()
	<-began
	stop()
	for e.IsLeader(t.Context()) == nil {
		runtime.Gosched()
	}
	require.Empty(t, executed, "the task runs")
	close(goOn)
	require.NoError(t, <-ended)
	require.NoError(t, <-executed)
}

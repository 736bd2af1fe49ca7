package distributed_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// An order to move a job takes effect when the other node is prepared, and everybody
// sees that it is warming up until it says that it is ready; a pause takes effect at once.
func TestAJobOnETCDMovesToAPreparedNodeAndIsPaused(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	provider := func() distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider(cluster.Endpoints()) // a lease that was lost would move the job as well
	}
	preparing, prepared := make(chan struct{}, 10), make(chan struct{})
	ready, running := make(chan struct{}), make(chan string, 10)
	paused := make(chan error, 10)
	for _, instance := range []string{"a", "b"} {
		job := distributed.Job{Name: "x", SaysReady: true, Work: func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx)
			running <- instance
			if instance == "a" {
				l.Ready()
				return untilDone(ctx)
			}
			select {
			case <-ready:
				l.Ready()
			case <-ctx.Done():
			}
			<-ctx.Done()
			paused <- context.Cause(ctx)
			return nil
		}}
		job.Prepare = func(ctx context.Context) error {
			preparing <- struct{}{}
			select {
			case <-prepared:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", instance, provider(), []distributed.Job{job},
			distributed.WithLoadBalancing(distributed.WithSettleTime(0), distributed.WithGatherTime(0))))
		if instance == "a" {
			require.Equal(t, "a", <-running)
		}
	}
	<-preparing // b, which stands by

	o, err := distributed.NewOperator(testContext(t), "app", provider())
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	observer, err := distributed.Observe(testContext(t), "app", provider())
	require.NoError(t, err)
	defer func() { require.NoError(t, observer.Close()) }()
	require.NoError(t, o.Move(testContext(t), "x", "b", ann))
	require.Empty(t, running, "b is not prepared")
	close(prepared)
	require.Equal(t, "b", <-running)
	warming := func(want bool) func() bool {
		return func() bool {
			l, ok := observer.Locate("x")
			return ok && l.Instance == "b" && l.Warming == want
		}
	}
	require.Eventually(t, warming(true), patience, time.Millisecond)
	close(ready)
	require.Eventually(t, warming(false), patience, time.Millisecond)
	require.NoError(t, o.Pause(testContext(t), "x", ann))
	require.ErrorIs(t, <-paused, distributed.ErrPaused)
}

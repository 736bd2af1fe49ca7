package distributed_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func TestWhatWasSavedOnETCDIsThereForTheNextLeaderAndAStaleOneIsRefused(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	network := newGate()
	a, b := node(t, cluster, "a", network.option()), node(t, cluster, "b")
	first := lead(t, a, "x")
	requireSaved(t, first, "")
	require.NoError(t, first.Save(t.Context(), []byte("checkpoint")))
	network.cut()
	saving := make(chan error, 1)
	go func() { saving <- first.Save(context.WithoutCancel(t.Context()), []byte("stale")) }()
	second := lead(t, b, "x")
	requireSaved(t, second, "checkpoint")
	network.heal()
	require.ErrorIs(t, <-saving, distributed.ErrLeadershipLost)
	requireSaved(t, second, "checkpoint")
	require.NoError(t, second.Save(t.Context(), make([]byte, 64<<10)))
	requireSaved(t, second, string(make([]byte, 64<<10)))
}

func TestFailuresAreCountedAndMigrationsDoneOnETCD(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var migrations atomic.Int32
	var mu sync.Mutex
	var failed []distributed.JobRecord
	done, twice := make(chan struct{}), make(chan struct{})
	jobs := []distributed.Job{
		{Name: "migrate", Work: func(context.Context) error {
			migrations.Add(1)
			return distributed.ErrDone
		}},
		{Name: "poison", Work: func(context.Context) error { time.Sleep(50 * time.Millisecond); return errBroken }},
	}
	hooks := distributed.WithHooks(distributed.Hooks{
		Done: func(string, int64) { close(done) },
		Failed: func(r distributed.JobRecord, _ error) {
			mu.Lock()
			defer mu.Unlock()
			if failed = append(failed, r); len(failed) == 2 {
				close(twice)
			}
		},
	})
	var nodes []*executing
	for _, name := range []string{"a", "b"} {
		provider := distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl))
		nodes = append(nodes, start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", name, provider, jobs, hooks)))
	}
	<-done
	<-twice
	for _, n := range nodes {
		n.stop(errShutdown)
		require.NoError(t, n.result())
	}
	mu.Lock()
	defer mu.Unlock()
	require.EqualValues(t, 1, migrations.Load())
	require.Equal(t, []int{1, 2}, []int{failed[0].Failures, failed[1].Failures})
	require.Less(t, failed[0].Token, failed[1].Token)
	require.Equal(t, "broken", failed[0].Error)
}

package distributed_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func TestWhatWasSavedOnETCDIsThereForTheNextLeaderAndAStaleOneIsRefused(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	network := newGate()
	a := node(t, cluster, "a", distributed.WithLeaseTTL(5*time.Second), network.option())
	b := node(t, cluster, "b", distributed.WithLeaseTTL(10*time.Second))
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
		provider := distributed.NewETCDLeaseProvider(cluster.Endpoints())
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

// Also what it sent before it was cut off, and reaches etcd only now.
func TestWhatAStaleLeaderHasSentIsRefusedByETCDWhenItArrives(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	network := &lateStore{sent: make(chan distributed.Write, 1)}
	provider := distributed.NewLeaseProvider(func(context.Context, distributed.LeaseRequest) (distributed.Store, error) {
		store, err := distributed.OpenETCDStore(cluster.Endpoints(), clientv3.Config{})
		network.Store = store
		return network, err
	}, distributed.WithLeaseTTL(5*time.Second))
	a, b := distributed.NewConcurrency("app", "a", provider), node(t, cluster, "b", distributed.WithLeaseTTL(10*time.Second))
	defer func() { _ = a.Close() }()
	first := lead(t, a, "x")
	requireSaved(t, first, "")
	require.NoError(t, first.Save(t.Context(), []byte("checkpoint")))
	network.cut.Store(true)
	saving := make(chan error, 1)
	go func() { saving <- first.Save(context.WithoutCancel(t.Context()), []byte("stale")) }()
	late := <-network.sent
	second := lead(t, b, "x")
	requireSaved(t, second, "checkpoint")
	_, err := network.Store.Put(testContext(t), late.Key, late.Value, late.Revision)
	require.ErrorAs(t, err, new(*distributed.ConflictError))
	require.ErrorIs(t, <-saving, distributed.ErrLeadershipLost)
	requireSaved(t, second, "checkpoint")
}

// lateStore is a store whose writes do not arrive while it is cut off.
type lateStore struct {
	distributed.Store
	cut  atomic.Bool
	sent chan distributed.Write // the first that was to save something
}

func (s *lateStore) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if !s.cut.Load() {
		return s.Store.Put(ctx, key, value, rev)
	}
	if strings.Contains(key, "/saved/") {
		select {
		case s.sent <- distributed.Write{Key: key, Value: value, Revision: rev}:
		default:
		}
	}
	return 0, errAway
}

package distributed_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// sight is what a viewer tells of itself.
type sight struct {
	mu      sync.Mutex
	failing bool
	cause   error
	changed int
}

func (s *sight) events() distributed.LeaseEvents {
	return distributed.LeaseEvents{
		Renewed:       func(_, _ time.Duration) { s.set(false, nil) },
		RenewalFailed: func(cause error) { s.set(true, cause) },
	}
}

func (s *sight) set(failing bool, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing != failing {
		s.changed++
	}
	s.failing, s.cause = failing, cause
}

func (s *sight) await(t *testing.T, failing bool) time.Duration {
	t.Helper()
	begun := time.Now()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.failing == failing
	}, patience, 5*time.Millisecond)
	return time.Since(begun)
}

func openView(t *testing.T, events distributed.LeaseEvents, endpoints ...string) distributed.Viewer {
	provider := distributed.NewETCDLeaseProvider(endpoints)
	for ctx := testContext(t); ; { // an attempt takes 5 s at most, which etcd may need on a machine that is busy
		v, err := provider.OpenView(ctx, distributed.LeaseRequest{App: "app", Logger: new(logBuffer).logger(), Events: events})
		if err == nil {
			t.Cleanup(func() { require.NoError(t, v.Close()) })
			return v
		}
		require.ErrorContains(t, err, context.DeadlineExceeded.Error())
		require.NoError(t, ctx.Err(), "since %v", err)
	}
}

// awaitLeader waits until the viewer sees job led.
func awaitLeader(t *testing.T, v distributed.Viewer, job string) {
	ctx := testContext(t)
	for {
		view, outdated, err := v.View()
		require.NoError(t, err)
		for _, j := range view.Jobs {
			if j.Name == job && j.Led {
				return
			}
		}
		select {
		case <-outdated:
		case <-ctx.Done():
			require.FailNow(t, "not seen", job)
		}
	}
}

func TestAViewerNoticesThatItIsBlind(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]bool{"with a node": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
			if run {
				lead(t, node(t, cluster, "a", distributed.WithLeaseTTL(30*time.Second)), "x")
			}
			var s sight
			v := openView(t, s.events(), cluster.Endpoints()...)
			cluster.Members()[0].Stop()
			t.Logf("noticed after %v", s.await(t, true))
			require.Error(t, s.cause)
			require.NoError(t, cluster.Members()[0].Restart(testContext(t)))
			t.Logf("saw again after %v", s.await(t, false))
			lead(t, node(t, cluster, "b"), "y")
			awaitLeader(t, v, "y")
		})
	}
}

func TestAViewerReplacesASilentConnection(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]bool{"with a node": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
			if run {
				lead(t, node(t, cluster, "a", distributed.WithLeaseTTL(10*time.Second)), "x")
			}
			network, endpoint := linkTo(t, cluster)
			var s sight
			v := openView(t, s.events(), endpoint)
			network.Silence()
			begun := time.Now()
			lead(t, node(t, cluster, "b"), "y")
			awaitLeader(t, v, "y")
			require.Less(t, time.Since(begun), 12*time.Second, "sooner than gRPC, which takes 13 s")
			t.Logf("seen after %v", time.Since(begun))
			s.await(t, false)
		})
	}
}

// While all is well an observer of a silent app asks etcd now and then, and tells
// that it sees.
func TestAViewerOfASilentAppKnowsThatItSees(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	told := make(chan struct{}, 100)
	openView(t, distributed.LeaseEvents{
		Renewed:       func(_, _ time.Duration) { told <- struct{}{} },
		RenewalFailed: func(cause error) { t.Error(cause) },
	}, cluster.Endpoints()...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 3 {
		select {
		case <-told:
		case <-ctx.Done():
			require.FailNow(t, "nothing was told")
		}
	}
}

// slowListings is a store that takes a while to list.
type slowListings struct {
	distributed.Store
	takes *atomic.Int64
}

func (s slowListings) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	select {
	case <-time.After(time.Duration(s.takes.Load())):
		return s.Store.Follow(ctx, prefix, tell)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestAListingMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, takes := new(distributed.MemoryHub), new(atomic.Int64)
		provider := distributed.NewLeaseProvider(func(_ context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
			return slowListings{hub.Open(req.Instance), takes}, nil
		})
		o, err := distributed.Observe(t.Context(), "app", provider)
		require.NoError(t, err)
		defer o.Close()
		takes.Store(int64(15 * time.Second))
		hub.Cut("")
		c := distributed.NewConcurrency("app", "a", provider)
		l, err := c.Campaign(t.Context(), "x")
		require.NoError(t, err)
		defer c.Close()
		time.Sleep(time.Minute)
		leader, ok := o.Locate("x")
		require.True(t, ok)
		require.Equal(t, l.Token(), leader.Token)
		require.Less(t, o.Age(), 5*time.Second)
	})
}

package distributed_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// An observer that does not see any more says so, once, and why; and what it shows
// has an age.
func TestAnObserverSaysThatItIsBlind(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var log logBuffer
	downs, ups := make(chan error, 10), make(chan time.Duration, 10)
	o, err := distributed.Observe(testContext(t), "app", distributed.NewETCDLeaseProvider(cluster.Endpoints()), distributed.WithLogger(log.logger()),
		distributed.WithHooks(distributed.Hooks{StoreDown: func(err error) { downs <- err }, StoreUp: func(away time.Duration) { ups <- away }}))
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	require.Zero(t, <-ups, "it was there from the first")
	require.Less(t, o.Age(), 5*time.Second)

	cluster.Members()[0].Stop()
	stopped := time.Now()
	cause := <-downs
	t.Logf("told after %v: %v", time.Since(stopped), cause)
	require.Less(t, time.Since(stopped), 10*time.Second)
	require.ErrorContains(t, cause, cluster.Endpoints()[0])
	require.ErrorContains(t, cause, "connection refused")
	require.Eventually(t, func() bool { return o.Age() > 6*time.Second }, patience, 10*time.Millisecond)

	require.NoError(t, cluster.Members()[0].Restart(testContext(t)))
	require.Greater(t, <-ups, 2*time.Second)
	require.Less(t, o.Age(), 5*time.Second)
	require.Empty(t, downs)
	require.Equal(t, 1, log.count("store unavailable, trying again"))
	require.Equal(t, 1, log.count("store available again"))
}

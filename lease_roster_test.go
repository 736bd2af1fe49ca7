package distributed_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// A node may announce something else while an announcement is under way that it does
// not wait for any more. Here the race detector is the judge.
func TestAnnouncementsThatOvertakeOneAnotherEndOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := distributed.NewMemoryLeaseProvider(nil)
		lease, err := provider.AcquireLease(t.Context(), distributed.LeaseRequest{App: "app", Instance: "a", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, lease.Close(t.Context())) }()
		require.NoError(t, lease.Announce(t.Context(), distributed.NodeInfo{}))
		given, giveUp := context.WithCancel(t.Context())
		giveUp()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 10000 {
					_ = lease.Announce(given, distributed.NodeInfo{}) // which is there already
				}
			})
		}
		all.Wait()
		require.NoError(t, lease.Announce(t.Context(), distributed.NodeInfo{Capacity: 1000}))
		view, _, err := lease.View()
		require.NoError(t, err)
		require.Equal(t, 1000, view.Nodes[0].Capacity)
	})
}

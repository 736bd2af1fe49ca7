package distributed

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A node whose list of jobs changes again and again leaves pieces of lists behind.
func TestPiecesOfListsThatNobodyUsesAreDeletedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, hub := context.Background(), new(MemoryHub)
		acquire := func(instance string) Lease {
			lease, err := NewMemoryLeaseProvider(hub).AcquireLease(ctx, LeaseRequest{App: "app", Instance: instance, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			return lease
		}
		a, b := acquire("a"), acquire("b")
		announce := func(lease Lease, jobs int) {
			require.NoError(t, lease.Announce(ctx, NodeInfo{Jobs: jobList(jobs, 8)}))
		}
		pieces := func() int {
			documents, _ := hub.Documents("app/lists/")
			return len(documents)
		}
		for jobs := range 20 {
			announce(a, jobs+1)
		}
		announce(b, 5) // which a has had
		require.Equal(t, 20, pieces())
		time.Sleep(garbageAge - time.Second)
		require.Equal(t, 20, pieces(), "somebody may be about to use them")
		time.Sleep(time.Minute)
		require.Equal(t, 2, pieces(), "those that a and b use")

		announce(a, 7)
		require.Equal(t, 3, pieces(), "one that was deleted is written again")
		require.NoError(t, b.Close(ctx))
		time.Sleep(2*garbageAge + time.Minute)
		require.Equal(t, 1, pieces(), "what nodes named that have gone is not needed")
		view, _, err := a.View()
		require.NoError(t, err)
		require.Len(t, view.Nodes[0].Jobs, 7)
		require.NoError(t, a.Close(ctx))
	})
}

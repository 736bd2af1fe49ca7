package distributed

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names that are campaigned for once leave nothing when they are resigned, neither
// here nor in the store. With 1,000,000 names it is the same, and takes half a minute.
func TestNamesThatAreCampaignedForOnceLeaveNothing(t *testing.T) {
	names := 200_000
	if raceDetector {
		names /= 4
	}
	hub := new(MemoryHub)
	c := NewConcurrency("app", "a", NewMemoryLeaseProvider(hub), WithLogger(slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	campaignOnce(t, c, 0, 20_000) // until the hub remembers no more
	before := heap()
	campaignOnce(t, c, 20_000, 20_000+names)
	grown := float64(heap()-before) / float64(names)
	require.Less(t, grown, 64.0, "bytes a name; an entry in a map takes twice as many")

	s := c.lease.lease.(*session)
	require.NoError(t, s.await(t.Context(), func() bool { return len(s.mirror.queues) == 0 }))
	c.mu.Lock()
	require.Empty(t, c.names)
	require.Len(t, c.leases, 1)
	c.mu.Unlock()
	hub.mu.Lock()
	stored := len(hub.documents)
	hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.writer.candidacies)
	require.Empty(t, s.writer.pending)
	for _, d := range s.writer.documents {
		require.Empty(t, d.members)
		require.Zero(t, d.names)
		require.LessOrEqual(t, cap(d.members), 2*maxClaims)
	}
	require.LessOrEqual(t, len(s.writer.documents), 3*atOnce/maxClaims)
	require.LessOrEqual(t, stored, 2+len(s.writer.documents), "the epoch, the node, and its claims")
}

const atOnce = 1000 // campaigns

func campaignOnce(t *testing.T, c *Concurrency, from, to int) {
	var all sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		all.Go(func() {
			for n := range next {
				l, err := c.Campaign(context.Background(), "name-"+strconv.Itoa(n))
				if err == nil {
					err = l.Resign(context.Background())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := from; n < to; n++ {
		next <- n
	}
	close(next)
	all.Wait()
}

// heap returns how many bytes are reachable.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has found to need a finalizer, or was in a pool
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

package distributed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func requireSaved(t *testing.T, l *distributed.Leadership, want string) {
	t.Helper()
	data, err := l.Saved(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, string(data))
}

func TestWhatTheLastLeaderSavedIsThereForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		for i, node := range []string{"a", "b", "c"} {
			l := lead(t, newConcurrency(t, hub, node), "x/y")
			requireSaved(t, l, map[bool]string{true: fmt.Sprint("by ", i-1)}[i > 0])
			require.NoError(t, l.Save(t.Context(), []byte("not the last")))
			require.NoError(t, l.Save(t.Context(), fmt.Append(nil, "by ", i)))
			requireSaved(t, l, fmt.Sprint("by ", i))
			other := lead(t, newConcurrency(t, hub, node), "x")
			requireSaved(t, other, "") // each name for itself
			require.NoError(t, other.Resign(t.Context()))
			require.NoError(t, l.Resign(t.Context()))
		}
	})
}

func TestWhatWasSavedOutlivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := lead(t, newConcurrency(t, hub, "a"), "x")
		require.NoError(t, a.Save(t.Context(), []byte("checkpoint")))
		hub.Refuse("a", errAway)
		requireSaved(t, lead(t, newConcurrency(t, hub, "b"), "x"), "checkpoint")
		hub.Refuse("a", nil)
	})
}

// What a leader has sent may arrive when another one leads.
func TestTheStoreRefusesWhatAStaleLeaderSaves(t *testing.T) {
	for name, save := range map[string]struct{ before, first bool }{
		"its first":                 {first: true},
		"after it had saved before": {before: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := new(distributed.MemoryHub)
				a, want := lead(t, newConcurrency(t, hub, "a"), "x"), ""
				if save.before {
					want = "a's"
					require.NoError(t, a.Save(t.Context(), []byte(want)))
				}
				release := hub.HoldRequests("a")
				refused := make(chan error, 1)
				go func() { refused <- a.Save(t.Context(), []byte("stale")) }()
				b := lead(t, newConcurrency(t, hub, "b"), "x")
				requireSaved(t, b, want)
				release()
				synctest.Wait()
				require.ErrorIs(t, <-refused, distributed.ErrLeadershipLost)
				requireSaved(t, b, want)
				require.NoError(t, b.Save(t.Context(), []byte("b's")))
				requireSaved(t, b, "b's")
				require.ErrorIs(t, a.Save(t.Context(), []byte("stale")), distributed.ErrLeadershipLost)
				_, err := a.Saved(t.Context())
				require.ErrorIs(t, err, distributed.ErrLeadershipLost)
			})
		})
	}
}

// The clock of a frozen machine may stand still: then not even Valid knows.
func TestALeaderThatTakesItselfForValidIsRefusedByItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		stale, err := distributed.NewMemoryLeaseProvider(hub).AcquireLease(t.Context(), distributed.LeaseRequest{App: "app", Instance: "a", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, stale.Close(t.Context())) }()
		e := stale.Election("x")
		e.Campaign(t.Context(), func(_ int64, failure error) { err = failure }, func(error) {})
		synctest.Wait()
		require.NoError(t, err)
		require.NoError(t, e.Save(t.Context(), []byte("a's")))
		require.NoError(t, e.Record(t.Context(), distributed.JobRecord{Done: true}))
		require.NoError(t, e.Resign(t.Context()))

		b := lead(t, newConcurrency(t, hub, "b"), "x")
		requireSaved(t, b, "a's")
		require.ErrorIs(t, e.Save(t.Context(), []byte("stale")), distributed.ErrLeadershipLost)
		requireSaved(t, b, "a's")
	})
}

func TestSavingTakesUpTo64KiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lead(t, newConcurrency(t, new(distributed.MemoryHub), "a"), "x")
		data := bytes.Repeat([]byte{0xff}, 64<<10)
		require.NoError(t, l.Save(t.Context(), data))
		requireSaved(t, l, string(data))
		err := l.Save(t.Context(), append(data, 0))
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, "Save: 65537 bytes, at most 65536 are allowed")
	})
}

func TestAWorkThatWasToldToStopCanSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.hub.SetDelay(300 * time.Millisecond)
		work := func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx)
			data, err := l.Saved(ctx)
			require.NoError(t, err)
			<-ctx.Done()
			require.NoError(t, l.Save(ctx, append(data, l.Name()...)))
			return nil
		}
		for _, node := range []string{"a", "b"} {
			n := s.execute(node, works{"x": work})
			time.Sleep(time.Minute)
			n.stop(errShutdown)
			require.NoError(t, n.result())
		}
		s.hub.SetDelay(0)
		requireSaved(t, lead(t, newConcurrency(t, s.hub, "c"), "x"), "xx")
	})
}

func TestSavesAtTheSameTimeAllTakeEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lead(t, newConcurrency(t, new(distributed.MemoryHub), "a"), "x")
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { require.NoError(t, l.Save(t.Context(), fmt.Append(nil, i))) })
		}
		all.Wait()
		data, err := l.Saved(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, data)
		require.NoError(t, l.Save(t.Context(), []byte("last")))
		requireSaved(t, l, "last")
	})
}

func TestSavingWithAnAwayStoreEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		l := lead(t, newConcurrency(t, hub, "a"), "x")
		hub.Refuse("a", errAway)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		require.ErrorIs(t, l.Save(ctx, []byte("in vain")), context.DeadlineExceeded)
		hub.Refuse("a", nil)
		time.Sleep(time.Second)
		require.NoError(t, l.Save(t.Context(), []byte("again")))
		requireSaved(t, l, "again")
	})
}

package distributed

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReportsAreToldInTheirOrderAndNobodyWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newReporter(slog.New(slog.NewTextHandler(&log, nil)))
		var told []int
		began := time.Now()
		for i := range 100 {
			r.tell(func() { told = append(told, i); time.Sleep(time.Millisecond) })
		}
		r.log.Info("behind them")
		require.Zero(t, time.Since(began), "nobody waits for them")
		r.flush()
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		require.Len(t, told, 100)
		require.True(t, slices.IsSorted(told))
		require.Contains(t, log.String(), "time=2000-01-01T00:00:00.000Z", "of when it happened, not of when it was told")
	})
}

func TestReportsThatFindTheBacklogFullAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newReporter(slog.New(slog.NewTextHandler(&log, nil)))
		free, told := make(chan struct{}), 0
		r.tell(func() { <-free })
		synctest.Wait()
		for range maxReports + 5 {
			r.tell(func() { told++ })
		}
		begin := time.Now()
		r.flush()
		require.Equal(t, reportTimeout, time.Since(begin), "closing does not wait for what blocks")
		close(free)
		r.flush()
		require.Equal(t, maxReports, told)
		require.Equal(t, 1, strings.Count(log.String(), "reports dropped"))
		require.Contains(t, log.String(), "count=5\n")
		require.Nil(t, r.backlog, "nothing is kept of it")
	})
}

func TestAReportThatPanicsOrEndsItsGoroutineIsLoggedAndTheNextIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newReporter(slog.New(slog.NewTextHandler(&log, nil)))
		told := false
		r.tell(func() { panic("out of cheese") })
		r.tell(runtime.Goexit)
		r.tell(func() { panic("a third time") })
		r.tell(func() { told = true })
		r.flush()
		require.True(t, told)
		require.Contains(t, log.String(), `panic="out of cheese" count=1 stack=`)
		require.Contains(t, log.String(), `panic="runtime.Goexit was called" count=2 stack=`)
		require.NotContains(t, log.String(), "a third time", "the fourth is logged next")
		require.Contains(t, log.String(), "TestAReportThatPanics", "the stack shows where")
	})
}

// brittle is a handler that breaks at each record.
type brittle struct{ slog.Handler }

func (brittle) Handle(context.Context, slog.Record) error { panic("broken") }

func TestALogHandlerThatPanicsIsNamedOnceToTheDefaultLogger(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	synctest.Test(t, func(t *testing.T) {
		r := newReporter(slog.New(brittle{slog.NewTextHandler(&log, nil)}))
		r.log.Warn("one")
		r.log.Warn("two")
		r.flush()
		require.Equal(t, 1, strings.Count(log.String(), "log handler panicked"), log.String())
		require.Contains(t, log.String(), "panic=broken")
	})
}

func TestWithoutALoggerWarningsGoToTheDefaultLogger(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	synctest.Test(t, func(t *testing.T) {
		c := NewConcurrency("app", "a", NewMemoryLeaseProvider(nil))
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))) // set later than that
		c.log.Debug("a debug line")
		c.log.Info("an info line")
		c.log.Warn("a warning")
		require.NoError(t, c.Close())
		require.Equal(t, "time=2000-01-01T00:00:00.000Z level=WARN msg=\"a warning\" app=app instance=a\n", log.String())
	})
}

func TestALevelThatIsChangedIsNoticedAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		level := new(slog.LevelVar)
		level.Set(slog.LevelWarn)
		r := newReporter(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})))
		r.log.Warn("one")
		r.flush()
		require.False(t, r.log.Enabled(t.Context(), slog.LevelInfo), "what nobody wants is not even built")
		level.Set(slog.LevelInfo)
		time.Sleep(levelsLast)
		r.log.Info("this one asks")
		r.flush()
		r.log.Info("two")
		r.flush()
		require.Contains(t, log.String(), "msg=two")
		require.False(t, r.log.Enabled(t.Context(), slog.LevelDebug))
	})
}

func TestAttributesAndGroupsReachTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newReporter(slog.New(slog.NewTextHandler(&log, nil)))
		child := r.log.With("app", "shop").WithGroup("g").With("x", 1)
		r.log.With("app", "other").Info("one")
		child.Info("two", "y", 2)
		child.With("z", 3).Info("three")
		r.flush()
		lines := strings.Split(log.String(), "\n")
		require.Contains(t, lines[0], "msg=one app=other")
		require.Contains(t, lines[1], "msg=two app=shop g.x=1 g.y=2")
		require.Contains(t, lines[2], "msg=three app=shop g.x=1 g.z=3")
	})
}

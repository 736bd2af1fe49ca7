package distributed_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// hangs does not stop before the channel is closed.
func hangs(until <-chan struct{}) func(context.Context) error {
	return func(context.Context) error { hangsHere(until); return nil }
}

func hangsHere(until <-chan struct{}) { <-until }

func TestTheStacksOfAWorkThatIsStuckAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log, free := newService(t), new(journal), make(chan struct{})
		a := s.execute("a", works{
			"stuck": func(ctx context.Context) error {
				helper := make(chan struct{})
				go func() { defer close(helper); helps(free) }()
				hangsHere(free)
				<-helper
				return nil
			},
			"good": untilDone,
		}, log.logger(), distributed.WithStuck(30*time.Second, distributed.DumpStuck))
		s.execute("b", works{"other": untilDone}, distributed.WithStuck(30*time.Second, distributed.DumpStuck))
		time.Sleep(time.Hour)
		require.Empty(t, log.with(t, "work is stuck"), "it is welcome to work")
		a.stop(errShutdown)
		time.Sleep(30*time.Second - 1)
		require.Empty(t, log.with(t, "work is stuck"))
		time.Sleep(time.Hour)
		lines := log.with(t, "work is stuck")
		require.Len(t, lines, 1, "once")
		require.Equal(t, "stuck", lines[0]["job"])
		require.EqualValues(t, 30*time.Second, lines[0]["since"])
		require.Equal(t, "shutting down", lines[0]["cause"])
		require.Contains(t, lines[0]["goroutines"], "hangsHere")
		require.Contains(t, lines[0]["goroutines"], "helps", "what it has started as well")
		require.NotContains(t, lines[0]["goroutines"], "untilDone", "and nothing else")
		require.False(t, a.returned())
		close(free)
		require.NoError(t, a.result())
	})
}

func helps(until <-chan struct{}) { <-until }

func TestExecuteReturnsWithoutAWorkThatIsStuckIfWanted(t *testing.T) {
	for name, end := range map[string]func(s *service, a *executing){
		"Execute is told to stop": func(_ *service, a *executing) { a.stop(errShutdown) },
		"its term ends":           func(*service, *executing) {},
	} {
		for balanced, opts := range map[string][]distributed.ProcessorOption{"": nil, ", with balancing": {distributed.WithLoadBalancing()}} {
			t.Run(name+balanced, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, free := newService(t), make(chan struct{})
					timeout := distributed.WithVoluntaryTimeout(func(string) time.Duration { return 10 * time.Minute })
					opts := append(opts, timeout)
					a := s.execute("a", works{"stuck": hangs(free), "good": stopsAfter(time.Second)}, append(opts, distributed.WithStuck(time.Minute, distributed.ReturnStuck))...)
					time.Sleep(time.Minute) // until it has both
					w := works{"stuck": untilDone, "good": untilDone}
					if balanced != "" {
						delete(w, "stuck") // or it might be moved here
					}
					s.execute("b", w, opts...)
					end(s, a)
					err := a.result()
					require.ErrorIs(t, err, distributed.ErrStuck)
					require.EqualError(t, err, `distributed: job "stuck": distributed: Work does not stop after 1m0s`)
					require.Equal(t, "b", s.runner("good"), "released")
					time.Sleep(time.Hour)
					require.Equal(t, "a", s.runner("stuck"), "nobody runs it beside a Work that goes on")
					close(free)
					time.Sleep(time.Second)
					if balanced == "" {
						require.Equal(t, "b", s.runner("stuck"), "until that has returned")
					}
				})
			})
		}
	}
}

func TestAWorkThatStopsInTimeIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"x": stopsAfter(59 * time.Second)}, log.logger(), distributed.WithStuck(time.Minute, distributed.ReturnStuck))
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Empty(t, log.with(t, "work is stuck"))
	})
}

// All of them share one look at the stacks of the process.
func TestJobsThatAreSilentTogetherHaveTheirOwnStacksLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		var jobs []distributed.Job
		for i := range 50 {
			job := s.job("a", fmt.Sprintf("job %d \"x\"", i), untilDone)
			job.Watchdog = time.Minute
			jobs = append(jobs, job)
		}
		start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), jobs, log.logger()))
		time.Sleep(61 * time.Second)
		lines := log.with(t, "work gives no sign of life")
		require.Len(t, lines, 50)
		for _, line := range lines {
			stacks := line["goroutines"].(string)
			require.Contains(t, stacks, "untilDone")
			require.Equal(t, 1, strings.Count(stacks, `"distributed_job":`), stacks)
			require.Contains(t, stacks, fmt.Sprintf(`"distributed_job":%q`, line["job"]))
		}
	})
}

// Its outcome may take long to be recorded.
func TestAWorkThatHasReturnedIsNotStuckNorSilent(t *testing.T) {
	for _, outcome := range []error{nil, errBroken} {
		synctest.Test(t, func(t *testing.T) {
			s, log := newService(t), new(journal)
			var stuck atomic.Int32
			runs := 0
			job := s.job("a", "x", func(ctx context.Context) error {
				if runs++; runs == 1 {
					return errBroken
				}
				l, _ := distributed.LeadershipFromContext(ctx)
				for ; runs > 2 && ctx.Err() == nil; time.Sleep(time.Second) {
					l.Alive()
				}
				time.Sleep(59 * time.Second)
				time.AfterFunc(4*time.Second, s.hub.HoldRequests("a"))
				return outcome
			})
			job.Watchdog = time.Minute + time.Second
			start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{job}, log.logger(), distributed.WithStuck(3*time.Second, distributed.DumpStuck),
				distributed.WithHooks(distributed.Hooks{Stuck: func(string, int64, time.Duration) { stuck.Add(1) }})))
			time.Sleep(10 * time.Minute)
			require.Greater(t, len(s.history("x")), 2)
			require.Zero(t, stuck.Load())
			require.Empty(t, log.with(t, "work is stuck"))
			require.Empty(t, log.with(t, "work does not stop"))
			require.Empty(t, log.with(t, "work gives no sign of life"))
		})
	}
}

func TestAWorkWithoutASignOfLifeHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		var silent atomic.Bool
		job := s.job("a", "x", func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx)
			for ctx.Err() == nil {
				if !silent.Load() {
					l.Alive()
				}
				time.Sleep(10 * time.Second)
			}
			return ctx.Err()
		})
		job.Watchdog = 25 * time.Second
		a := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{job}, log.logger()))
		time.Sleep(time.Hour)
		require.Len(t, s.history("x"), 1)
		silent.Store(true)
		time.Sleep(40 * time.Second)
		require.Equal(t, distributed.ErrNotAlive, s.history("x")[0].cause)
		lines := log.with(t, "work gives no sign of life")
		require.NotEmpty(t, lines)
		require.EqualValues(t, 25*time.Second, lines[0]["since"])
		require.Contains(t, lines[0]["goroutines"], "TestAWorkWithoutASignOfLifeHasFailed")
		failed := log.with(t, "work failed, trying again")
		require.NotEmpty(t, failed)
		require.Equal(t, "distributed: Work gives no sign of life", failed[0]["error"])
		require.False(t, a.returned())
	})
}

func TestWhatIsStuckHasBounds(t *testing.T) {
	work := func(context.Context) error { return nil }
	for want, opt := range map[string]distributed.ProcessorOption{
		"WithStuck: after is 0s: must be above 0":                         distributed.WithStuck(0, distributed.DumpStuck),
		"WithStuck: after is -1s: must be above 0":                        distributed.WithStuck(-time.Second, distributed.ReturnStuck),
		"WithStuck: what is 7: must be DumpStuck or ReturnStuck":          distributed.WithStuck(time.Second, 7),
		`Job.Watchdog of "x" is -1s: must be at least 1ms, or 0 for none`: nil,
	} {
		job, opts := distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{opt}
		if opt == nil {
			job.Watchdog, opts = -time.Second, nil
		}
		err := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewMemoryLeaseProvider(nil), []distributed.Job{job}, opts...).Execute(t.Context())
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, want)
	}
}

package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// A job that always fails: three nodes, ten jobs.
func TestTheOtherJobsRunOnAlthoughOneAlwaysFails(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{
		"without balancing": nil, "with balancing": {distributed.WithLoadBalancing()}, "with a quota": {distributed.WithJobQuota(4)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				w := jobs(9, untilDone)
				w["poison"] = func(context.Context) error { return errBroken }
				for _, node := range []string{"a", "b", "c"} {
					s.executeAs(t.Context(), node, w, opts...)
				}
				time.Sleep(time.Minute) // for the nodes to share the jobs
				begin := time.Now()
				time.Sleep(6 * time.Hour)
				for i := range 9 {
					require.GreaterOrEqual(t, s.runningSince(fmt.Sprint(i), begin), 0.999, "job %d", i)
				}
				runs := s.history("poison")
				nodes := map[string]int{}
				for _, r := range runs {
					nodes[r.instance]++
				}
				require.InDelta(t, 6*60*60/52.5, len(runs), 30, "about once a minute, on all nodes together")
				if name != "with a quota" { // which only one node has not reached
					require.Greater(t, len(nodes), 1, "one after the other; with balancing, it and its standby in turn")
				}
			})
		})
	}
}

// runningSince returns for which part of the time since begin the job ran.
func (s *service) runningSince(job string, begin time.Time) float64 {
	var ran time.Duration
	for _, r := range s.history(job) {
		end := r.end
		if end.IsZero() {
			end = time.Now()
		}
		if start := r.start; end.After(begin) {
			if start.Before(begin) {
				start = begin
			}
			ran += end.Sub(start)
		}
	}
	return float64(ran) / float64(time.Since(begin))
}

func TestPausesDoubleUpToAMinuteWhicheverNodeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		w := works{"x": func(context.Context) error { time.Sleep(time.Millisecond); return errBroken }}
		s.execute("a", w)
		s.execute("b", w)
		time.Sleep(10 * time.Minute)
		runs := s.history("x")
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			pause := runs[i+1].start.Sub(runs[i].end)
			require.GreaterOrEqual(t, pause, want*time.Second*3/4, "pause %d", i)
			require.LessOrEqual(t, pause, want*time.Second, "pause %d", i)
			require.NotEqual(t, runs[i].instance, runs[i+1].instance, "on another node")
		}
	})
}

func TestPausesBeginAnewAfterWorkRanForLongerThanItsPause(t *testing.T) {
	for name, c := range map[string]struct {
		ran  time.Duration
		want time.Duration
	}{
		"longer than the pause":  {9 * time.Second, time.Second},
		"shorter than the pause": {time.Second, 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				var calls atomic.Int32
				s.execute("a", works{"x": func(ctx context.Context) error {
					switch calls.Add(1) {
					case 5:
						time.Sleep(c.ran)
					case 6:
						return untilDone(ctx)
					}
					return errBroken
				}})
				time.Sleep(time.Minute)
				runs := s.history("x")
				pause := runs[5].start.Sub(runs[4].end)
				require.GreaterOrEqual(t, pause, c.want*3/4)
				require.LessOrEqual(t, pause, c.want)
			})
		})
	}
}

func TestWhatFailedIsToldEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		var told record[string]
		hooks := distributed.WithHooks(distributed.Hooks{
			Failed: func(r distributed.JobRecord, err error) {
				told.add(fmt.Sprint("failed ", r.Job, " ", r.Instance, " ", r.Failures, " ", r.Token > 0, " ", err))
			},
			Recovered: func(job string, token int64, failures int) {
				told.add(fmt.Sprint("recovered ", job, " ", token > 0, " ", failures))
			},
		})
		var fixed atomic.Bool
		w := works{"x": func(ctx context.Context) error {
			if !fixed.Load() {
				return errBroken
			}
			return untilDone(ctx)
		}, "y": untilDone}
		a := s.execute("a", w, log.logger(), hooks)
		o := s.observe("app")
		time.Sleep(10 * time.Second)
		synctest.Wait()

		status := jobIn(a.Status(), "x")
		require.Equal(t, distributed.JobFailed, status.State)
		r := *status.Record
		require.Equal(t, "x", r.Job)
		require.Equal(t, "a", r.Instance)
		require.Equal(t, 4, r.Failures)
		require.Equal(t, "broken", r.Error)
		require.WithinRange(t, r.Next(), r.At.Add(6*time.Second), r.At.Add(8*time.Second))
		require.Equal(t, s.last("x").token, r.Token)
		require.Equal(t, distributed.JobRunning, jobIn(a.Status(), "y").State)
		require.Equal(t, []distributed.JobRecord{r}, o.View().Records)
		lines := log.with(t, "work failed, trying again")
		require.Len(t, lines, 4)
		require.Equal(t, "x", lines[3]["job"])
		require.Equal(t, "broken", lines[3]["error"])
		require.EqualValues(t, 4, lines[3]["failures"])
		require.EqualValues(t, r.Pause, lines[3]["pause"])

		fixed.Store(true)
		time.Sleep(time.Minute)
		status = jobIn(a.Status(), "x")
		require.Equal(t, distributed.JobRunning, status.State)
		require.Nil(t, status.Record)
		synctest.Wait()
		require.Empty(t, o.View().Records)
		require.Len(t, log.with(t, "job has recovered"), 1)
		require.Equal(t, []string{
			"failed x a 1 true broken", "failed x a 2 true broken", "failed x a 3 true broken", "failed x a 4 true broken",
			"recovered x true 4",
		}, told.all())
	})
}

func (s *service) observe(app string) *distributed.Observer {
	o, err := distributed.Observe(s.t.Context(), app, s.provider())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, o.Close()) })
	return o
}

func jobIn(s distributed.Status, name string) distributed.JobStatus {
	for _, j := range s.Jobs {
		if j.Name == name {
			return j
		}
	}
	return distributed.JobStatus{}
}

func TestEachWayToFailIsTheAffairOfItsJob(t *testing.T) {
	for name, work := range map[string]func(context.Context) error{
		"an error":                            func(context.Context) error { return errBroken },
		"a panic":                             workThatPanics,
		"the end of its goroutine":            func(context.Context) error { runtime.Goexit(); return nil },
		"a nil pointer as an error":           func(context.Context) error { var none *fieldError; return none },
		"an error that panics in Is":          func(context.Context) error { return askedError{is: func() { panic("in Is") }} },
		"an error that ends whoever reads it": func(context.Context) error { return askedError{is: runtime.Goexit} },
	} {
		for balanced, opts := range map[string][]distributed.ProcessorOption{"": nil, ", with balancing": {distributed.WithLoadBalancing()}} {
			t.Run(name+balanced, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService(t)
					a := s.execute("a", works{"bad": work, "good": untilDone}, opts...)
					time.Sleep(time.Hour)
					require.Greater(t, len(s.history("bad")), 60)
					require.Less(t, len(s.history("bad")), 120, "with pauses")
					require.Len(t, s.history("good"), 1)
					require.False(t, a.returned())
					a.stop(errShutdown)
					require.NoError(t, a.result())
					require.Empty(t, s.hub.Candidates("app", "bad"))
				})
			})
		}
	}
}

// fieldError is an error that panics if it is nil, as many do.
type fieldError struct{ text string }

func (e *fieldError) Error() string { return e.text }

// askedError does something when it is asked what it is.
type askedError struct{ is func() }

func (askedError) Error() string   { return "error" }
func (e askedError) Is(error) bool { e.is(); return false }

// What Work returns after its watchdog has expired is told as well.
func TestHowAWorkEndsThatGaveNoSignOfLife(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(ctx context.Context) error
		told string
	}{
		"nil":             {func(context.Context) error { return nil }, "distributed: Work gives no sign of life"},
		"ctx's error":     {func(ctx context.Context) error { return ctx.Err() }, "distributed: Work gives no sign of life"},
		"why ctx ended":   {func(ctx context.Context) error { return context.Cause(ctx) }, "distributed: Work gives no sign of life"},
		"another error":   {func(context.Context) error { return errBroken }, "distributed: Work gives no sign of life; then: " + errBroken.Error()},
		"a panic":         {workThatPanics, "distributed: Work gives no sign of life; then: panic: "},
		"that it is done": {func(context.Context) error { return distributed.ErrDone }, "distributed: Work gives no sign of life; then: " + distributed.ErrDone.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, log := newService(t), new(journal)
				job := s.job("a", "x", func(ctx context.Context) error { <-ctx.Done(); return test.end(ctx) })
				job.Watchdog = time.Minute
				a := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{job}, log.logger()))
				time.Sleep(61 * time.Second)
				record := jobIn(a.Status(), "x").Record
				require.NotNil(t, record)
				require.True(t, strings.HasPrefix(record.Error, test.told), record.Error)
				failed := log.with(t, "work failed, trying again")
				require.Len(t, failed, 1)
				require.Equal(t, name == "a panic", failed[0]["stack"] != nil)
			})
		})
	}
}

func TestRemoveJobSaysThatExecuteHasReturnedWithoutItsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, free := newService(t), make(chan struct{})
		a := s.execute("a", works{"x": hangs(free)}, distributed.WithStuck(time.Minute, distributed.ReturnStuck))
		require.ErrorIs(t, a.RemoveJob(t.Context(), "x"), distributed.ErrStuck)
		require.ErrorIs(t, a.result(), distributed.ErrStuck)
		close(free)
	})
}

func TestWorkThatReturnsNilHasRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var calls atomic.Int32
		a := s.execute("a", works{"x": func(context.Context) error {
			if calls.Add(1) == 1 {
				return errBroken
			}
			return nil
		}})
		require.NotNil(t, jobIn(a.Status(), "x").Record)
		time.Sleep(2 * time.Second)
		require.Nil(t, jobIn(a.Status(), "x").Record)
	})
}

func TestANodeThatStopsDoesNotWaitForAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": func(context.Context) error { return errBroken }})
		time.Sleep(time.Minute)
		synctest.Wait()
		begin := time.Now()
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, begin, time.Now())
	})
}

func TestAPauseIsKeptAlthoughTheFailureCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		lease := &fakeLease{campaign: func(context.Context, context.CancelCauseFunc) (int64, error) { return 1, nil }, record: errAway}
		var calls atomic.Int32
		start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", lease.provider(), []distributed.Job{
			{Name: "x", Work: func(context.Context) error { calls.Add(1); return errBroken }},
		}, log.logger()))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.LessOrEqual(t, calls.Load(), int32(81))
		require.Len(t, log.with(t, "outcome of the job not recorded"), int(calls.Load()))
		_ = s
	})
}

// ErrDone

func TestAJobThatIsDoneRunsNowhereAnyMore(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{"without balancing": nil, "with balancing": {distributed.WithLoadBalancing()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				var done record[string]
				hooks := distributed.WithHooks(distributed.Hooks{Done: func(job string, _ int64) { done.add(job) }})
				w := works{
					"migrate": func(context.Context) error {
						time.Sleep(time.Minute)
						return fmt.Errorf("all rows moved: %w", distributed.ErrDone)
					},
					"other": untilDone,
				}
				var nodes []*executing
				for _, node := range []string{"a", "b", "c"} {
					nodes = append(nodes, s.execute(node, w, append(opts, hooks)...))
				}
				o := s.observe("app")
				time.Sleep(time.Hour)
				require.Len(t, s.history("migrate"), 1)
				require.Equal(t, []string{"migrate"}, done.all())
				require.Empty(t, s.hub.Candidates("app", "migrate"), "nobody campaigns for it")
				for _, n := range nodes {
					require.Equal(t, distributed.JobDone, jobIn(n.Status(), "migrate").State)
				}
				require.True(t, o.View().Records[0].Done)
				require.Equal(t, s.last("migrate").token, o.View().Records[0].Token)

				for _, n := range nodes {
					n.stop(errShutdown)
					require.NoError(t, n.result())
				}
				time.Sleep(time.Hour)
				a := s.execute("a", w, opts...)
				time.Sleep(time.Hour)
				require.Equal(t, "a", s.runner("other"))
				require.Len(t, s.history("migrate"), 1, "nor after a restart of all")

				require.NoError(t, distributed.ForgetJob(t.Context(), s.hub.Open("operator"), "app/", "migrate"))
				time.Sleep(time.Hour)
				require.Len(t, s.history("migrate"), 2, "once more, as it was forgotten")
				require.NoError(t, distributed.ForgetJob(t.Context(), s.hub.Open("operator"), "app/", "nothing"))
				a.stop(nil)
			})
		})
	}
}

func TestAJobIsDoneAlsoIfItsWorkWasToldToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		finished := func(ctx context.Context) error { <-ctx.Done(); return distributed.ErrDone }
		a := s.execute("a", works{"x": finished})
		a.stop(errShutdown)
		require.NoError(t, a.result())
		s.execute("b", works{"x": finished})
		require.Len(t, s.history("x"), 1)
	})
}

func TestAJobThatLostItsLeadershipIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": func(ctx context.Context) error { <-ctx.Done(); return errors.Join(distributed.ErrDone) }})
		time.Sleep(time.Minute)
		s.hub.Expire("a")
		time.Sleep(time.Minute)
		require.Len(t, s.history("x"), 2)
	})
}

// Nobody waits longer for the store than Execute says, whenever the job was done.
func TestANodeThatStopsTriesForFiveSecondsToRecordThatAJobIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		arrive := func() {}
		job := s.job("a", "x", func(context.Context) error {
			time.Sleep(time.Minute)
			arrive = s.hub.HoldRequests("a")
			return distributed.ErrDone
		})
		provider := distributed.NewMemoryLeaseProvider(s.hub, distributed.WithLeaseTTL(5*time.Minute))
		a := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", provider, []distributed.Job{job}))
		time.Sleep(time.Minute + time.Second)
		stopped := time.Now()
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.LessOrEqual(t, time.Since(stopped), 10*time.Second)
		arrive()
	})
}

func TestDoneIsRecordedWheneverTheStoreAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": func(context.Context) error { time.Sleep(time.Minute); return distributed.ErrDone }})
		time.Sleep(59 * time.Second)
		s.hub.Refuse("a", errAway)
		time.Sleep(4 * time.Second)
		s.hub.Refuse("a", nil)
		time.Sleep(time.Hour)
		require.Len(t, s.history("x"), 1)
	})
}

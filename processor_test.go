package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// The tests run in bubbles of virtual time (testing/synctest), so times are
// exact, and a goroutine that is left behind fails the test. The leases of the
// memory provider have a TTL of 10 s and a grace of 2 s.

// ctx of Execute done

func TestWhenTheContextOfExecuteIsDoneEveryWorkIsToldTheCallersCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": untilDone, "y": untilDone})
		require.Equal(t, "a", s.runner("x"))
		require.Equal(t, "a", s.runner("y"))
		require.False(t, a.returned())

		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, errShutdown, s.last("x").cause)
		require.Equal(t, errShutdown, s.last("y").cause)
		require.Empty(t, s.hub.Candidates("app", "x"))
		require.Empty(t, s.hub.Candidates("app", "y"))
		require.False(t, s.hub.Expire("a"), "the lease was given back")
	})
}

func TestEachJobIsReleasedAsItsOwnWorkReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"fast": untilDone, "slow": stopsAfter(time.Minute)})
		s.execute("b", works{"fast": untilDone, "slow": untilDone})
		a.stop(errShutdown)
		time.Sleep(time.Millisecond) // as long as a node that stops waits for more Works to return
		require.Equal(t, "b", s.runner("fast"), "handed over at once")
		require.Equal(t, "a", s.runner("slow"))

		time.Sleep(time.Minute - time.Millisecond - 1)
		require.Equal(t, "a", s.runner("slow"), "no longer than its lease lives, which is renewed meanwhile")
		require.False(t, a.returned(), "something still runs")
		time.Sleep(1)
		require.Equal(t, "b", s.runner("slow"))
		require.True(t, a.returned())
		require.NoError(t, a.result())
	})
}

func TestExecuteWithAContextThatIsDoneRunsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.executeAs(ctx, "a", works{"x": untilDone}).result())
		require.Empty(t, s.history("x"))
		require.Zero(t, s.hub.Writes())
	})
}

func TestExecuteReturnsWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log, begin := newService(t), new(journal), time.Now()
		s.ttl = 5 * time.Minute
		a := s.execute("a", works{"x": untilDone}, log.logger())
		s.hub.Refuse("a", errAway)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, 5*time.Second, time.Since(begin), "for the lease, which takes everything with it")
		require.Len(t, log.with(t, "lease not closed cleanly, others wait until it has run out"), 1)
	})
}

func TestAResignationThatIsNotConfirmedIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		s.execute("a", works{"x": untilDone}, log.logger(), distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Second }))
		s.hub.Refuse("a", errAway)
		time.Sleep(6 * time.Second)
		require.Len(t, log.with(t, "resignation not confirmed"), 1)
	})
}

// leadership lost

func TestWorkThatLostItsLeadershipIsStoppedAndCampaignsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": stopsAfter(time.Second)})
		first := s.last("x")
		time.Sleep(time.Minute)
		require.True(t, s.hub.Expire("a"))
		require.Equal(t, "a", s.runner("x"), "still stopping")
		time.Sleep(time.Second)

		runs := s.history("x")
		require.Len(t, runs, 2)
		require.ErrorIs(t, runs[0].cause, distributed.ErrLeadershipLost)
		require.Equal(t, runs[0].end, runs[1].start, "again as soon as it has stopped")
		require.Greater(t, runs[1].token, first.token)
		require.Equal(t, "a", s.runner("x"))
	})
}

func TestWorkIsNotCalledUnderALeadershipThatIsLostAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := int64(0)
		lease := &fakeLease{campaign: func(_ context.Context, lost context.CancelCauseFunc) (int64, error) {
			token++
			if token < 3 {
				lost(distributed.ErrLeadershipLost)
			}
			return token, nil
		}}
		s := newService(t)
		start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", lease.provider(),
			[]distributed.Job{s.job("a", "x", untilDone)}))
		require.Equal(t, "a", s.runner("x"))
		require.Len(t, s.history("x"), 1)
		require.EqualValues(t, 3, s.last("x").token)
	})
}

func TestLostLeadershipGoesToWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone})
		b := s.execute("b", works{"x": untilDone})
		time.Sleep(time.Minute)
		s.hub.Expire("a")
		require.Equal(t, "b", s.runner("x"))
		require.Equal(t, []string{"b", "a"}, s.hub.Candidates("app", "x"))
		b.stop(nil)
		require.Equal(t, "a", s.runner("x"))
	})
}

func TestACandidacyThatSomebodyRemovesEndsAllLeadershipsOfItsNodeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone, "y": untilDone})
		require.True(t, s.hub.RemoveCandidate("app", "x", "a"))
		time.Sleep(time.Hour)
		for _, job := range []string{"x", "y"} {
			require.Len(t, s.history(job), 2)
			require.ErrorIs(t, s.history(job)[0].cause, distributed.ErrLeadershipLost)
			require.Equal(t, "a", s.runner(job))
		}
	})
}

func TestErrorOfWorkThatLostItsLeadershipIsOnlyLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"x": func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("half way through: %w", errBroken)
		}}, log.logger())
		token := s.last("x").token
		time.Sleep(time.Minute)
		s.hub.Expire("a")
		require.False(t, a.returned())
		require.Len(t, s.history("x"), 2)

		lines := log.with(t, "work stopped with an error")
		require.Len(t, lines, 1)
		require.Equal(t, "x", lines[0]["job"])
		require.Equal(t, "a", lines[0]["instance"])
		require.EqualValues(t, token, lines[0]["token"])
		require.Equal(t, "half way through: broken", lines[0]["error"])
	})
}

// A process that was frozen learns from the store that its Work writes to, before
// any timer has fired.
func TestErrorOfWorkWhoseLeadershipIsNotValidAnyMoreIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		var frozen atomic.Bool
		provider := acquire(func(ctx context.Context, r distributed.LeaseRequest) (distributed.Lease, error) {
			lease, err := s.provider().AcquireLease(ctx, r)
			return staleLease{lease, &frozen}, err
		})
		var happened record[string]
		var runs atomic.Int32
		job := s.job("a", "x", func(ctx context.Context) error {
			if runs.Add(1) > 1 {
				return untilDone(ctx)
			}
			time.Sleep(time.Minute)
			frozen.Store(true)
			return errors.New("the store has seen a newer token")
		})
		a := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", provider, []distributed.Job{job}, log.logger(), tellingAll(&happened)))
		time.Sleep(time.Hour)
		require.False(t, a.returned())
		require.Equal(t, "a", s.runner("x"))
		require.Len(t, log.with(t, "work stopped with an error"), 1)
		require.Contains(t, happened.all(), "lost x 1m0s distributed: leadership lost: it is not valid any more")
		a.stop(errShutdown)
		require.NoError(t, a.result())
	})
}

// staleLease is a lease whose elections are not valid while stale is set, which
// ends when one is resigned.
type staleLease struct {
	distributed.Lease
	stale *atomic.Bool
}

type staleElection struct {
	distributed.Election
	stale *atomic.Bool
}

func (l staleLease) Election(name string) distributed.Election {
	return staleElection{l.Lease.Election(name), l.stale}
}

func (e staleElection) Resign(ctx context.Context) error {
	e.stale.Store(false)
	return e.Election.Resign(ctx)
}

func (e staleElection) Valid() bool { return !e.stale.Load() && e.Election.Valid() }

func TestResignInsideWorkReleasesTheJobWhenWorkHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx)
			require.NoError(t, l.Resign(ctx))
			require.ErrorIs(t, context.Cause(ctx), distributed.ErrResigned)
			require.True(t, l.Valid(), "nobody else can lead while Work runs")
			time.Sleep(time.Minute)
			require.NoError(t, l.Resign(ctx))
			require.True(t, l.Valid())
			return ctx.Err()
		}})
		s.execute("b", works{"x": untilDone})
		require.Equal(t, "a", s.runner("x"))
		time.Sleep(time.Minute)
		require.Equal(t, "b", s.runner("x"), "an overlap fails the test")
		runs := s.history("x")
		require.Equal(t, runs[0].end, runs[1].start)
		a.stop(errShutdown)
		require.NoError(t, a.result())
	})
}

func TestReturningTheErrorOrTheCauseOfTheContextIsNothingToLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{
			"error": untilDone,
			"cause": func(ctx context.Context) error {
				<-ctx.Done()
				return fmt.Errorf("stopped: %w", context.Cause(ctx))
			},
		}, log.logger())
		time.Sleep(time.Minute)
		s.hub.Expire("a")
		require.Len(t, s.history("error"), 2)
		require.Len(t, s.history("cause"), 2)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Empty(t, log.with(t, "work stopped with an error"))
	})
}

// a Work that does not stop

func TestWorkThatDoesNotStopHoldsBackOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.frozen = true
		thaw := make(chan struct{})
		s.execute("a", works{"good": untilDone, "stubborn": func(ctx context.Context) error { <-thaw; return untilDone(ctx) }})
		time.Sleep(time.Minute)
		s.hub.Expire("a")
		time.Sleep(time.Hour)
		require.Len(t, s.history("good"), 2, "leads again, under a new lease")
		require.Equal(t, "a", s.runner("good"))
		require.Len(t, s.history("stubborn"), 1, "not run twice on this node")
		require.Empty(t, s.hub.Candidates("app", "stubborn"), "does not campaign for what it cannot run")

		b := s.execute("b", works{"stubborn": untilDone})
		require.Equal(t, "b", s.runner("stubborn"), "others are not held back")
		close(thaw)
		b.stop(nil)
		require.Equal(t, "a", s.runner("stubborn"), "stands again once it has stopped")
	})
}

func TestWorkThatDoesNotStopIsReportedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		type report struct {
			job   string
			token int64
			since time.Duration
		}
		var reports record[report]
		s.execute("a", works{"x": stopsAfter(5 * time.Minute)}, log.logger(), distributed.WithHooks(distributed.Hooks{
			Stuck: func(job string, token int64, since time.Duration) { reports.add(report{job, token, since}) },
		}))
		token := s.last("x").token
		time.Sleep(time.Hour)
		require.Empty(t, reports.all(), "it is welcome to work")

		s.hub.Expire("a")
		time.Sleep(time.Second - 1)
		require.Empty(t, reports.all(), "it gets the time to stop")
		time.Sleep(10 * time.Minute)
		var want []report
		for _, seconds := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 124, 184, 244} {
			want = append(want, report{"x", token, seconds * time.Second})
		}
		require.Equal(t, want, reports.all(), "doubling, up to once a minute, until it returned")

		lines := log.with(t, "work does not stop")
		require.Len(t, lines, len(want))
		for i, line := range lines {
			require.Equal(t, "x", line["job"])
			require.Equal(t, "a", line["instance"])
			require.EqualValues(t, token, line["token"])
			require.EqualValues(t, want[i].since, line["since"])
			require.Contains(t, line["cause"], "leadership lost")
		}
	})
}

func TestWorkThatDoesNotStopKeepsExecuteFromReturningAndIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var reports atomic.Int32
		a := s.execute("a", works{"x": stopsAfter(90 * time.Second), "y": untilDone}, distributed.WithHooks(distributed.Hooks{
			Stuck: func(string, int64, time.Duration) { reports.Add(1) },
		}))
		a.stop(errShutdown)
		time.Sleep(time.Minute)
		require.False(t, a.returned())
		require.EqualValues(t, 6, reports.Load())
		require.NoError(t, a.result())
	})
}

// voluntary timeout

func TestTermEndsAfterTheVoluntaryTimeoutAndTheJobGoesToWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, origin := newService(t), time.Now()
		w := works{"x": stopsAfter(time.Second)}
		timeout := distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Minute })
		s.execute("a", w, timeout)
		s.execute("b", w, timeout)
		s.execute("c", w, timeout)
		time.Sleep(4*61*time.Second - 1)

		runs := s.history("x")
		require.Len(t, runs, 4)
		for i, r := range runs {
			require.Equal(t, []string{"a", "b", "c", "a"}[i], r.instance)
			require.Equal(t, time.Duration(i)*61*time.Second, r.start.Sub(origin), "a minute, and a second to stop")
			if i < 3 {
				require.Equal(t, distributed.ErrTermEnded, r.cause)
				require.Equal(t, runs[i+1].start, r.end)
			}
		}
		require.Equal(t, []string{"a", "b", "c"}, s.hub.Candidates("app", "x"))
	})
}

func TestVoluntaryTimeoutIsAskedForEachJobAndTermAndZeroMeansNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var turns time.Duration
		s.execute("a", works{"short": untilDone, "long": untilDone, "endless": untilDone},
			distributed.WithVoluntaryTimeout(func(job string) time.Duration {
				switch job {
				case "short":
					turns++
					return turns * time.Second
				case "long":
					return time.Hour
				default:
					return 0
				}
			}))
		time.Sleep(time.Hour + time.Minute)
		short := s.history("short")
		require.Greater(t, len(short), 80)
		for i, r := range short[:80] {
			require.Equal(t, time.Duration(i)*time.Second, r.end.Sub(r.start)-short[0].end.Sub(short[0].start), "a new answer each term")
		}
		require.Len(t, s.history("long"), 2)
		require.Len(t, s.history("endless"), 1)
	})
}

func TestErrorOfWorkWhoseTermEndedIsOnlyLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"x": func(ctx context.Context) error { <-ctx.Done(); return errBroken }}, log.logger(),
			distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Minute }))
		time.Sleep(90 * time.Second)
		require.False(t, a.returned())
		require.Len(t, log.with(t, "work stopped with an error"), 1)
		require.Equal(t, "a", s.runner("x"))
	})
}

func TestLeadershipIsValidUntilWorkHasReturnedAfterItsTermEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var valid bool
		s.execute("a", works{"x": func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx)
			<-ctx.Done()
			time.Sleep(time.Minute)
			valid = l.Valid()
			return nil
		}}, distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Minute }))
		time.Sleep(2*time.Minute + 1)
		synctest.Wait()
		require.True(t, valid)
	})
}

// start delay

func TestStartDelayLeavesTheJobToOthersThatStartAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		w := works{"x": untilDone, "y": untilDone}
		delay := func(first string) distributed.ProcessorOption {
			return distributed.WithStartDelay(func(job string) time.Duration {
				if job == first {
					return 0
				}
				return time.Minute
			})
		}
		s.execute("a", w, delay("x"))
		s.execute("b", w, delay("y"))
		require.Equal(t, "a", s.runner("x"))
		require.Equal(t, "b", s.runner("y"))
		time.Sleep(time.Minute - 1)
		require.Equal(t, []string{"a"}, s.hub.Candidates("app", "x"))
		time.Sleep(1)
		synctest.Wait()
		require.Equal(t, []string{"a", "b"}, s.hub.Candidates("app", "x"))
		require.Equal(t, []string{"b", "a"}, s.hub.Candidates("app", "y"))
	})
}

func TestStartDelayCountsFromExecuteOrFromAddJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{s.job("a", "x", untilDone)},
			distributed.WithStartDelay(func(string) time.Duration { return time.Minute }))
		require.NoError(t, p.AddJob(s.job("a", "y", untilDone)))
		time.Sleep(time.Hour)
		executed := time.Now()
		start(t, t.Context(), p)
		time.Sleep(time.Hour)
		added := time.Now()
		require.NoError(t, p.AddJob(s.job("a", "z", untilDone)))
		time.Sleep(time.Hour)

		require.Equal(t, executed.Add(time.Minute), s.last("x").start)
		require.Equal(t, executed.Add(time.Minute), s.last("y").start)
		require.Equal(t, added.Add(time.Minute), s.last("z").start)
	})
}

func TestStartDelayHoldsOnlyForTheFirstCampaign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var asked atomic.Int32
		s.execute("a", works{"x": untilDone},
			distributed.WithStartDelay(func(string) time.Duration { asked.Add(1); return time.Minute }),
			distributed.WithVoluntaryTimeout(func(string) time.Duration { return 10 * time.Second }))
		time.Sleep(90*time.Second + 1)
		s.hub.Expire("a")

		runs := s.history("x")
		require.Len(t, runs, 5)
		for i, r := range runs[1:] {
			require.Equal(t, runs[i].end, r.start, "again at once, after a term as after a loss")
		}
		require.EqualValues(t, 1, asked.Load(), "asked once a job")
	})
}

func TestExecuteReturnsDuringTheStartDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begin := newService(t), time.Now()
		a := s.execute("a", works{"x": untilDone}, distributed.WithStartDelay(func(string) time.Duration { return time.Hour }))
		time.Sleep(time.Minute)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, time.Minute, time.Since(begin))
		require.Zero(t, s.hub.Writes())
	})
}

// Work returns nil

func TestWorkThatReturnsNilAtOnceIsRunOnceASecondHoweverManyNodesThereAre(t *testing.T) {
	for _, nodes := range []int{1, 5, 20} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, log := newService(t), new(journal)
				for n := range nodes {
					s.execute(fmt.Sprint(n), works{"x": func(context.Context) error { return nil }}, log.logger())
				}
				time.Sleep(time.Minute)
				runs := s.history("x")
				require.Len(t, runs, 61)
				for i, r := range runs[1:] {
					require.Equal(t, time.Second, r.start.Sub(runs[i].start))
				}
				require.Len(t, log.with(t, "leadership won"), 61, "one line a run, and one when it is resigned")
			})
		})
	}
}

func TestWorkThatReturnsNilAfterMoreThanASecondGivesOthersTheirTurnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		w := works{"x": func(context.Context) error { time.Sleep(10 * time.Second); return nil }}
		s.execute("a", w)
		s.execute("b", w)
		time.Sleep(time.Minute - 1)
		runs := s.history("x")
		require.Len(t, runs, 6)
		for i, r := range runs {
			require.Equal(t, []string{"a", "b"}[i%2], r.instance)
			require.Zero(t, r.start.Sub(runs[max(i-1, 0)].end)*time.Duration(min(i, 1)))
		}
	})
}

// What ends a leadership also ends the rest between two runs.
func TestAJobThatRestsIsReleasedWhenItsNodeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begin := newService(t), time.Now()
		a := s.execute("a", works{"x": func(context.Context) error { return nil }})
		b := s.execute("b", works{"x": untilDone})
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, []string{"a", "b"}, s.hub.Candidates("app", "x"), "a keeps what it has run until it may run again")
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, "b", s.runner("x"))
		require.Equal(t, 100*time.Millisecond, time.Since(begin))
		b.stop(errShutdown)
	})
}

// Work fails

func TestErrorOfWorkStopsEverythingIfWantedAndIsReturnedWithTheNameOfTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begin := newService(t), time.Now()
		a := s.execute("a", works{
			"good": stopsAfter(time.Second),
			"bad":  func(context.Context) error { time.Sleep(time.Minute); return errBroken },
		}, distributed.WithStopOnError())
		s.execute("b", works{"good": untilDone, "bad": untilDone})
		err := a.result()
		require.ErrorIs(t, err, errBroken)
		require.EqualError(t, err, `distributed: job "bad": broken`)
		require.Equal(t, time.Minute+time.Second, time.Since(begin), "when the good one had stopped")
		require.Equal(t, err, s.history("good")[0].cause)
		require.Equal(t, "b", s.runner("good"))
		require.Equal(t, "b", s.runner("bad"))
	})
}

func TestPanicOfWorkIsReturnedAsPanicErrorWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"good": untilDone, "bad": workThatPanics}, distributed.WithStopOnError())
		err := a.result()
		require.EqualError(t, err, `distributed: job "bad": panic: out of cheese`)
		var panicked *distributed.PanicError
		require.ErrorAs(t, err, &panicked)
		require.Equal(t, "out of cheese", panicked.Value)
		require.Contains(t, string(panicked.Stack), "workThatPanics")
		require.NoError(t, panicked.Unwrap())
		require.Empty(t, s.hub.Candidates("app", "bad"))
		require.Empty(t, s.hub.Candidates("app", "good"))
	})
}

func workThatPanics(context.Context) error { panic("out of cheese") }

func TestPanicWithAnErrorCanBeUnwrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newService(t).execute("a", works{"bad": func(context.Context) error { panic(errBroken) }}, distributed.WithStopOnError())
		require.ErrorIs(t, a.result(), errBroken)
	})
}

func TestPanicIsToldInOneLineOfBoundedLength(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{"out of cheese", "panic: out of cheese"},
		{errBroken, "panic: broken"},
		{42, "panic: 42"},
		{"no cheese\nno \x1b[31mbread\u2028", `panic: no cheese\nno \x1b[31mbread\u2028`},
		{`it's "out"`, `panic: it's "out"`},
		{strings.Repeat("ä", 1000), "panic: " + strings.Repeat("ä", 100) + "..."},
		{strings.Repeat("\n", 1000), "panic: " + strings.Repeat(`\n`, 100) + "..."},
	} {
		err := &distributed.PanicError{Value: c.value, Stack: []byte("goroutine 1 [running]:\n")}
		require.EqualError(t, err, c.want)
	}
}

func TestStackOfAPanicIsLoggedAsAnAttribute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"bad": workThatPanics}, log.logger(), distributed.WithStopOnError())
		require.Error(t, a.result())
		lines := log.with(t, "work failed")
		require.Len(t, lines, 1)
		require.Equal(t, "panic: out of cheese", lines[0]["error"])
		require.Contains(t, lines[0]["stack"], "workThatPanics")
	})
}

func TestPanicAfterTheContextIsDoneIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"bad": func(ctx context.Context) error { <-ctx.Done(); panic("out of cheese") }}, distributed.WithStopOnError())
		a.stop(errShutdown)
		require.ErrorAs(t, a.result(), new(*distributed.PanicError))
		require.Empty(t, s.hub.Candidates("app", "bad"))
	})
}

func TestGoexitInWorkIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"good": untilDone, "bad": func(context.Context) error { runtime.Goexit(); return nil }}, distributed.WithStopOnError())
		require.EqualError(t, a.result(), `distributed: job "bad": Work called runtime.Goexit, as FailNow of a test does, and did not return`)
		require.Empty(t, s.hub.Candidates("app", "good"))
		require.Empty(t, s.hub.Candidates("app", "bad"))
	})
}

func TestErrorOfWorkAfterTheContextOfExecuteIsDoneIsOnlyLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"x": func(ctx context.Context) error { <-ctx.Done(); return errBroken }}, log.logger())
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Len(t, log.with(t, "work stopped with an error"), 1)
	})
}

// A Work may know the context of Execute from elsewhere, and notice its end
// before the context it was given is done.
func TestErrorOfWorkThatWatchesTheContextOfExecuteItselfIsOnlyLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		inner, cancel := context.WithCancel(t.Context())
		ctx, ending, returned := &endingContext{Context: inner}, make(chan struct{}), make(chan error, 1)
		first := true
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{
			s.job("a", "x", func(ctx context.Context) error {
				if !first {
					return untilDone(ctx)
				}
				first = false
				<-ending
				return errBroken
			}),
		}, log.logger())
		go func() { returned <- p.Execute(ctx) }()
		require.Equal(t, "a", s.runner("x"))
		ctx.ending.Store(true)
		close(ending)
		synctest.Wait()
		require.Empty(t, returned)
		require.Len(t, log.with(t, "work stopped with an error"), 1)
		cancel()
		require.NoError(t, <-returned)
	})
}

// endingContext has an error before those derived from it are done, as one that
// is just being cancelled has.
type endingContext struct {
	context.Context
	ending atomic.Bool
}

func (c *endingContext) Err() error {
	if c.ending.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

func TestTheFirstFailureIsReturnedAndTheOthersAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{
			"bad":   func(context.Context) error { time.Sleep(time.Minute); return errBroken },
			"worse": func(ctx context.Context) error { <-ctx.Done(); panic("as well") },
		}, log.logger(), distributed.WithStopOnError())
		require.EqualError(t, a.result(), `distributed: job "bad": broken`)
		lines := log.with(t, "work failed")
		require.Len(t, lines, 2)
		require.ElementsMatch(t, []any{"bad", "worse"}, []any{lines[0]["job"], lines[1]["job"]}, "each when it is released")
		for _, line := range lines {
			require.Equal(t, "a", line["instance"])
			require.EqualValues(t, s.last(line["job"].(string)).token, line["token"])
		}
	})
}

// no jobs, more jobs

func TestExecuteWithoutJobsIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		require.ErrorIs(t, s.execute("a", nil).result(), distributed.ErrNoJobs)
		require.Zero(t, s.hub.Writes())
	})
}

func TestExecuteWithoutJobsBlocksIfToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", nil, distributed.WithBlockOnNoJobs())
		time.Sleep(time.Hour)
		require.False(t, a.returned())
		require.NoError(t, a.AddJob(s.job("a", "x", untilDone)))
		require.Equal(t, "a", s.runner("x"))
		a.stop(errShutdown)
		require.NoError(t, a.result())

		b := s.execute("b", nil, distributed.WithBlockOnNoJobs())
		b.stop(errShutdown)
		require.NoError(t, b.result())
	})
}

func TestJobsCanBeAddedBeforeAndWhileExecuting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), nil)
		require.NoError(t, p.AddJob(s.job("a", "before", untilDone)))
		require.Zero(t, s.hub.Writes())
		a := start(t, t.Context(), p)
		require.Equal(t, "a", s.runner("before"))
		time.Sleep(time.Hour)

		require.NoError(t, p.AddJob(s.job("a", "while", untilDone)))
		require.Equal(t, "a", s.runner("while"))
		err := p.AddJob(s.job("a", "before", untilDone))
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, `there is a job of this name already: "before"`)
		require.ErrorIs(t, p.AddJob(s.job("a", "while", untilDone)), distributed.ErrInvalidConfig)
		require.False(t, a.returned(), "a job that is refused does no harm")
		require.Len(t, s.history("before"), 1)

		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, errShutdown, s.last("while").cause)
	})
}

func TestJobsCannotBeAddedOnceExecuteIsEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"slow": stopsAfter(time.Minute)})
		a.stop(errShutdown)
		require.False(t, a.returned())
		require.ErrorIs(t, a.AddJob(s.job("a", "x", untilDone)), distributed.ErrClosed)
		require.NoError(t, a.result())
		err := a.AddJob(s.job("a", "x", untilDone))
		require.ErrorIs(t, err, distributed.ErrClosed)
		require.ErrorContains(t, err, `"x"`)
		require.Empty(t, s.history("x"))
	})
}

// Jobs whose options call functions of the user do, each on a goroutine.
func TestManyGoroutinesStartInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(300, untilDone)
		a := s.execute("a", jobs, distributed.WithVoluntaryTimeout(func(string) time.Duration { return 24 * time.Hour }))
		require.Equal(t, 128, s.spread(jobs)["a"])
		require.NoError(t, a.AddJob(s.job("a", "added", untilDone)))
		require.Equal(t, "a", s.runner("added"), "does not wait for the others")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(t, 256, s.spread(jobs)["a"])
		time.Sleep(time.Hour)
		require.Equal(t, 300, s.spread(jobs)["a"])
		for name := range jobs {
			require.Len(t, s.history(name), 1)
		}
	})
}

func TestNoGroupStartsOnceTheContextOfExecuteIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", manyJobs(300, untilDone), distributed.WithVoluntaryTimeout(func(string) time.Duration { return 24 * time.Hour }))
		a.stop(errShutdown)
		require.NoError(t, a.result())
		time.Sleep(time.Hour)
		require.Len(t, s.runs, 128, "jobs that have ever run")
	})
}

func TestJobsCanBeAddedFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.executeAs(t.Context(), "a", works{"x": untilDone})
		var wg sync.WaitGroup
		var added, refused atomic.Int32
		for i := range 20 {
			wg.Go(func() {
				if a.AddJob(s.job("a", fmt.Sprint(i/2), untilDone)) == nil {
					added.Add(1)
				} else {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 10, added.Load())
		require.EqualValues(t, 10, refused.Load(), "each name once")
		for i := range 10 {
			require.Equal(t, "a", s.runner(fmt.Sprint(i)))
		}
	})
}

func TestExecuteCanBeCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": untilDone})
		require.ErrorIs(t, a.Execute(t.Context()), distributed.ErrClosed)
		require.Equal(t, "a", s.runner("x"), "the first goes on")
		require.Len(t, s.history("x"), 1)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.ErrorIs(t, a.Execute(t.Context()), distributed.ErrClosed)
	})
}

// the store

func TestStoreThatIsAwayAtTheStartIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		s.hub.Refuse("a", errAway)
		a := s.execute("a", works{"x": untilDone, "y": untilDone}, log.logger())
		time.Sleep(24 * time.Hour)
		require.False(t, a.returned())
		require.Len(t, log.with(t, "store unavailable, trying again"), 1, "said once")
		require.Empty(t, log.with(t, "store available again"))
		require.Empty(t, log.with(t, "lease acquired"))

		s.hub.Refuse("a", nil)
		time.Sleep(5 * time.Second)
		require.Equal(t, "a", s.runner("x"))
		require.Equal(t, "a", s.runner("y"))
		for _, message := range []string{"store available again", "lease acquired"} {
			lines := log.with(t, message)
			require.Len(t, lines, 1)
			require.Equal(t, "a", lines[0]["instance"])
		}
		require.Len(t, log.with(t, "store unavailable, trying again"), 1)
	})
}

func TestStoreThatGoesAwayLaterIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"x": untilDone, "y": untilDone}, log.logger())
		for range 3 {
			s.hub.Refuse("", errAway)
			time.Sleep(time.Hour)
			require.False(t, a.returned())
			require.Empty(t, s.runner("x"))
			s.hub.Refuse("", nil)
			time.Sleep(5 * time.Second)
			require.Equal(t, "a", s.runner("x"))
			require.Equal(t, "a", s.runner("y"))
		}
		require.Len(t, log.with(t, "store unavailable, trying again"), 3)
		require.Len(t, log.with(t, "store available again"), 3)
		require.Len(t, log.with(t, "lease lost"), 3)
		require.Len(t, log.with(t, "lease acquired"), 4)
		require.Len(t, log.with(t, "leadership lost"), 6)
		require.Len(t, s.history("x"), 4)
		require.ErrorIs(t, s.history("x")[0].cause, distributed.ErrLeadershipLost)
	})
}

func TestStoreThatIsAwayForAShortTimeGoesUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone})
		s.hub.Refuse("", errAway)
		time.Sleep(5 * time.Second)
		s.hub.Refuse("", nil)
		time.Sleep(time.Hour)
		require.Len(t, s.history("x"), 1)
		require.Equal(t, "a", s.runner("x"))
	})
}

func TestExecuteReturnsWhatWaitingCannotMend(t *testing.T) {
	for _, permanent := range []error{distributed.ErrPermanent, distributed.ErrInvalidConfig} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			refusal := fmt.Errorf("%w: wrong password", permanent)
			s.hub.Refuse("a", refusal)
			err := s.execute("a", works{"x": untilDone, "y": untilDone, "z": untilDone}).result()
			require.ErrorIs(t, err, permanent)
			require.Regexp(t, `^distributed: acquire lease: `+refusal.Error()+"$", err.Error(), "said once, not once a job")
		})
	}
}

func TestExecuteReturnsWhatWaitingCannotMendLaterToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": stopsAfter(time.Minute), "y": untilDone})
		s.hub.Refuse("a", fmt.Errorf("%w: permission denied", distributed.ErrPermanent))
		time.Sleep(10 * time.Second)
		require.False(t, a.returned(), "x has not stopped yet")
		require.ErrorIs(t, a.result(), distributed.ErrPermanent)
		require.ErrorIs(t, s.last("x").cause, distributed.ErrLeadershipLost)
	})
}

// what Work is given

func TestWorkSeesTheValuesOfTheContextOfExecute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		s := newService(t)
		var seen record[any]
		look := func(ctx context.Context) error { seen.add(ctx.Value(key{})); return untilDone(ctx) }
		s.executeAs(context.WithValue(t.Context(), key{}, "plain"), "a", works{"x": look})
		synctest.Wait()
		s.executeAs(context.WithValue(t.Context(), key{}, "with a quota"), "b", works{"y": look}, distributed.WithJobQuota(1))
		synctest.Wait()
		require.Equal(t, []any{"plain", "with a quota"}, seen.all())
	})
}

func TestWorkFindsItsLeadershipInItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		leaderships := make(chan *distributed.Leadership, 2)
		s.execute("a", works{"x": func(ctx context.Context) error {
			derived, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			l, ok := distributed.LeadershipFromContext(derived)
			require.True(t, ok)
			leaderships <- l
			return untilDone(ctx)
		}})
		l := <-leaderships
		time.Sleep(time.Minute)
		_, token := s.hub.Leader("app", "x")
		require.Equal(t, "x", l.Name())
		require.Equal(t, token, l.Token())
		require.True(t, l.Valid())
		require.NoError(t, l.Context().Err())

		s.hub.Expire("a")
		require.False(t, l.Valid())
		require.ErrorIs(t, context.Cause(l.Context()), distributed.ErrLeadershipLost)
		again := <-leaderships
		require.True(t, again.Valid())
		require.Greater(t, again.Token(), token)

		_, ok := distributed.LeadershipFromContext(t.Context())
		require.False(t, ok)
	})
}

func TestLeadershipIsNotValidAnyMoreOnceExecuteHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var l *distributed.Leadership
		a := s.execute("a", works{"x": func(ctx context.Context) error {
			l, _ = distributed.LeadershipFromContext(ctx)
			return untilDone(ctx)
		}})
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.False(t, l.Valid())
		require.ErrorIs(t, context.Cause(l.Context()), errShutdown)
	})
}

func TestJobsOfDifferentAppsDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var running atomic.Int32
		for _, app := range []string{"one", "two"} {
			start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor(app, "a", s.provider(), []distributed.Job{{
				Name: "x",
				Work: func(ctx context.Context) error { running.Add(1); return untilDone(ctx) },
			}}))
		}
		synctest.Wait()
		require.EqualValues(t, 2, running.Load())
	})
}

func TestHooksTellWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var happened record[string]
		a := s.execute("a", works{"x": untilDone}, distributed.WithHooks(distributed.Hooks{
			Elected: func(job string, token int64, waited time.Duration) {
				happened.add(fmt.Sprint("elected ", job, " ", token > 0, " ", waited))
			},
			Lost: func(job string, token int64, held time.Duration, cause error) {
				happened.add(fmt.Sprint("lost ", job, " ", token > 0, " ", held, " ", errors.Is(cause, distributed.ErrLeadershipLost)))
			},
			Resigned: func(job string, token int64, held time.Duration, cause error) {
				happened.add(fmt.Sprint("resigned ", job, " ", token > 0, " ", held, " ", cause))
			},
		}))
		time.Sleep(time.Minute)
		s.hub.Expire("a")
		time.Sleep(time.Hour)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.ElementsMatch(t, []string{"elected x true 0s", "lost x true 1m0s true", "elected x true 0s", "resigned x true 1h0m0s shutting down"}, happened.all())
	})
}

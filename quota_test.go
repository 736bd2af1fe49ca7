package distributed_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// jobs returns n jobs called "0" to "n-1" with the same Work.
func jobs(n int, work func(context.Context) error) works {
	w := works{}
	for i := range n {
		w[fmt.Sprint(i)] = work
	}
	return w
}

// runners returns how many of the n jobs each instance runs now.
func (s *service) runners(n int) map[string]int {
	count := map[string]int{}
	for i := range n {
		count[s.runner(fmt.Sprint(i))]++
	}
	return count
}

func TestNodeNeverRunsMoreJobsThanItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(10, untilDone), distributed.WithJobQuota(3)) // wins all ten at once
		require.Equal(t, map[string]int{"a": 3, "": 7}, s.runners(10))
		time.Sleep(time.Hour)
		require.Equal(t, map[string]int{"a": 3, "": 7}, s.runners(10))
		require.Equal(t, 3, s.busiest["a"])
	})
}

func TestQuotaAboveTheNumberOfJobsLimitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(3, untilDone), distributed.WithJobQuota(4))
		require.Equal(t, map[string]int{"a": 3}, s.runners(3))
		s.hub.Expire("a")
		time.Sleep(time.Second)
		require.Equal(t, map[string]int{"a": 3}, s.runners(3))
	})
}

func TestNodeAtItsQuotaDoesNotStandForMoreJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("other", jobs(4, untilDone))
		a := s.execute("a", jobs(6, untilDone), distributed.WithJobQuota(2)) // wins 4 and 5
		require.Equal(t, map[string]int{"other": 4, "a": 2}, s.runners(6))
		for i := range 4 {
			require.Equal(t, []string{"other"}, s.hub.Candidates("app", fmt.Sprint(i)), "withdrawn")
		}
		s.execute("c", jobs(6, untilDone))
		a.stop(nil)
		require.Equal(t, map[string]int{"other": 4, "c": 2}, s.runners(6))
	})
}

func TestNodeStandsForEveryJobAgainWhenASlotIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": func(ctx context.Context) error { time.Sleep(time.Minute); return nil }, "y": untilDone}, distributed.WithJobQuota(1),
			distributed.WithStartDelay(func(job string) time.Duration {
				if job == "y" {
					return time.Second
				}
				return 0
			}))
		b := s.execute("b", works{"y": untilDone})
		time.Sleep(time.Minute - 1)
		require.Equal(t, "a", s.runner("x"))
		require.Equal(t, []string{"b"}, s.hub.Candidates("app", "y"))
		time.Sleep(1)
		require.Empty(t, s.runner("x"), "pauses after it has returned nil")
		require.Equal(t, []string{"b", "a"}, s.hub.Candidates("app", "y"), "uses the pause to campaign for another")
		b.stop(nil)
		require.Equal(t, "a", s.runner("y"))
		time.Sleep(time.Hour)
		require.Equal(t, "a", s.runner("y"))
		require.Empty(t, s.hub.Candidates("app", "x"), "no slot any more")
		require.Equal(t, 1, s.busiest["a"])
	})
}

func TestSlotIsFreeOnlyWhenTheJobHasBeenReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(2, stopsAfter(time.Minute)), distributed.WithJobQuota(1))
		s.hub.Expire("a")
		time.Sleep(time.Minute - 1)
		require.Equal(t, map[string]int{"a": 1, "": 1}, s.runners(2), "still stopping, and at its quota")
		require.Len(t, append(s.history("0"), s.history("1")...), 1)
		time.Sleep(time.Minute)
		require.Len(t, append(s.history("0"), s.history("1")...), 2)
		require.Equal(t, 1, s.busiest["a"])
	})
}

func TestNodesWithQuotasShareTheJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(10, untilDone), distributed.WithJobQuota(6))
		b := s.execute("b", jobs(10, untilDone), distributed.WithJobQuota(6))
		require.Equal(t, map[string]int{"a": 6, "b": 4}, s.runners(10))
		b.stop(nil)
		require.Equal(t, map[string]int{"a": 6, "": 4}, s.runners(10), "jobs stay without a node when all are at their quota")
		s.execute("c", jobs(10, untilDone), distributed.WithJobQuota(2))
		s.execute("d", jobs(10, untilDone), distributed.WithJobQuota(5))
		require.Equal(t, map[string]int{"a": 6, "c": 2, "d": 2}, s.runners(10))
		s.hub.Expire("a")
		time.Sleep(11 * time.Second)
		require.Equal(t, 10, s.runners(10)["a"]+s.runners(10)["c"]+s.runners(10)["d"], "all run again")
		require.LessOrEqual(t, s.busiest["a"], 6)
		require.LessOrEqual(t, s.busiest["c"], 2)
		require.LessOrEqual(t, s.busiest["d"], 5)
	})
}

func TestNodesThatStartAtTheSameTimeShareTheJobsByTheirQuotas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		for _, instance := range []string{"a", "b", "c"} {
			s.executeAs(t.Context(), instance, jobs(9, untilDone), distributed.WithJobQuota(3))
		}
		require.Equal(t, map[string]int{"a": 3, "b": 3, "c": 3}, s.runners(9))
	})
}

func TestJobsTakeTurnsInASlotWhenTheirTermsEnd(t *testing.T) {
	minute := distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Minute })
	testTurns(t, untilDone, minute)
	testTurns(t, func(ctx context.Context) error { <-ctx.Done(); return errBroken }, minute)
}

func TestJobsTakeTurnsInASlotWhenTheyReturn(t *testing.T) {
	testTurns(t, func(context.Context) error { time.Sleep(time.Minute); return nil })
}

func TestNodeWithASlotForEachJobLeavesNoneOfThemWithoutARunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(3, untilDone), distributed.WithJobQuota(3),
			distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Minute }))
		time.Sleep(2*time.Hour - 1)
		for i := range 3 {
			require.Len(t, s.history(fmt.Sprint(i)), 120, "no pause between terms")
		}
	})
}

func TestJobOfACrowdedNodeThatLostItsLeadershipCampaignsAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("other", works{"1": untilDone})
		s.execute("a", jobs(2, untilDone), distributed.WithJobQuota(1))
		require.Equal(t, "a", s.runner("0"))
		require.True(t, s.hub.RemoveCandidate("app", "0", "a"))
		time.Sleep(backoffOfALease) // and no pause besides
		require.Len(t, s.history("0"), 2)
		require.Equal(t, "a", s.runner("0"))
	})
}

// backoffOfALease is more than the pause before a second lease.
const backoffOfALease = 50 * time.Millisecond

func testTurns(t *testing.T, work func(context.Context) error, opts ...distributed.ProcessorOption) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(2, work), append(opts, distributed.WithJobQuota(1))...)
		time.Sleep(20*time.Minute - 1)
		require.Len(t, s.history("0"), 10)
		require.Len(t, s.history("1"), 10)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", jobs(5, work), append(opts, distributed.WithJobQuota(2))...)
		time.Sleep(2 * time.Hour)
		for i := range 5 {
			require.NotEmpty(t, s.history(fmt.Sprint(i)), "nobody starves")
		}
		require.Equal(t, 2, s.busiest["a"])
	})
}

func TestFailureOfWorkEndsANodeAtItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", jobs(5, func(context.Context) error { time.Sleep(time.Minute); return errBroken }), distributed.WithJobQuota(2), distributed.WithStopOnError())
		require.ErrorIs(t, a.result(), errBroken)
		require.Equal(t, 2, s.busiest["a"])
		for i := range 5 {
			require.Empty(t, s.hub.Candidates("app", fmt.Sprint(i)))
		}
	})
}

func TestQuotaAndAnAwayStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", jobs(4, untilDone), distributed.WithJobQuota(2))
		s.hub.Refuse("a", errAway)
		time.Sleep(time.Hour)
		require.Equal(t, map[string]int{"": 4}, s.runners(4))
		require.False(t, a.returned())
		s.hub.Refuse("a", nil)
		time.Sleep(10 * time.Second)
		require.Equal(t, map[string]int{"a": 2, "": 2}, s.runners(4))
		require.Equal(t, 2, s.busiest["a"])
	})
}

package distributed_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// settle is long enough for every move that there is to make, and short enough
// that nobody notices who is not looking for it.
const settle = time.Minute

func manyJobs(n int, work func(context.Context) error) works {
	w := works{}
	for i := range n {
		w[fmt.Sprintf("job-%04d", i)] = work
	}
	return w
}

// spread returns how many of the jobs run on each node.
func (s *service) spread(jobs works) map[string]int {
	loads := map[string]int{}
	for job := range jobs {
		if node := s.runner(job); node != "" {
			loads[node]++
		}
	}
	return loads
}

// runsOf returns how many runs of the jobs there have been.
func (s *service) runsOf(jobs works) (n int) {
	for job := range jobs {
		n += len(s.history(job))
	}
	return n
}

func balanced(opts ...distributed.BalancingOption) distributed.ProcessorOption {
	return distributed.WithLoadBalancing(opts...)
}

func TestJobsSpreadEvenlyAsNodesJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(29, untilDone)
		a := s.execute("a", jobs, balanced())
		require.Equal(t, map[string]int{"a": 29}, s.spread(jobs))
		s.execute("b", jobs, balanced())
		s.execute("c", jobs, balanced())
		require.Equal(t, map[string]int{"a": 29}, s.spread(jobs), "nothing moves before the app has settled")
		time.Sleep(settle)
		require.ElementsMatch(t, []int{10, 10, 9}, slices.Collect(maps.Values(s.spread(jobs))))
		require.Equal(t, 29+19, s.runsOf(jobs), "no move more than needed")
		for job := range jobs {
			require.Len(t, s.hub.Candidates("app", job), 2, "a runner and a standby")
		}
		time.Sleep(24 * time.Hour)
		require.Equal(t, 29+19, s.runsOf(jobs), "a steady app moves nothing")

		a.stop(errShutdown)
		require.NoError(t, a.result())
		synctest.Wait()
		loads := s.spread(jobs)
		require.Len(t, loads, 2)
		require.InDelta(t, loads["b"], loads["c"], 1, "the load of a falls evenly on the others at once")
		time.Sleep(settle)
		require.Equal(t, loads, s.spread(jobs))
		require.Equal(t, 29+19+10, s.runsOf(jobs), "and nothing has to move after that")
	})
}

func TestACrashIsNotFollowedByAnotherWaveOfMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(29, untilDone)
		for _, node := range []string{"a", "b", "c", "d"} {
			s.execute(node, jobs, balanced())
		}
		time.Sleep(settle)
		before, runs := maps.Clone(s.spread(jobs)), s.runsOf(jobs)
		require.Len(t, before, 4)
		s.hub.Refuse("b", errAway)
		time.Sleep(s.ttl)
		loads := s.spread(jobs)
		require.Len(t, loads, 3)
		for node, n := range loads {
			require.InDelta(t, 29./3, n, 1, node)
		}
		require.Equal(t, runs+before["b"], s.runsOf(jobs))
		time.Sleep(settle)
		require.Equal(t, loads, s.spread(jobs))
		require.Equal(t, runs+before["b"], s.runsOf(jobs))
	})
}

func TestAMoveWaitsForTheNextNodeAndThenTakesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		stops := 300 * time.Millisecond
		jobs := manyJobs(10, stopsAfter(stops))
		s.execute("a", jobs, balanced(distributed.WithMaxMoves(2), distributed.WithSettleTime(time.Second)))
		s.execute("b", jobs, balanced(distributed.WithMaxMoves(2), distributed.WithSettleTime(time.Second)))
		time.Sleep(time.Second)
		synctest.Wait()
		time.Sleep(stops - 1)
		require.Equal(t, map[string]int{"a": 10}, s.spread(jobs), "two are stopping")
		for moved := 0; moved < 5; moved = min(moved+2, 5) {
			time.Sleep(1)
			synctest.Wait()
			require.Equal(t, min(moved+2, 5), s.spread(jobs)["b"], "two at a time")
			time.Sleep(stops - 1)
		}
		for job := range jobs {
			runs := s.history(job)
			if len(runs) == 2 {
				require.Equal(t, distributed.ErrMoved, runs[0].cause)
				require.Equal(t, runs[0].end, runs[1].start, "no time without a runner")
			}
		}
	})
}

func TestARollingRestartKeepsJobsEvenAndMovesFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(29, untilDone)
		nodes := map[string]*executing{}
		names := []string{"a", "b", "c"}
		for _, name := range names {
			nodes[name] = s.execute(name, jobs, balanced(), distributed.WithVersion("v1"))
			time.Sleep(time.Second)
		}
		time.Sleep(settle)
		begin, started := s.runsOf(jobs), time.Now()
		for _, name := range names {
			nodes[name].stop(errShutdown)
			require.NoError(t, nodes[name].result())
			time.Sleep(2 * time.Second)
			s.execute(name+"2", jobs, balanced(), distributed.WithVersion("v2"))
			time.Sleep(2 * time.Second)
		}
		time.Sleep(settle)
		require.ElementsMatch(t, []int{10, 10, 9}, slices.Collect(maps.Values(s.spread(jobs))))
		moves := s.runsOf(jobs) - begin
		t.Logf("%d moves of %d jobs", moves, len(jobs))
		require.LessOrEqual(t, moves, 29+2*10)
		for job := range jobs {
			var last time.Time
			for _, r := range s.history(job) {
				if r.start.After(started) {
					require.Equal(t, last, r.start, "%s was never without a runner", job)
				}
				last = r.end
			}
		}
	})
}

func TestDrainingHandsOverEverythingAndUndrainingTakesPartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(10, stopsAfter(time.Second))
		a := s.execute("a", jobs, balanced())
		s.execute("b", jobs, balanced())
		time.Sleep(settle)
		require.Equal(t, map[string]int{"a": 5, "b": 5}, s.spread(jobs))

		drained := time.Now()
		require.NoError(t, a.Drain(t.Context()))
		require.Equal(t, time.Second, time.Since(drained), "it does not wait for the app to settle, nor for itself")
		require.Equal(t, map[string]int{"b": 10}, s.spread(jobs))
		time.Sleep(time.Hour)
		require.Equal(t, map[string]int{"b": 10}, s.spread(jobs))

		require.NoError(t, a.Undrain())
		time.Sleep(settle)
		require.Equal(t, map[string]int{"a": 5, "b": 5}, s.spread(jobs))
	})
}

func TestAJobThatNobodyElseCanTakeStaysWhereItDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(4, untilDone)
		a := s.execute("a", jobs, balanced())
		s.execute("b", works{"job-0000": untilDone, "job-0001": untilDone}, balanced())
		time.Sleep(settle)
		require.Equal(t, map[string]int{"a": 2, "b": 2}, s.spread(jobs))
		ctx, cancel := context.WithTimeout(t.Context(), settle)
		defer cancel()
		require.ErrorIs(t, a.Drain(ctx), context.DeadlineExceeded)
		require.Equal(t, map[string]int{"a": 2, "b": 2}, s.spread(jobs))
	})
}

// An hour of random terms, with and without balancing.
func TestVoluntaryTimeoutsWithAndWithoutBalancing(t *testing.T) {
	for _, balance := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			timeout := distributed.WithVoluntaryTimeout(func(string) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Minute + time.Duration(random.Int64N(int64(time.Minute)))
			})
			s, jobs := newService(t), manyJobs(29, untilDone)
			opts := []distributed.ProcessorOption{timeout}
			if balance {
				opts = append(opts, balanced())
			}
			for _, node := range []string{"a", "b", "c"} {
				s.execute(node, jobs, opts...)
			}
			time.Sleep(settle)
			begin, unevenness, samples := s.runsOf(jobs), 0, 0
			for range 120 {
				time.Sleep(30 * time.Second)
				least, most := 29, 0
				for _, node := range []string{"a", "b", "c"} {
					n := s.spread(jobs)[node]
					least, most = min(least, n), max(most, n)
				}
				unevenness, samples = unevenness+most-least, samples+1
			}
			t.Logf("balancing %v: most less least %.1f on average, %d moves an hour",
				balance, float64(unevenness)/float64(samples), s.runsOf(jobs)-begin)
			if balance {
				require.LessOrEqual(t, unevenness, 3*samples)
			}
		})
	}
}

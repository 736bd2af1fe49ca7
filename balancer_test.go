package distributed_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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
	return distributed.WithLoadBalancing(append([]distributed.BalancingOption{distributed.WithGatherTime(0)}, opts...)...)
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

// Nodes that start together wait for one another, so that nothing has to move.
func TestNodesThatStartTogetherShareTheJobsFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(300, untilDone)
		for _, node := range []string{"a", "b", "c"} {
			s.execute(node, jobs, distributed.WithLoadBalancing())
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(799 * time.Millisecond)
		require.Empty(t, s.spread(jobs))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(t, map[string]int{"a": 100, "b": 100, "c": 100}, s.spread(jobs), "a second after the last has come")
		time.Sleep(settle)
		require.Equal(t, 300, s.runsOf(jobs))
	})
}

func TestANodeThatJoinsARunningAppDoesNotWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(10, untilDone)
		a := s.execute("a", jobs, distributed.WithLoadBalancing())
		b := s.execute("b", jobs, distributed.WithLoadBalancing())
		time.Sleep(settle)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		s.execute("a", maps.Collect(maps.All(manyJobs(11, untilDone))), distributed.WithLoadBalancing())
		require.Equal(t, "a", s.runner("job-0010"), "which nobody else has")
		b.stop(errShutdown)
		require.NoError(t, b.result())
		require.Equal(t, map[string]int{"a": 10}, s.spread(jobs))
	})
}

func TestANodeDoesNotWaitForOthersThatKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(30, untilDone)
		gather := distributed.WithLoadBalancing(distributed.WithGatherTime(100 * time.Millisecond))
		s.execute("node-000", jobs, gather)
		for i := range 11 {
			require.Empty(t, s.spread(jobs))
			time.Sleep(99 * time.Millisecond)
			s.execute(fmt.Sprintf("node-%03d", i+1), jobs, gather)
		}
		total := 0
		for _, n := range s.spread(jobs) {
			total += n
		}
		require.Equal(t, 30, total, "ten times as long at most")
	})
}

func TestTheLongestGatherTimeIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(10, untilDone)
		s.execute("a", jobs, distributed.WithLoadBalancing(distributed.WithGatherTime(math.MaxInt64)))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, s.spread(jobs))
	})
}

// After a loss of all leases each node stands again for what it had.
func TestNodesThatLoseTheirLeasesDoNotGatherAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(10, untilDone)
		s.execute("a", jobs, distributed.WithLoadBalancing(distributed.WithGatherTime(time.Hour)))
		s.execute("b", jobs, distributed.WithLoadBalancing(distributed.WithGatherTime(time.Hour)))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, map[string]int{"a": 5, "b": 5}, s.spread(jobs))
		require.True(t, s.hub.Expire("a"))
		require.True(t, s.hub.Expire("b"))
		time.Sleep(settle)
		require.Equal(t, map[string]int{"a": 5, "b": 5}, s.spread(jobs))
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
		time.Sleep(2 * s.ttl) // the others wait a bit longer than that from its last heartbeat
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

func TestDrainReturnsWhenTheLastJobIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		arrive := make(chan func(), 1)
		a := s.execute("a", works{"x": func(ctx context.Context) error {
			<-ctx.Done()
			arrive <- s.hub.HoldRequests("a")
			return nil
		}}, balanced())
		s.execute("b", works{"x": untilDone}, balanced())
		time.Sleep(settle)
		drained := make(chan error, 1)
		go func() { drained <- a.Drain(t.Context()) }()
		release := <-arrive
		synctest.Wait()
		require.Empty(t, drained, "others cannot take it yet")
		release()
		require.NoError(t, <-drained)
		require.Equal(t, "b", s.runner("x"))
	})
}

// What the node has begun to tell may still say that it takes jobs.
func TestNothingStartsOnceDrainHasReturned(t *testing.T) {
	drained := 0
	for at := range 200 {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			s.hub.SetDelay(50 * time.Millisecond)
			a := s.execute("a", works{"x": untilDone}, distributed.WithLoadBalancing(distributed.WithGatherTime(0)))
			for !a.Status().Leased {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Duration(at) * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if a.Drain(ctx) != nil {
				return // the job stays, as no other node can take it
			}
			drained++
			time.Sleep(time.Minute)
			require.Empty(t, s.history("x"))
		})
	}
	require.NotZero(t, drained)
}

// Otherwise they would give it jobs that it does not take.
func TestOthersKnowThatANodeStopsAlthoughItHadSomethingElseToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": stopsAfter(time.Minute)}, balanced())
		time.Sleep(settle)
		o := s.observe("app")
		arrive := s.hub.HoldRequests("a")
		require.NoError(t, a.UpdateJob(distributed.Job{Name: "x", Weight: 2}))
		synctest.Wait()
		a.stop(errShutdown)
		synctest.Wait()
		arrive()
		time.Sleep(time.Second)
		require.True(t, o.View().Nodes[0].Draining)
		require.Equal(t, "a", s.runner("x"))
		require.NoError(t, a.result())
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

func TestBalancingHeedsWeightsQuotasAndLabels(t *testing.T) {
	t.Run("weights", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			weights := map[string]int{"w9": 9, "w5": 5, "w4": 4, "w3": 3, "w3b": 3, "w2": 2, "w1": 1}
			jobs := func(node string) (jobs []distributed.Job) {
				for name, weight := range weights {
					job := s.job(node, name, untilDone)
					job.Weight = weight
					jobs = append(jobs, job)
				}
				return jobs
			}
			for _, node := range []string{"a", "b", "c"} {
				start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", node, s.provider(), jobs(node), balanced()))
			}
			time.Sleep(settle)
			loads := map[string]int{}
			for name, weight := range weights {
				loads[s.runner(name)] += weight
			}
			require.Len(t, loads, 3)
			for node, load := range loads {
				require.InDelta(t, 9, load, 9, node)
			}
		})
	})
	t.Run("quota", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, jobs := newService(t), manyJobs(20, untilDone)
			s.execute("a", jobs, balanced(), distributed.WithJobQuota(4))
			s.execute("b", jobs, balanced(), distributed.WithJobQuota(10))
			time.Sleep(settle)
			require.Equal(t, map[string]int{"a": 4, "b": 10}, s.spread(jobs))
			s.execute("c", jobs, balanced())
			time.Sleep(settle)
			require.Equal(t, map[string]int{"a": 4, "b": 8, "c": 8}, s.spread(jobs))
			require.LessOrEqual(t, s.busiest["a"], 4)
			require.LessOrEqual(t, s.busiest["b"], 10)
		})
	})
	t.Run("labels", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			jobs := func(node string) (jobs []distributed.Job) {
				for i := range 6 {
					job := s.job(node, fmt.Sprint("ssd", i), untilDone)
					job.Prefer = []string{"disk=ssd"}
					calm := s.job(node, fmt.Sprint("calm", i), untilDone)
					calm.Avoid = []string{"disk=ssd"}
					jobs = append(jobs, job, calm)
				}
				return jobs
			}
			run := func(node string, opts ...distributed.ProcessorOption) *executing {
				return start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", node, s.provider(), jobs(node), append(opts, balanced())...))
			}
			ssd := distributed.WithLabels(map[string]string{"disk": "ssd"})
			a := run("a", ssd)
			run("b")
			run("c")
			time.Sleep(settle)
			for i := range 6 {
				require.Equal(t, "a", s.runner(fmt.Sprint("ssd", i)))
				require.Contains(t, []string{"b", "c"}, s.runner(fmt.Sprint("calm", i)))
			}
			a.stop(errShutdown)
			require.NoError(t, a.result())
			time.Sleep(settle)
			for i := range 6 {
				require.Contains(t, []string{"b", "c"}, s.runner(fmt.Sprint("ssd", i)), "better there than nowhere")
			}
			run("d", ssd)
			time.Sleep(settle)
			for i := range 6 {
				require.Equal(t, "d", s.runner(fmt.Sprint("ssd", i)))
			}
		})
	})
}

func TestBalancingWithStartDelaysAddedJobsAndLostLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(10, untilDone)
		delay := distributed.WithStartDelay(func(string) time.Duration { return time.Hour })
		s.execute("late", jobs, balanced(), delay)
		a := s.execute("a", jobs, balanced())
		time.Sleep(settle)
		require.Equal(t, map[string]int{"a": 10}, s.spread(jobs), "a delayed job does not count for its node yet")
		time.Sleep(time.Hour)
		require.Equal(t, map[string]int{"a": 5, "late": 5}, s.spread(jobs))

		require.NoError(t, a.AddJob(s.job("a", "added", untilDone)))
		require.Equal(t, "a", s.runner("added"), "only a has it")
		require.ErrorIs(t, a.AddJob(s.job("a", "added", untilDone)), distributed.ErrInvalidConfig)

		require.True(t, s.hub.Expire("a"))
		time.Sleep(settle)
		loads := s.spread(jobs)
		require.Equal(t, 10, loads["a"]+loads["late"])
		require.InDelta(t, loads["late"], loads["a"]+1, 1, "with the job that was added")
		require.Equal(t, "a", s.runner("added"))
	})
}

// During the rollout that brings balancing, some nodes stand for everything.
func TestBalancingLivesWithNodesThatDoNotBalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(10, untilDone)
		old := s.execute("old", jobs)
		s.execute("a", jobs, balanced())
		s.execute("b", jobs, balanced())
		time.Sleep(time.Hour)
		require.Equal(t, map[string]int{"old": 10}, s.spread(jobs), "it keeps what it has")
		old.stop(errShutdown)
		require.NoError(t, old.result())
		require.Equal(t, map[string]int{"a": 5, "b": 5}, s.spread(jobs))
	})
}

// A fleet that runs without balancing is restarted node by node, with it, and back.
func TestBalancingIsTurnedOnAndOffByRollingRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(29, untilDone)
		nodes := map[string]*executing{}
		restart := func(name string, opts ...distributed.ProcessorOption) {
			if old := nodes[name]; old != nil {
				old.stop(errShutdown)
				require.NoError(t, old.result())
				time.Sleep(time.Second)
			}
			nodes[name] = s.execute(name, jobs, opts...)
			time.Sleep(settle)
		}
		names := []string{"a", "b", "c"}
		for _, name := range names {
			restart(name)
		}
		require.Equal(t, map[string]int{"a": 29}, s.spread(jobs), "first come, first served")
		for _, name := range names {
			restart(name, balanced())
		}
		require.ElementsMatch(t, []int{10, 10, 9}, slices.Collect(maps.Values(s.spread(jobs))))
		moves := s.runsOf(jobs) - len(jobs)
		require.LessOrEqual(t, moves, 4*29, "from a to b, from b to c, from c to who stood first, and to its place")
		for _, name := range names {
			restart(name)
		}
		total := 0
		for _, n := range s.spread(jobs) {
			total += n
		}
		require.Equal(t, 29, total)
		for job := range jobs {
			var last time.Time
			for i, r := range s.history(job) {
				if i > 0 {
					require.Equal(t, last, r.start, "%s was never without a runner", job)
				}
				last = r.end
			}
		}
	})
}

// Of two versions that one is the newer whose first node was started last, which
// is the wrong one while some of the nodes still run that a roll-back returns to.
func TestARollBackNeedsAVersionOfItsOwn(t *testing.T) {
	for version, takes := range map[string]string{"v1": "b", "v1, again": "d"} {
		synctest.Test(t, func(t *testing.T) {
			s, jobs := newService(t), manyJobs(20, untilDone)
			nodes := map[string]*executing{}
			start := func(name, version string) {
				nodes[name] = s.execute(name, jobs, balanced(), distributed.WithVersion(version))
				time.Sleep(settle)
			}
			stop := func(name string) {
				nodes[name].stop(errShutdown)
				require.NoError(t, nodes[name].result())
			}
			start("a", "v1")
			for _, name := range []string{"b", "c", "d"} {
				start(name, "v2")
			}
			stop("d")
			start("d", version)
			before := s.spread(jobs)
			stop("c")
			after := s.spread(jobs)
			require.Equal(t, before[takes]+before["c"], after[takes], "with %q, the jobs of c go to %s: %v, %v", version, takes, before, after)
		})
	}
}

func TestWhatBalancingDoesNotAccept(t *testing.T) {
	work, long := untilDone, strings.Repeat("a", 129)
	for name, tc := range map[string]struct {
		job  distributed.Job
		opts []distributed.ProcessorOption
		says string
	}{
		"weight without balancing": {distributed.Job{Name: "x", Work: work, Weight: 2}, nil, `Job.Weight of "x" needs WithLoadBalancing`},
		"prefer without balancing": {distributed.Job{Name: "x", Work: work, Prefer: []string{"a=b"}}, nil, `Job.Prefer of "x" needs WithLoadBalancing`},
		"negative weight":          {distributed.Job{Name: "x", Work: work, Weight: -1}, nil, `Job.Weight of "x" is -1`},
		"too much weight":          {distributed.Job{Name: "x", Work: work, Weight: 1_000_001}, nil, `between 1 and 1000000`},
		"no label":                 {distributed.Job{Name: "x", Work: work, Avoid: []string{"zone"}}, nil, `"zone" is not key=value`},
		"both":                     {distributed.Job{Name: "x", Work: work, Avoid: []string{"a=b"}, Prefer: []string{"a=b"}}, nil, `Job.Prefer and Job.Avoid of "x" both`},
		"too many":                 {distributed.Job{Name: "x", Work: work, Avoid: make([]string, 17)}, nil, `at most 16`},
		"no moves":                 {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{balanced(distributed.WithMaxMoves(0))}, `WithMaxMoves(0)`},
		"negative settle time":     {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{balanced(distributed.WithSettleTime(-1))}, `WithSettleTime(-1ns)`},
		"negative gather time":     {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{balanced(distributed.WithGatherTime(-1))}, `WithGatherTime(-1ns)`},
		"version":                  {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithVersion("\n")}, `WithVersion`},
		"label":                    {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithLabels(map[string]string{"": "x"})}, `WithLabels key is empty`},
		"label with =":             {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithLabels(map[string]string{"a=b": "c"})}, `WithLabels key "a=b" contains "="`},
		"label with a space":       {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithLabels(map[string]string{"zone ": "1"})}, `WithLabels key "zone " begins or ends with a space`},
		"label is a space":         {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithLabels(map[string]string{" ": "1"})}, `WithLabels key " " begins or ends with a space`},
		"long label":               {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithLabels(map[string]string{long: "1"})}, `has 129 bytes, at most 128`},
		"prefer with a space":      {distributed.Job{Name: "x", Work: work, Prefer: []string{" zone=1"}}, nil, `Job.Prefer of "x": label key " zone" begins or ends with a space`},
		"prefer with a long key":   {distributed.Job{Name: "x", Work: work, Prefer: []string{long + "=1"}}, nil, `has 129 bytes, at most 128`},
		"prefer without a key":     {distributed.Job{Name: "x", Work: work, Prefer: []string{"=1"}}, nil, `Job.Prefer of "x": label key is empty`},
		"prefer twice":             {distributed.Job{Name: "x", Work: work, Prefer: []string{"a=b", "c=d", "a=b"}}, nil, `Job.Prefer of "x" has label "a=b" twice`},
		"avoid twice":              {distributed.Job{Name: "x", Work: work, Avoid: []string{"a=b", "a=b"}}, nil, `Job.Avoid of "x" has label "a=b" twice`},
		"much metadata":            {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithMetadata(metadata(17, strings.Repeat(`"`, 1000)))}, `WithMetadata: more than 16384 bytes in all`},
		"metadata":                 {distributed.Job{Name: "x", Work: work}, []distributed.ProcessorOption{distributed.WithMetadata(map[string]string{"a": "\x00"})}, `WithMetadata["a"]`},
	} {
		t.Run(name, func(t *testing.T) {
			hub := new(distributed.MemoryHub)
			p := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewMemoryLeaseProvider(hub), []distributed.Job{tc.job}, tc.opts...)
			err := p.Execute(t.Context())
			require.ErrorIs(t, err, distributed.ErrInvalidConfig)
			require.ErrorContains(t, err, tc.says)
			require.Zero(t, hub.Writes())
		})
	}
	p := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewMemoryLeaseProvider(nil), nil)
	require.ErrorIs(t, p.Drain(t.Context()), distributed.ErrInvalidConfig)
	require.ErrorIs(t, p.Undrain(), distributed.ErrInvalidConfig)
}

// Whatever WithLabels accepts, Prefer can name.
func TestPreferNamesAnyLabel(t *testing.T) {
	for label, labels := range map[string]map[string]string{
		"a=b=c": {"a": "b=c"},
		"a=":    {"a": ""},
		"a= b ": {"a": " b "},
		strings.Repeat("k", 128) + "=" + strings.Repeat("v", 128): {strings.Repeat("k", 128): strings.Repeat("v", 128)},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			x := s.job("a", "x", untilDone)
			x.Prefer = []string{label}
			start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{x}, balanced()))
			require.Equal(t, "a", s.runner("x"))
			x.Work = s.job("b", "x", untilDone).Work
			start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "b", s.provider(), []distributed.Job{x}, balanced(), distributed.WithLabels(labels)))
			time.Sleep(time.Minute)
			require.Equal(t, "b", s.runner("x"))
		})
	}
}

// wrapped is a lease that somebody has put something of their own around.
type wrapped struct{ distributed.Lease }

func TestBalancingWorksWithAProviderThatIsWrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var jobs []distributed.Job
		for name, work := range manyJobs(4, untilDone) {
			jobs = append(jobs, s.job("a", name, work))
		}
		provider := acquire(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
			l, err := s.provider().AcquireLease(ctx, req)
			return wrapped{l}, err
		})
		start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", provider, jobs, balanced()))
		s.execute("b", manyJobs(4, untilDone), balanced())
		time.Sleep(time.Minute)
		running := map[string]int{}
		for name := range manyJobs(4, untilDone) {
			running[s.runner(name)]++
		}
		require.Equal(t, map[string]int{"a": 2, "b": 2}, running)
	})
}

func TestStoppingWhileTheStoreIsAwayTakesSixSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(3, untilDone)
		s.ttl = time.Minute // longer than all that it waits for
		a := s.execute("a", jobs, balanced())
		s.hub.Refuse("", errAway)
		began := time.Now()
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.LessOrEqual(t, time.Since(began), 6*time.Second)
	})
}

func metadata(entries int, value string) map[string]string {
	m := map[string]string{}
	for i := range entries {
		m[fmt.Sprint(i)] = value
	}
	return m
}

// A quote takes two bytes in a document: no text takes more.
func TestAsMuchMetadataAsIsAllowedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone}, balanced(), distributed.WithMetadata(metadata(16, strings.Repeat(`"`, 1000))))
		time.Sleep(settle)
		require.Equal(t, "a", s.runner("x"))
	})
}

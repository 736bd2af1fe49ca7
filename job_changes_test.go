package distributed_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func names(p *distributed.LeadershipBasedJobProcessor) (all []string) {
	for _, j := range p.Jobs() {
		all = append(all, j.Name)
	}
	return all
}

func TestARemovedJobHasStoppedAndIsReleasedWhenRemoveJobReturns(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{
		"without balancing": nil, "with balancing": {distributed.WithLoadBalancing()}, "with a quota": {distributed.WithJobQuota(2)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				a := s.execute("a", works{"x": stopsAfter(time.Second), "y": untilDone}, opts...)
				time.Sleep(time.Minute)
				begin := time.Now()
				require.NoError(t, a.RemoveJob(t.Context(), "x"))
				require.Equal(t, time.Second, time.Since(begin))
				require.Equal(t, distributed.ErrJobRemoved, s.last("x").cause)
				require.Empty(t, s.hub.Candidates("app", "x"))
				require.Equal(t, []string{"y"}, names(a.LeadershipBasedJobProcessor))
				for _, n := range s.observe("app").View().Nodes {
					require.LessOrEqual(t, len(n.Jobs), 1, "announced")
				}
				err := a.RemoveJob(t.Context(), "x")
				require.ErrorIs(t, err, distributed.ErrUnknown)
				require.Len(t, s.history("y"), 1, "nobody else is concerned")

				require.NoError(t, a.AddJob(s.job("a", "x", untilDone)))
				time.Sleep(time.Minute)
				require.Equal(t, "a", s.runner("x"), "the name can be used again")
				a.stop(errShutdown)
				require.NoError(t, a.result())
			})
		})
	}
}

func TestARemovedJobGoesToTheOthersThatHaveIt(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{"without balancing": nil, "with balancing": {distributed.WithLoadBalancing()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				w := works{"x": untilDone}
				a := s.execute("a", w, opts...)
				time.Sleep(time.Minute)
				s.execute("b", w, opts...)
				time.Sleep(time.Minute)
				require.Equal(t, "a", s.runner("x"))
				require.NoError(t, a.RemoveJob(t.Context(), "x"))
				runs := s.history("x")
				require.Equal(t, "b", s.runner("x"))
				require.Equal(t, runs[0].end, runs[1].start)
				require.Equal(t, []string{"b"}, s.hub.Candidates("app", "x"))
				require.Empty(t, a.Jobs())
				require.False(t, a.returned(), "it goes on without jobs")
			})
		})
	}
}

func TestAJobCanBeRemovedWhateverItDoes(t *testing.T) {
	for name, prepare := range map[string]func(s *service) *executing{
		"it waits in the queue": func(s *service) *executing {
			s.execute("b", works{"x": untilDone})
			return s.execute("a", works{"x": untilDone})
		},
		"it pauses after a failure": func(s *service) *executing {
			a := s.execute("a", works{"x": func(context.Context) error { return errBroken }})
			time.Sleep(time.Minute)
			return a
		},
		"it is done": func(s *service) *executing {
			return s.execute("a", works{"x": func(context.Context) error { return distributed.ErrDone }})
		},
		"its start is delayed": func(s *service) *executing {
			return s.execute("a", works{"x": untilDone}, distributed.WithStartDelay(func(string) time.Duration { return time.Hour }))
		},
		"it waits for a slot": func(s *service) *executing {
			return s.execute("a", works{"x": untilDone, "y": untilDone, "z": untilDone}, distributed.WithJobQuota(1))
		},
		"the store is away": func(s *service) *executing {
			s.hub.Refuse("a", errAway)
			return s.execute("a", works{"x": untilDone})
		},
		"Execute was not called": func(s *service) *executing {
			return &executing{LeadershipBasedJobProcessor: distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{s.job("a", "x", untilDone)})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				a := prepare(s)
				var all sync.WaitGroup
				for range 2 { // at once
					all.Go(func() {
						if err := a.RemoveJob(t.Context(), "x"); err != nil {
							require.ErrorIs(t, err, distributed.ErrUnknown)
						}
					})
				}
				all.Wait()
				require.NotContains(t, names(a.LeadershipBasedJobProcessor), "x")
				synctest.Wait()
				require.NotContains(t, s.hub.Candidates("app", "x"), "a")
				time.Sleep(time.Hour)
				require.NotEqual(t, "a", s.runner("x"))
			})
		})
	}
}

func TestRemoveJobEndsWithItsContextAndTheJobEndsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": stopsAfter(time.Minute)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.RemoveJob(ctx, "x"), context.DeadlineExceeded)
		require.Equal(t, "a", s.runner("x"))
		require.ErrorIs(t, a.AddJob(s.job("a", "x", untilDone)), distributed.ErrJobExists, "while it stops")
		time.Sleep(time.Minute)
		require.Empty(t, s.runner("x"))
		require.Empty(t, a.Status().Jobs)
	})
}

// Nothing has been told of the job, so there is nothing to wait for.
func TestAJobCanBeRemovedOfANodeThatHasToldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), nil, distributed.WithLoadBalancing())
		for i := range 20 {
			require.NoError(t, p.AddJob(s.job("a", fmt.Sprint(i), untilDone)))
		}
		require.NoError(t, p.UpdateJob(distributed.Job{Name: "0", Weight: 2}))
		require.NoError(t, p.RemoveJob(t.Context(), "1"))
		s.hub.Refuse("a", errAway)
		a := start(t, t.Context(), p)
		time.Sleep(time.Minute)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		for i := range 18 {
			require.NoError(t, p.RemoveJob(t.Context(), fmt.Sprint(i+2)))
		}
	})
}

func TestRemoveJobReturnsWhenExecuteDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": stopsAfter(time.Minute)}, distributed.WithLoadBalancing())
		removed := make(chan error, 1)
		go func() { removed <- a.RemoveJob(t.Context(), "x") }()
		synctest.Wait()
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.NoError(t, <-removed)
	})
}

// A Work that is stuck elsewhere on the node is not that of the job.
func TestAJobIsRemovedThoughExecuteReturnsAtThatMoment(t *testing.T) {
	for range 40 {
		synctest.Test(t, func(t *testing.T) {
			s, free, last := newService(t), make(chan struct{}), make(chan struct{})
			defer close(free)
			a := s.execute("a", works{"stuck": hangs(free), "x": hangs(last)}, distributed.WithStuck(time.Minute, distributed.ReturnStuck))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.ErrorIs(t, a.RemoveJob(ctx, "stuck"), context.DeadlineExceeded)
			removed := make(chan error, 1)
			go func() { removed <- a.RemoveJob(t.Context(), "x") }()
			synctest.Wait()
			close(last)
			require.ErrorIs(t, a.result(), distributed.ErrStuck)
			require.NoError(t, <-removed)
		})
	}
}

func TestAnUpdatedJobRunsOnAndIsPlacedByWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		w := works{"x": untilDone, "y": untilDone}
		a := s.execute("a", w, distributed.WithLoadBalancing(), distributed.WithLabels(map[string]string{"disk": "hdd"}))
		b := s.execute("b", w, distributed.WithLoadBalancing(), distributed.WithLabels(map[string]string{"disk": "ssd"}))
		time.Sleep(time.Minute)
		x, y := s.history("x"), s.history("y")
		for _, n := range []*executing{a, b} {
			require.NoError(t, n.UpdateJob(distributed.Job{Name: "x", Weight: 7, Prefer: []string{"disk=" + map[string]string{"a": "hdd", "b": "ssd"}[s.runner("x")]}}))
		}
		time.Sleep(time.Minute)
		require.Equal(t, x, s.history("x"), "not restarted")
		require.Equal(t, y, s.history("y"))
		require.Equal(t, 7, a.Jobs()[0].Weight)
		for _, n := range s.observe("app").View().Nodes {
			require.Equal(t, 7, n.Jobs[0].Weight)
		}
		other := "disk=" + map[string]string{"b": "hdd", "a": "ssd"}[s.runner("x")]
		for _, n := range []*executing{a, b} {
			require.NoError(t, n.UpdateJob(distributed.Job{Name: "x", Prefer: []string{other}}))
		}
		time.Sleep(time.Minute)
		require.Len(t, s.history("x"), len(x)+1, "it suits the other node better")

		require.ErrorIs(t, a.UpdateJob(distributed.Job{Name: "z"}), distributed.ErrUnknown)
		err := a.UpdateJob(distributed.Job{Name: "x", Weight: -1})
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, "Weight")
	})
}

func TestAJobThatOnlySomeNodesHaveIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"all": untilDone, "some": untilDone}, distributed.WithLoadBalancing())
		require.Empty(t, s.observe("app").View().Partial())
		b := s.execute("b", works{"all": untilDone}, distributed.WithLoadBalancing())
		c := s.execute("c", works{"all": untilDone, "some": untilDone}, distributed.WithLoadBalancing())
		s.execute("d", works{"all": untilDone}) // of which nobody knows
		time.Sleep(time.Second)
		want := []distributed.PartialJob{{Job: "some", Has: []string{"a", "c"}, Lacks: []string{"b"}}}
		require.Equal(t, want, s.observe("app").View().Partial())
		require.Equal(t, []string{"b"}, jobIn(a.Status(), "some").Lacks)
		require.Empty(t, jobIn(b.Status(), "all").Lacks)
		require.NoError(t, a.RemoveJob(t.Context(), "some"))
		require.NoError(t, c.RemoveJob(t.Context(), "some"))
		time.Sleep(time.Second)
		require.Empty(t, s.observe("app").View().Partial())
		require.NoError(t, b.UpdateJob(distributed.Job{Name: "all", Weight: 2}))
	})
}

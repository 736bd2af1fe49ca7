package distributed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

var ann = distributed.Note{By: "ann", Why: "the ledger is repaired"}

// operator returns one of the service's app, which is closed at the end.
func (s *service) operator() *distributed.Operator {
	o, err := distributed.NewOperator(s.t.Context(), "app", s.provider())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, o.Close()) })
	return o
}

// order gives an order, and returns when all that follows at once has happened.
func (s *service) order(err error) {
	s.t.Helper()
	require.NoError(s.t, err)
	synctest.Wait()
}

func balancedAtOnce() distributed.ProcessorOption {
	return distributed.WithLoadBalancing(distributed.WithSettleTime(0))
}

func stateOf(n *executing, job string) distributed.JobStatus {
	for _, j := range n.Status().Jobs {
		if j.Name == job {
			return j
		}
	}
	return distributed.JobStatus{}
}

func TestAPausedJobRunsNowhereUntilItIsResumed(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{"plain": nil, "balanced": {balancedAtOnce()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, jobs := newService(t), works{"x": untilDone, "y": untilDone}
				a := s.execute("a", jobs, opts...)
				s.execute("b", jobs, opts...)
				o := s.operator()
				time.Sleep(time.Minute)
				synctest.Wait()
				started := time.Now()
				s.order(o.Pause(t.Context(), "x", ann))
				require.Empty(t, s.runner("x"))
				require.NotEmpty(t, s.runner("y"), "others go on")
				require.ErrorIs(t, s.last("x").cause, distributed.ErrPaused)
				require.ErrorContains(t, s.last("x").cause, "x is paused by ann: the ledger is repaired")
				require.Equal(t, started, s.last("x").end, "one event")
				require.Equal(t, distributed.JobPaused, stateOf(a, "x").State)
				require.ErrorContains(t, stateOf(a, "x").Cause, "ann")
				view, ok := a.View()
				require.True(t, ok)
				require.Len(t, view.Orders, 1)
				require.ErrorIs(t, o.Pause(t.Context(), "x", ann), distributed.ErrOrdered)
				if len(opts) > 0 {
					e, ok := view.Explain("x")
					require.True(t, ok)
					require.Equal(t, "x is paused by ann: the ledger is repaired", e.Reason)
					require.Empty(t, view.Plan().Homeless)
				}

				c := s.execute("c", jobs, opts...) // it survives restarts of everything
				a.stop(nil)
				time.Sleep(time.Minute)
				require.Empty(t, s.runner("x"))
				require.Equal(t, distributed.JobPaused, stateOf(c, "x").State)

				s.order(o.Resume(t.Context(), "x"))
				time.Sleep(time.Minute)
				require.NotEmpty(t, s.runner("x"))
				require.Len(t, s.history("x"), 2)
				require.ErrorIs(t, o.Resume(t.Context(), "x"), distributed.ErrNotOrdered)
			})
		})
	}
}

func TestAllJobsArePausedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), works{"x": untilDone, "y": untilDone}
		s.execute("a", jobs, balancedAtOnce())
		o := s.operator()
		s.order(o.PauseAll(t.Context(), ann))
		require.Empty(t, s.runner("x"))
		require.Empty(t, s.runner("y"))
		s.order(o.Pause(t.Context(), "x", ann))
		s.order(o.ResumeAll(t.Context()))
		time.Sleep(time.Minute)
		require.Empty(t, s.runner("x"), "it is paused by itself")
		require.Equal(t, "a", s.runner("y"))
		s.order(o.Resume(t.Context(), "x"))
		time.Sleep(time.Minute)
		require.Equal(t, "a", s.runner("x"))
	})
}

func TestResignLetsTheNextLeadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), works{"x": untilDone}
		s.execute("a", jobs)
		s.execute("b", jobs)
		o := s.operator()
		time.Sleep(time.Minute)
		for _, next := range []string{"b", "a", "b"} {
			s.order(o.Resign(t.Context(), "x", ann))
			require.Equal(t, next, s.runner("x"))
			time.Sleep(time.Minute)
			require.Equal(t, next, s.runner("x"), "once")
		}
		require.Len(t, s.history("x"), 4)
		require.Empty(t, o.Orders(), "what has been carried out is no order any more")
		require.Empty(t, s.view().Orders)
		require.Equal(t, 1, s.orderDocuments(), "it is swept away by the next")
		for _, n := range s.view().Nodes {
			require.Zero(t, n.Started, "there was nothing to tell")
		}
		s.order(o.Resign(t.Context(), "x", ann))
		s.order(o.Pause(t.Context(), "x", ann))
		require.Len(t, s.view().Orders, 1, "nobody campaigns for it any more")
	})
}

// orderDocuments returns how many documents of orders there are.
func (s *service) orderDocuments() (n int) {
	ctx, cancel := context.WithCancel(s.t.Context())
	_ = s.hub.Open("reader").Follow(ctx, "app/orders/", func(step distributed.Step) { n = len(step.Documents); cancel() })
	return n
}

// Nobody campaigns meanwhile, and so nothing but the orders makes it want a lease.
func TestANodeThatLosesItsLeaseWhileAllIsPausedHearsOfResume(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{
		"plain": nil, "delayed": {distributed.WithStartDelay(func(string) time.Duration { return time.Second })},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				s.execute("other", works{"y": untilDone}, balancedAtOnce())
				o := s.operator()
				s.order(o.PauseAll(t.Context(), ann))
				s.execute("a", works{"x": untilDone}, opts...)
				time.Sleep(time.Minute)
				require.Empty(t, s.runner("x"))
				s.hub.Expire("a")
				time.Sleep(time.Minute)
				s.order(o.ResumeAll(t.Context()))
				time.Sleep(time.Minute)
				require.Equal(t, "a", s.runner("x"))
			})
		})
	}
}

// Without balancing, nobody campaigns for a job that an order is against.
func TestJobsThatOrdersBarStayKnown(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{
		"plain": nil, "described": {distributed.WithVersion("v1")}, "balanced": {balancedAtOnce()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, jobs := newService(t), works{"x": untilDone, "y": untilDone}
				a := s.execute("a", jobs, opts...)
				s.execute("b", jobs, opts...)
				o := s.operator()
				why := func(job string) string {
					t.Helper()
					time.Sleep(time.Minute)
					e, ok := s.view().Explain(job)
					require.True(t, ok, job)
					return e.Reason
				}
				s.order(o.PauseAll(t.Context(), ann))
				require.Equal(t, "all jobs are paused by ann: the ledger is repaired", why("x"))
				s.order(o.Pause(t.Context(), "x", ann))
				require.NoError(t, a.AddJob(s.job("a", "z", untilDone)))
				require.Contains(t, why("z"), "all jobs are paused")
				s.hub.Expire("a")
				require.Contains(t, why("z"), "all jobs are paused", "it says so under its next lease, too")
				require.NoError(t, a.RemoveJob(t.Context(), "z"))
				time.Sleep(time.Minute)
				require.ErrorIs(t, o.Pause(t.Context(), "z", ann), distributed.ErrUnknown)
				s.order(o.ResumeAll(t.Context()))
				require.Equal(t, "x is paused by ann: the ledger is repaired", why("x"))
				s.order(o.Resume(t.Context(), "x"))
				time.Sleep(time.Minute)
				require.NotEmpty(t, s.runner("x"))

				s.order(o.Drain(t.Context(), "a", ann))
				s.order(o.Drain(t.Context(), "b", ann))
				if name != "balanced" {
					drained := why("x")
					require.Contains(t, drained, "a is drained by ann: the ledger is repaired")
					require.Contains(t, drained, "; ")
					require.Contains(t, drained, "b is drained by ann")
				}
				s.order(o.Pause(t.Context(), "x", ann))
				s.order(o.Resume(t.Context(), "x"))
				s.order(o.Undrain(t.Context(), "a"))
				s.order(o.Undrain(t.Context(), "b"))
				time.Sleep(time.Minute)
				require.NotEmpty(t, s.runner("x"))
				for _, n := range s.view().Nodes {
					require.Empty(t, n.Barred)
				}
			})
		})
	}
}

func TestExplainSaysWhoLeadsAJobThatIsNotBalanced(t *testing.T) {
	view := &distributed.View{
		Nodes: []distributed.NodeView{{ID: "1", Instance: "a"}, {ID: "2", Instance: "b"}, {ID: "3", Instance: "c", NodeInfo: distributed.NodeInfo{Jobs: []distributed.JobInfo{}}}},
		Jobs: []distributed.JobView{
			{Name: "x", Led: true, Queue: []distributed.CandidateView{{Node: "2", Token: 1}, {Node: "1", Token: 2}}},
			{Name: "y", Queue: []distributed.CandidateView{{Node: "1", Token: 3}}},
		},
		Records: []distributed.JobRecord{{Job: "d", Done: true}, {Job: "f", Failures: 2, Error: "no paper"}},
	}
	for job, want := range map[string]distributed.Explanation{
		"x": {Job: "x", Runs: "b", Belongs: "b", Standby: "a", Reason: "its nodes do not balance, and the first to claim it leads"},
		"y": {Job: "y", Belongs: "a", Reason: "its nodes do not balance, and the first to claim it leads"},
		"d": {Job: "d", Reason: "it is done, for good"},
		"f": {Job: "f", Reason: "no node campaigns for it; it failed 2 times, at last: no paper"},
	} {
		e, ok := view.Explain(job)
		require.True(t, ok, job)
		require.Equal(t, want, e)
	}
	_, ok := view.Explain("nothing")
	require.False(t, ok)
}

func TestADrainedInstanceHasNoJobs(t *testing.T) {
	for name, opts := range map[string][]distributed.ProcessorOption{"plain": nil, "balanced": {balancedAtOnce()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, jobs := newService(t), works{"x": untilDone, "y": untilDone}
				a := s.execute("a", jobs, opts...)
				s.execute("b", jobs, opts...)
				o := s.operator()
				time.Sleep(time.Minute)
				s.order(o.Drain(t.Context(), "a", ann))
				time.Sleep(time.Minute)
				require.Equal(t, "b", s.runner("x"))
				require.Equal(t, "b", s.runner("y"))
				require.True(t, a.Status().Draining)
				a.stop(nil)
				a = s.execute("a", jobs, opts...) // the next process of that name
				time.Sleep(time.Minute)
				require.Equal(t, "b", s.runner("x"))
				require.True(t, a.Status().Draining)
				s.order(o.Undrain(t.Context(), "a"))
				require.False(t, a.Status().Draining)
			})
		})
	}
}

func TestAMovedJobStaysWhereItIsUntilThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), works{"w": untilDone, "x": untilDone, "y": untilDone, "z": untilDone}
		nodes := map[string]*executing{}
		for _, name := range []string{"a", "b"} {
			nodes[name] = s.execute(name, jobs, balancedAtOnce())
		}
		o := s.operator()
		time.Sleep(time.Minute)
		from := s.runner("x")
		to := map[string]string{"a": "b", "b": "a"}[from]
		s.order(o.Move(t.Context(), "x", to, ann))
		time.Sleep(time.Minute)
		require.Equal(t, to, s.runner("x"))
		require.Equal(t, 2, s.running[to], "others make up for it")
		view, _ := nodes[from].View()
		e, _ := view.Explain("x")
		require.Equal(t, "x is moved to "+to+" by ann: the ledger is repaired", e.Reason)

		nodes[to].stop(nil)
		synctest.Wait()
		require.Equal(t, from, s.runner("x"))
		require.Empty(t, s.view().Orders, "it is over")
		s.execute(to, jobs, balancedAtOnce())
		time.Sleep(time.Minute)
		require.Len(t, s.history("x"), 3+map[bool]int{true: 0, false: 1}[s.runner("x") == from])
		require.NoError(t, o.Pin(t.Context(), "x", from, ann), "a pin replaces a move")
	})
}

func TestAPinnedJobReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), works{"x": untilDone, "y": untilDone}
		s.execute("a", jobs, balancedAtOnce())
		b := s.execute("b", jobs, balancedAtOnce())
		o := s.operator()
		time.Sleep(time.Minute)
		s.order(o.Pin(t.Context(), "x", "b", ann))
		s.order(o.Pin(t.Context(), "y", "b", ann))
		time.Sleep(time.Minute)
		require.Equal(t, "b", s.runner("x"))
		require.Equal(t, "b", s.runner("y"))
		require.ErrorIs(t, o.Move(t.Context(), "x", "a", ann), distributed.ErrOrdered)
		require.ErrorIs(t, o.Pin(t.Context(), "x", "a", ann), distributed.ErrOrdered)
		b.stop(nil)
		synctest.Wait()
		require.Equal(t, "a", s.runner("x"))
		view := s.view()
		e, _ := view.Explain("x")
		require.Contains(t, e.Reason, "x is pinned to b by ann: the ledger is repaired, but that cannot take it")
		s.execute("b", jobs, balancedAtOnce())
		time.Sleep(time.Minute)
		require.Equal(t, "b", s.runner("x"))
		s.order(o.Unpin(t.Context(), "x"))
		s.order(o.Unpin(t.Context(), "y"))
		time.Sleep(time.Minute)
		require.NotEqual(t, s.runner("x"), s.runner("y"), "they are spread again")
	})
}

func TestWhatCannotBeOrderedSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := newService(t), t.Context()
		o := s.operator()
		require.ErrorIs(t, o.Pause(ctx, "x", ann), distributed.ErrUnknown, "no node")
		require.ErrorIs(t, o.Drain(ctx, "a", ann), distributed.ErrUnknown)
		s.execute("a", works{"x": untilDone})
		s.execute("b", works{"y": untilDone}, balancedAtOnce())
		for want, err := range map[string]error{
			`no node has the job "nope"`:       o.Pause(ctx, "nope", ann),
			`there is no instance "c"`:         o.Drain(ctx, "c", ann),
			"a runs without WithLoadBalancing": o.Move(ctx, "x", "a", ann),
			`b does not have the job "x"`:      o.Pin(ctx, "x", "b", ann),
			"Note.By is empty":                 o.Pause(ctx, "x", distributed.Note{}),
			"Note.Why":                         o.Pause(ctx, "x", distributed.Note{By: "ann", Why: "\x00"}),
			"Job.Name is empty":                o.Pause(ctx, "", ann),
			"instance name is empty":           o.Drain(ctx, "", ann),
			"x is not paused by itself":        o.Resume(ctx, "x"),
			"the app is not paused":            o.ResumeAll(ctx),
			"a is not drained":                 o.Undrain(ctx, "a"),
			"x is not pinned or moved":         o.Unpin(ctx, "x"),
		} {
			known := errors.Is(err, distributed.ErrUnknown) || errors.Is(err, distributed.ErrNotOrdered) || errors.Is(err, distributed.ErrInvalidConfig)
			require.True(t, known, err)
			require.ErrorContains(t, err, want)
		}
		require.NotContains(t, o.Move(ctx, "x", "a", ann).Error(), "unknown", "it is there")
		require.Empty(t, o.Orders())

		_, err := distributed.NewOperator(ctx, "a/b", s.provider())
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		_, err = distributed.NewOperator(ctx, "app", nil)
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	})
}

func TestOfTwoOperatorsAtOnceOneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone}, balancedAtOnce())
		s.execute("b", works{"x": untilDone}, balancedAtOnce())
		s.hub.SetDelay(10 * time.Millisecond)
		for round := range 20 {
			operators := []*distributed.Operator{s.operator(), s.operator()}
			var errs [2]error
			var both sync.WaitGroup
			for i, o := range operators {
				both.Go(func() { errs[i] = o.Pause(t.Context(), "x", distributed.Note{By: fmt.Sprint("operator-", i)}) })
			}
			both.Wait()
			require.ErrorIs(t, errors.Join(errs[:]...), distributed.ErrOrdered, "round %d", round)
			require.NotEqual(t, errs[0] == nil, errs[1] == nil)
			require.NoError(t, operators[1].Resume(t.Context(), "x"))
		}
	})
}

func TestAnOrderOfAnOperatorThatDiesIsCarriedOutOrNotGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone})
		o := s.operator()
		s.hub.SetDelay(900 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // it has read, and is writing
		defer cancel()
		require.Error(t, o.Pause(ctx, "x", ann))
		s.hub.SetDelay(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(s.operator().Orders()) == 0 {
			require.Equal(t, "a", s.runner("x"))
		} else {
			require.Empty(t, s.runner("x"))
		}
	})
}

func TestOrdersMeetAJobThatStopsAndANodeThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		goOn := make(chan struct{})
		slow := func(ctx context.Context) error { <-ctx.Done(); <-goOn; return nil }
		a := s.execute("a", works{"x": slow})
		o := s.operator()
		s.order(o.Pause(t.Context(), "x", ann))
		require.Equal(t, "a", s.runner("x"), "it stops")
		require.Equal(t, distributed.JobStopping, stateOf(a, "x").State)
		s.order(o.Resume(t.Context(), "x"))
		s.execute("b", works{"x": untilDone})
		require.Equal(t, "a", s.runner("x"))
		close(goOn)
		synctest.Wait()
		require.NotEmpty(t, s.runner("x"))

		s.order(o.Resign(t.Context(), "x", ann))
		s.hub.Expire("a")
		s.hub.Expire("b")
		time.Sleep(time.Minute)
		require.NotEmpty(t, s.runner("x"), "they acquire other leases")
		s.order(o.Pause(t.Context(), "x", ann))
		s.hub.Expire("a")
		time.Sleep(time.Minute)
		require.Empty(t, s.runner("x"))
		require.Equal(t, distributed.JobPaused, stateOf(a, "x").State)
		s.order(o.Resume(t.Context(), "x"))
		require.NotEmpty(t, s.runner("x"))
	})
}

func TestAnOrderOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": untilDone, "y": untilDone})
		o := s.operator()
		store := s.hub.Open("other")
		write := func(key, value string) int64 {
			rev, err := store.Put(t.Context(), "app/orders/"+key, []byte(value), 0)
			require.NoError(t, err)
			synctest.Wait()
			return rev
		}
		write("pause/y", "nonsense")
		require.Equal(t, "a", s.runner("y"), "what cannot be read is no order")
		write("pause/x", `{"v":2,"sum":"0123456789abcdef","new":true}`)
		require.Empty(t, s.runner("x"), "a newer pause is obeyed, whatever it says")
		write("unknown/x", `{"v":2,"sum":"0123456789abcdef","new":true}`)
		require.Len(t, o.Orders(), 1)
		require.NoError(t, o.Pause(t.Context(), "y", ann), "it replaces what cannot be read")
		require.NoError(t, o.Resume(t.Context(), "x"))
		synctest.Wait()
		require.Equal(t, "a", s.runner("x"))
		require.Empty(t, s.runner("y"))
	})
}

func TestOrdersGoThroughJSON(t *testing.T) {
	at := time.UnixMilli(1790000000000).UTC()
	was := distributed.Order{Kind: distributed.OrderPin, Job: "x", Instance: "a", By: "ann", Why: "so", At: at}
	b, err := json.Marshal(was)
	require.NoError(t, err)
	var is distributed.Order
	require.NoError(t, json.Unmarshal(b, &is))
	require.Equal(t, was, is)
	require.Equal(t, "x is pinned to a by ann: so", is.String())
}

// view is what an observer sees.
func (s *service) view() *distributed.View {
	o, err := distributed.Observe(s.t.Context(), "app", s.provider())
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, o.Close()) }()
	return o.View()
}

func TestForgetLetsADoneJobRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.execute("a", works{"x": func(context.Context) error { return distributed.ErrDone }})
		o := s.operator()
		time.Sleep(time.Minute)
		require.Len(t, s.history("x"), 1)
		s.order(o.Forget(t.Context(), "x"))
		time.Sleep(time.Minute)
		require.Len(t, s.history("x"), 2)
		require.ErrorIs(t, o.Forget(t.Context(), "y"), distributed.ErrUnknown)
		require.ErrorIs(t, o.Forget(t.Context(), ""), distributed.ErrInvalidConfig)
	})
}

// TestRandomOrdersKeepJobsApart gives orders at random while nodes come and go, lose
// their leases, and are cut off. The service notices a job that runs twice at once.
func TestRandomOrdersKeepJobsApart(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 7))
				s, jobs := newService(t), works{}
				names := []string{"u", "v", "w", "x", "y", "z"}
				for _, name := range names {
					jobs[name] = stopsAfter(time.Duration(r.IntN(1000)) * time.Millisecond)
				}
				var opts []distributed.ProcessorOption
				if seed%2 == 0 {
					opts = append(opts, balancedAtOnce())
				}
				nodes := map[string]*executing{}
				for _, name := range []string{"a", "b", "c"} {
					nodes[name] = s.execute(name, jobs, opts...)
				}
				operators := []*distributed.Operator{s.operator(), s.operator()}
				for range 150 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
					job, node := names[r.IntN(len(names))], []string{"a", "b", "c"}[r.IntN(3)]
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(2000))*time.Millisecond)
					o := operators[r.IntN(2)]
					switch r.IntN(14) {
					case 0:
						nodes[node].stop(nil)
						s.hub.SetDelay(0)
						_ = nodes[node].result()
						nodes[node] = s.execute(node, jobs, opts...)
					case 1:
						s.hub.Expire(node)
					case 2:
						s.hub.SetDelay(time.Duration(r.IntN(300)) * time.Millisecond)
					case 3, 4:
						_ = o.Pause(ctx, job, ann)
					case 5, 6:
						_ = o.Resume(ctx, job)
					case 7:
						_ = o.Drain(ctx, node, ann)
					case 8:
						_ = o.Undrain(ctx, node)
					case 9:
						_ = o.Move(ctx, job, node, ann)
					case 10:
						_ = o.Pin(ctx, job, node, ann)
					case 11:
						_ = o.Unpin(ctx, job)
					case 12:
						_ = o.Resign(ctx, job, ann)
					case 13:
						_ = o.PauseAll(ctx, ann)
						_ = o.ResumeAll(t.Context())
					}
					cancel()
				}
				s.hub.SetDelay(0)
				time.Sleep(time.Minute)
				for _, order := range operators[0].Orders() {
					switch order.Kind {
					case distributed.OrderPause:
						require.NoError(t, operators[0].Resume(t.Context(), order.Job))
					case distributed.OrderDrain:
						require.NoError(t, operators[0].Undrain(t.Context(), order.Instance))
					case distributed.OrderMove, distributed.OrderPin:
						require.NoError(t, operators[0].Unpin(t.Context(), order.Job))
					}
				}
				time.Sleep(5 * time.Minute)
				for _, name := range names {
					require.NotEmpty(t, s.runner(name), "%s runs again, as nothing is against it", name)
				}
			})
		})
	}
}

// refusingStore answers all that is to be written with an error.
type refusingStore struct {
	distributed.Store
	err error
}

func (s refusingStore) Put(context.Context, string, []byte, int64) (int64, error) { return 0, s.err }

func TestAnOrderThatTheStoreRefusesIsNotSaidToBeGivenPerhaps(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{fmt.Errorf("%w: no permission", distributed.ErrRefused), "not ordered"},
		{errors.New("the connection broke"), "the order may have been given all the same"},
	} {
		hub := new(distributed.MemoryHub)
		provider := distributed.NewLeaseProvider(func(_ context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
			return refusingStore{hub.Open(req.Instance), c.err}, nil
		})
		o, err := distributed.NewOperator(t.Context(), "app", provider)
		require.NoError(t, err)
		err = o.PauseAll(t.Context(), distributed.Note{By: "ann"})
		require.ErrorIs(t, err, c.err)
		require.ErrorContains(t, err, "distributed: operate: "+c.says+": ")
		require.NoError(t, o.Close())
	}
}

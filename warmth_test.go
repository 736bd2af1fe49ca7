package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// warming are nodes whose jobs warm up.
type warming struct {
	*service
	cold, most atomic.Int32 // jobs that run and are not ready: now, and at most
}

func (w *warming) warmUp(ctx context.Context, d time.Duration) error {
	w.most.Store(max(w.most.Load(), w.cold.Add(1)))
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	w.cold.Add(-1)
	return ctx.Err()
}

func (w *warming) node(instance string, jobs []distributed.Job) *executing {
	n := start(w.t, w.t.Context(), distributed.NewLeadershipBasedJobProcessor("app", instance, w.provider(), jobs, distributed.WithLoadBalancing()))
	synctest.Wait()
	return n
}

// Two nodes with 200 jobs that take 30 s to warm up, and a third one that joins.
func TestNoMoreJobsWarmUpThanMayMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &warming{service: newService(t)}
		list := func(instance string) (jobs []distributed.Job) {
			for i := range 200 {
				job := w.job(instance, fmt.Sprintf("%03d", i), func(ctx context.Context) error {
					if w.warmUp(ctx, 30*time.Second) == nil {
						l, _ := distributed.LeadershipFromContext(ctx)
						l.Ready()
					}
					return untilDone(ctx)
				})
				job.SaysReady = true
				jobs = append(jobs, job)
			}
			return jobs
		}
		a := w.node("a", list("a"))
		w.node("b", list("b"))
		time.Sleep(time.Hour)
		require.Zero(t, w.cold.Load())
		w.most.Store(0)
		c := w.node("c", list("c"))
		o := w.observe("app")
		time.Sleep(20 * time.Second)
		warm := 0
		for _, l := range o.Leaders() {
			if !l.Warming {
				warm++
			}
		}
		require.Equal(t, 190, warm, "as everybody can see")
		time.Sleep(time.Hour)
		require.EqualValues(t, 10, w.most.Load())
		require.InDelta(t, 66, w.mostOn("c"), 1)
		require.False(t, jobIn(c.Status(), o.Leaders()[0].Job).Warming)
		a.stop(nil)
	})
}

func TestAPlannedMoveHandsOverToANodeThatIsPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &warming{service: newService(t)}
		prepared := map[string]*record[time.Time]{"a": {}, "b": {}}
		var most, now atomic.Int32
		list := func(instance string) (jobs []distributed.Job) {
			for i := range 40 {
				job := w.job(instance, fmt.Sprintf("%02d", i), untilDone)
				job.Prepare = func(ctx context.Context) error {
					if instance == "b" {
						most.Store(max(most.Load(), now.Add(1)))
						defer now.Add(-1)
					}
					select {
					case <-time.After(30 * time.Second):
						prepared[instance].add(time.Now())
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				jobs = append(jobs, job)
			}
			return jobs
		}
		a := w.node("a", list("a"))
		time.Sleep(time.Hour)
		joined := time.Now()
		b := w.node("b", list("b"))
		time.Sleep(30*time.Second - 1)
		require.Zero(t, w.mostOn("b"))
		time.Sleep(time.Hour)
		require.Equal(t, 20, w.mostOn("b"))
		require.LessOrEqual(t, most.Load(), int32(10), "on one node at a time")
		for i := range 40 {
			for _, r := range w.history(fmt.Sprintf("%02d", i)) {
				if r.instance == "b" {
					require.GreaterOrEqual(t, r.start.Sub(joined), 30*time.Second)
				}
			}
		}
		require.Len(t, prepared["b"].all(), 40, "what moves here, and what it is the standby of")
		require.Len(t, prepared["a"].all(), 20, "what has left")
		begin := time.Now()
		a.stop(nil)
		require.NoError(t, a.result())
		require.Equal(t, begin, time.Now())
		synctest.Wait()
		require.Equal(t, 40, w.mostOn("b"), "at once")
		b.stop(nil)
		require.NoError(t, b.result())
	})
}

// announcingLate is a lease that takes its time to tell what it is given.
type announcingLate struct{ distributed.Lease }

func (l announcingLate) Announce(ctx context.Context, info distributed.NodeInfo) error {
	time.Sleep(3 * time.Second)
	return l.Lease.Announce(ctx, info)
}

// What a node told before it ran a job says nothing of the next time.
func TestANodeThatHasRunAJobPreparesItAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &warming{service: newService(t)}
		var moves atomic.Int32
		type flags struct{ moved, prepared atomic.Bool }
		jobs := map[string]*flags{"x": {}, "y": {}}
		list := func(instance string, work func(context.Context, *flags) error) (list []distributed.Job) {
			for name, f := range jobs {
				job := w.job(instance, name, func(ctx context.Context) error { return work(ctx, f) })
				job.Prepare = func(context.Context) error {
					time.Sleep(time.Second)
					f.prepared.Store(true)
					return nil
				}
				list = append(list, job)
			}
			return list
		}
		a := w.node("a", list("a", func(ctx context.Context, f *flags) error {
			f.prepared.Store(false)
			<-ctx.Done()
			f.moved.Store(errors.Is(context.Cause(ctx), distributed.ErrMoved))
			return nil
		}))
		time.Sleep(time.Minute)
		late := acquire(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
			l, err := w.provider().AcquireLease(ctx, req)
			return announcingLate{l}, err
		})
		b := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "b", late, list("b", func(_ context.Context, f *flags) error {
			isPrepared := f.prepared.Swap(false)
			if f.moved.Swap(false) {
				require.True(t, isPrepared, "move %d", moves.Add(1))
			}
			return nil
		}), distributed.WithLoadBalancing()))
		time.Sleep(10 * time.Minute)
		require.Greater(t, moves.Load(), int32(50))
		a.stop(nil)
		b.stop(nil)
	})
}

func TestACrashDoesNotWaitForPrepareWhichEndsWhenItIsNotNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &warming{service: newService(t)}
		var ended record[string]
		job := func(instance string) []distributed.Job {
			j := w.job(instance, "x", untilDone)
			j.Prepare = func(ctx context.Context) error {
				<-ctx.Done()
				ended.add(instance)
				return ctx.Err()
			}
			return []distributed.Job{j}
		}
		w.node("a", job("a"))
		time.Sleep(time.Minute)
		b := w.node("b", job("b"))
		time.Sleep(time.Minute)
		require.Equal(t, "a", w.runner("x"))
		n := ended.all()
		w.hub.Expire("a")
		require.Equal(t, "b", w.runner("x"))
		require.Equal(t, append(n, "b"), ended.all())
		time.Sleep(time.Minute)
		b.stop(nil)
		require.NoError(t, b.result())
	})
}

// What does not fit into one document is not told: the node goes on, and jobs that wait
// only to be told of as prepared do move.
func TestANodeHasMoreJobsThatWarmUpThanItCanTellOf(t *testing.T) {
	for _, c := range []struct{ jobs, name int }{{4200, 4}, {300, 253}} {
		synctest.Test(t, func(t *testing.T) {
			w := &warming{service: newService(t)}
			texts := map[string]string{}
			for i := range 15 {
				texts[fmt.Sprint(i)] = strings.Repeat(`"`, 1000)
			}
			node := func(instance string) *executing {
				var jobs []distributed.Job
				for i := range c.jobs {
					job := w.job(instance, fmt.Sprintf("%0*d", c.name, i), untilDone)
					job.Prepare = func(context.Context) error { return nil }
					jobs = append(jobs, job)
				}
				return start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", instance, w.provider(), jobs,
					distributed.WithLoadBalancing(), distributed.WithMetadata(texts)))
			}
			a := node("a")
			node("b")
			time.Sleep(time.Hour)
			require.Equal(t, c.jobs/2, w.mostOn("a"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.NoError(t, a.Drain(ctx))
			require.Equal(t, c.jobs, w.mostOn("b"))
		})
	}
}

func TestPrepareThatFailsIsCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := &warming{service: newService(t)}, new(journal)
		var calls atomic.Int32
		list := func(instance string) (jobs []distributed.Job) {
			for _, name := range []string{"x", "y"} {
				j := w.job(instance, name, untilDone)
				j.Prepare = func(context.Context) error {
					if instance == "a" {
						return nil
					}
					switch calls.Add(1) {
					case 1:
						return errBroken
					case 2:
						panic("out of cheese")
					}
					return nil
				}
				jobs = append(jobs, j)
			}
			return jobs
		}
		w.node("a", list("a"))
		time.Sleep(time.Minute)
		start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "b", w.provider(), list("b"), distributed.WithLoadBalancing(), log.logger()))
		time.Sleep(time.Minute)
		require.Equal(t, 1, w.mostOn("b"))
		require.Len(t, log.with(t, "job could not be prepared, trying again"), 2)
	})
}

func TestWarmthNeedsBalancing(t *testing.T) {
	for field, job := range map[string]distributed.Job{
		"Prepare":   {Name: "x", Work: untilDone, Prepare: untilDone},
		"SaysReady": {Name: "x", Work: untilDone, SaysReady: true},
	} {
		err := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewMemoryLeaseProvider(nil), nil).AddJob(job)
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, "Job."+field+` of "x" needs WithLoadBalancing`)
	}
}

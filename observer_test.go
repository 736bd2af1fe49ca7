package distributed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestObserversKnowANodeBeforeItLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(1, untilDone)
		o, err := distributed.Observe(t.Context(), "app", s.provider())
		require.NoError(t, err)
		defer func() { require.NoError(t, o.Close()) }()
		s.hub.SetDelay(300 * time.Millisecond)
		s.execute("a", jobs, distributed.WithJobQuota(2), distributed.WithVersion("v7"),
			distributed.WithLabels(map[string]string{"zone": "1"}), distributed.WithMetadata(map[string]string{"address": "10.0.0.1:80"}))
		for range 2 {
			for leaders := range o.Updates(t.Context()) {
				if len(leaders) == 0 {
					continue
				}
				require.Equal(t, "10.0.0.1:80", leaders[0].Metadata["address"])
				node := o.View().Nodes[0]
				require.Equal(t, "v7", node.Version)
				require.Equal(t, "1", node.Labels["zone"])
				require.Equal(t, 2, node.Capacity)
				require.Nil(t, node.Jobs, "takes no part in placement")
				break
			}
			s.hub.Expire("a") // it says so again under its next lease
			synctest.Wait()
		}
	})
}

func TestUpdatesEndWhenTheObserverIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		o, err := distributed.Observe(t.Context(), "app", s.provider())
		require.NoError(t, err)
		var loops sync.WaitGroup
		for range 3 {
			loops.Go(func() {
				for range o.Updates(context.Background()) {
				}
			})
		}
		synctest.Wait() // all wait for a change
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for range o.Updates(over) {
			t.Error("something is yielded though ctx is done")
		}
		require.NoError(t, o.Close())
		loops.Wait()
		for range o.Updates(context.Background()) {
			t.Error("something is yielded though the observer is closed")
		}
	})
}

func TestViewsYieldWhatViewReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		o, err := distributed.Observe(t.Context(), "app", s.provider())
		require.NoError(t, err)
		defer func() { require.NoError(t, o.Close()) }()
		views := 0
		for view := range o.Views(t.Context()) {
			require.Same(t, o.View(), view)
			if views++; views == 1 {
				s.execute("a", manyJobs(1, untilDone))
			}
			if len(view.Jobs) == 1 && view.Jobs[0].Led {
				break
			}
		}
		require.Len(t, o.Leaders(), 1)
	})
}

func TestANodeThatCannotIntroduceItselfIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metadata := map[string]string{"address": "10.0.0.1:80"}
		mute := &muteProvider{err: fmt.Errorf("%w: too long", distributed.ErrInvalidConfig)}
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", mute, []distributed.Job{{Name: "x", Work: untilDone}}, distributed.WithMetadata(metadata))
		require.ErrorIs(t, p.Execute(t.Context()), distributed.ErrInvalidConfig)
		require.Equal(t, 1, mute.closed, "the lease is given back")
	})
}

// muteProvider has leases that cannot announce.
type muteProvider struct {
	distributed.Lease // for View and Silence, which nobody calls
	err               error
	closed            int
}

func (p *muteProvider) OpenView(context.Context, distributed.LeaseRequest) (distributed.Viewer, error) {
	return nil, errAway
}

func (p *muteProvider) AcquireLease(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
	return p, nil
}
func (p *muteProvider) Announce(context.Context, distributed.NodeInfo) error { return p.err }
func (p *muteProvider) Election(string) distributed.Election                 { panic("nobody may stand") }
func (p *muteProvider) Close(context.Context) error                          { p.closed++; return nil }

func TestAnObserverSeesWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(4, untilDone)
		a := s.execute("a", jobs, balanced(), distributed.WithMetadata(map[string]string{"address": "10.0.0.1:80"}))
		time.Sleep(s.ttl) // its tokens are written down
		o, err := distributed.Observe(t.Context(), "app", s.provider())
		require.NoError(t, err)
		defer func() { require.NoError(t, o.Close()) }()
		first, ok := o.Locate("job-0000")
		require.True(t, ok)
		require.Equal(t, "a", first.Instance)
		require.Equal(t, "10.0.0.1:80", first.Metadata["address"])
		require.Equal(t, s.last("job-0000").token, first.Token)
		require.Zero(t, first.Since, "it led before")
		require.Len(t, o.Leaders(), 4)
		require.Len(t, o.Silence(), 1)
		require.LessOrEqual(t, o.Silence()[first.Node], s.ttl/4)
		_, ok = o.Locate("nothing")
		require.False(t, ok)

		s.execute("b", jobs, balanced())
		time.Sleep(settle)
		instances := map[string]int{}
		for _, l := range o.Leaders() {
			instances[l.Instance]++
			require.Equal(t, s.last(l.Job).token, l.Token)
			if l.Instance == "b" {
				require.WithinRange(t, l.Since, s.last(l.Job).start, s.last(l.Job).start.Add(time.Second))
			}
		}
		require.Equal(t, map[string]int{"a": 2, "b": 2}, instances)

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rounds := 0
		for leaders := range o.Updates(ctx) {
			rounds++
			if rounds == 1 {
				go a.stop(errShutdown)
			}
			mine := 0
			for _, l := range leaders {
				if l.Instance == "b" {
					mine++
				}
			}
			if mine == 4 {
				cancel()
			}
		}
		require.Greater(t, rounds, 1)
	})
}

func TestPlanAndExplainSayWhatMovesAndWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), manyJobs(4, untilDone)
		a := s.execute("a", jobs, balanced(distributed.WithSettleTime(time.Hour)))
		b := s.execute("b", jobs, balanced(distributed.WithSettleTime(time.Hour)))
		time.Sleep(time.Minute)
		view, ok := a.View()
		require.True(t, ok)
		plan := view.Plan()
		other, ok := b.View()
		require.True(t, ok)
		require.Equal(t, plan, other.Plan(), "every node computes the same")
		require.Len(t, plan.Moves, 2)
		require.Equal(t, "a", plan.Moves[0].From)
		require.Equal(t, "b", plan.Moves[0].To)
		require.Equal(t, "a has more than its share", plan.Moves[0].Reason)
		require.True(t, plan.Moves[0].Ready)
		require.Equal(t, 4, plan.Loads[0].Jobs)
		require.Equal(t, 2, plan.Loads[0].Planned)
		require.EqualValues(t, 2, plan.Loads[1].Expected)
		e, ok := view.Explain(plan.Moves[0].Job)
		require.True(t, ok)
		require.Equal(t, plan.Moves[0].Job+" runs on a, should run on b: a has more than its share", e.String())
		_, ok = view.Explain("nothing")
		require.False(t, ok)
	})
}

// In a store that others write to as well, the revision of a claim is not known to
// who looks on before its node has written it down. That is no other leadership.
func TestALeaderIsTheSameWhenItsTokenBecomesKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		o, err := distributed.Observe(t.Context(), "app", s.provider())
		require.NoError(t, err)
		defer func() { require.NoError(t, o.Close()) }()
		node := distributed.NewConcurrency("app", "a", s.provider())
		defer node.Close()
		_, err = node.Campaign(t.Context(), "first")
		require.NoError(t, err)
		time.Sleep(time.Second) // so that the observer takes in at once what comes next

		others := s.hub.Open("others")
		for n := range 10 {
			_, err := others.Put(t.Context(), fmt.Sprint("elsewhere/", n), []byte("x"), 0)
			require.NoError(t, err)
		}
		x, err := node.Campaign(t.Context(), "x")
		require.NoError(t, err)
		synctest.Wait()
		began := time.Now()
		before, ok := o.Locate("x")
		require.True(t, ok)
		require.Less(t, before.Token, x.Token())
		require.Equal(t, began, before.Since)
		time.Sleep(10 * time.Second)
		after, ok := o.Locate("x")
		require.True(t, ok)
		require.Equal(t, x.Token(), after.Token)
		require.Equal(t, began, after.Since)

		require.NoError(t, x.Resign(t.Context()))
		time.Sleep(time.Second)
		_, err = node.Campaign(t.Context(), "x")
		require.NoError(t, err)
		synctest.Wait()
		again, ok := o.Locate("x")
		require.True(t, ok)
		require.Equal(t, time.Now(), again.Since, "another leadership of the same node")
	})
}

// No news is no trouble, also while no node runs.
func TestAnObserverOfAnAppWithoutNodesHearsThatTheStoreLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		o, err := distributed.Observe(t.Context(), "app", s.provider(), log.logger())
		require.NoError(t, err)
		defer func() { require.NoError(t, o.Close()) }()
		for range 100 {
			time.Sleep(time.Second)
			require.Less(t, o.Age(), 5*time.Second)
		}
		require.Empty(t, log.with(t, "store unavailable, trying again"))
		s.hub.Refuse("", errAway)
		time.Sleep(10 * time.Second)
		require.Len(t, log.with(t, "store unavailable, trying again"), 1, "but that is")
	})
}

func TestAwaitBlocksUntilSomebodyLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := newService(t), works{"x": untilDone}
		o, err := distributed.Observe(t.Context(), "app", s.provider())
		require.NoError(t, err)
		found := make(chan distributed.Leader, 1)
		go func() {
			l, err := o.Await(t.Context(), "x")
			assert.NoError(t, err)
			found <- l
		}()
		synctest.Wait()
		require.Empty(t, found)
		s.execute("a", jobs)
		require.Equal(t, "a", (<-found).Instance)
		l, err := o.Await(t.Context(), "x")
		require.NoError(t, err, "at once")
		require.Equal(t, "a", l.Instance)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = o.Await(ctx, "other")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		go func() {
			synctest.Wait()
			assert.NoError(t, o.Close())
		}()
		_, err = o.Await(t.Context(), "other")
		require.ErrorIs(t, err, distributed.ErrClosed)
		_, err = o.Await(t.Context(), "other")
		require.ErrorIs(t, err, distributed.ErrClosed)
	})
}

func TestAProcessorGivesItsAppToAnObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := distributed.NewMemoryLeaseProvider(nil)
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", provider, []distributed.Job{{Name: "x", Work: untilDone}})
		o, err := p.Observe(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Execute(ctx) }()
		l, err := o.Await(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, "a", l.Instance)
		cancel()
		require.NoError(t, <-ended)
		time.Sleep(time.Second) // more than between two views
		require.Empty(t, o.Leaders(), "it goes on when the processor has ended")
		require.NoError(t, o.Close())

		_, err = distributed.NewLeadershipBasedJobProcessor("a/b", "a", provider, nil).Observe(t.Context())
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	})
}

func TestObserversSayThatADocumentIsInANewerFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var logged bytes.Buffer
		o, err := distributed.Observe(t.Context(), "app", s.provider(), distributed.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		require.NoError(t, err)
		s.execute("a", manyJobs(1, untilDone))
		_, err = o.Await(t.Context(), "job-0000")
		require.NoError(t, err)
		require.Empty(t, o.View().Unreadable)
		store := s.hub.Open("newer")
		rev, err := store.Put(t.Context(), "app/nodes/newer", []byte(`{"v":2}`), 0)
		require.NoError(t, err)
		time.Sleep(time.Second) // in virtual time
		require.Contains(t, o.View().Unreadable, "document app/nodes/newer has format version 2")
		require.Empty(t, o.Leaders())
		require.NoError(t, store.Delete(t.Context(), "app/nodes/newer", rev))
		time.Sleep(time.Second) // in virtual time
		require.Empty(t, o.View().Unreadable)
		require.NoError(t, o.Close())
		require.Equal(t, 1, strings.Count(logged.String(), "a document is in a newer format, nobody is shown to lead"))
	})
}

func TestAViewSaysWhetherANodeHasLeftOrWasBuried(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(s *service, node *executing)
		buried bool
	}{
		"stopped":              {func(_ *service, node *executing) { node.stop(errShutdown) }, false},
		"crashed, or frozen":   {func(s *service, _ *executing) { s.hub.HoldRequests("a") }, true},
		"cut off":              {func(s *service, _ *executing) { s.hub.Refuse("a", errAway) }, true},
		"its document deleted": {func(s *service, _ *executing) { s.hub.Expire("a") }, false},
		"cut off, and back before the others gave it up": {func(s *service, _ *executing) {
			s.hub.Refuse("a", errAway)
			time.Sleep(s.ttl * 17 / 20) // its own lease has run out
			s.hub.Refuse("a", nil)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, jobs := newService(t), manyJobs(2, untilDone)
				a := s.execute("a", jobs)
				s.execute("b", jobs)
				o := s.observe("app")
				time.Sleep(s.ttl)
				first, ok := o.Locate("job-0000")
				require.True(t, ok)
				require.Equal(t, "a", first.Instance)
				require.Empty(t, o.View().Buried)

				test.end(s, a)
				time.Sleep(2 * s.ttl)
				require.False(t, slices.ContainsFunc(o.View().Nodes, func(n distributed.NodeView) bool { return n.ID == first.Node }), "it has gone")
				var want map[string]string
				if test.buried {
					want = map[string]string{first.Node: "a"}
				}
				require.Equal(t, want, o.View().Buried)
				require.Equal(t, want, s.observe("app").View().Buried, "who comes later sees the same")

				s.hub.Refuse("a", nil)
				time.Sleep(15 * time.Minute)
				require.Empty(t, o.View().Buried, "it is forgotten with its documents")
			})
		})
	}
}

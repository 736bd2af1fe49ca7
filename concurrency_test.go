package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// Campaign

func TestCampaignBlocksUntilThisNodeLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		first := leads(t, a, "x")
		second := bidFor(t, b, "x")
		time.Sleep(time.Hour)
		require.True(t, second.waits())
		require.True(t, first.Valid())
		require.Equal(t, "x", first.Name())

		require.NoError(t, first.Resign(t.Context()))
		require.True(t, second.leads())
		require.Greater(t, second.Token(), first.Token())
		require.True(t, second.Valid())
		require.False(t, first.Valid())
	})
}

func TestNodeLeadsManyNamesUnderOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(nil)}
		c := distributed.NewConcurrency("app", "a", leases)
		var bids []*bid
		for i := range 20 {
			bids = append(bids, bidFor(t, c, fmt.Sprint(i)))
		}
		for _, b := range bids {
			require.True(t, b.leads())
		}
		require.EqualValues(t, 1, leases.acquired.Load())
		require.NoError(t, c.Close())
		require.Zero(t, leases.open.Load())
	})
}

func TestContextOfCampaignBoundsOnlyTheCampaign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		c := newConcurrency(t, nil, "a")
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Second)
		defer cancel()
		l, err := c.Campaign(ctx, "x")
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		require.NoError(t, l.Context().Err())
		require.True(t, l.Valid())
		require.Equal(t, "value", l.Context().Value(key{}))
		_, limited := l.Context().Deadline()
		require.False(t, limited)
		found, ok := distributed.LeadershipFromContext(l.Context())
		require.True(t, ok)
		require.Same(t, l, found)
	})
}

func TestCampaignThatIsCancelledLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		first := leads(t, a, "x")
		second := bidFor(t, b, "x")
		require.Equal(t, []string{"a", "b"}, hub.Candidates("app", "x"))
		second.cancel()
		require.ErrorIs(t, second.result(), context.Canceled)
		require.EqualError(t, second.result(), `distributed: campaign for "x": context canceled`)
		require.Equal(t, []string{"a"}, hub.Candidates("app", "x"))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := b.Campaign(ctx, "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, first.Resign(t.Context()))
		synctest.Wait()
		require.Empty(t, hub.Candidates("app", "x"))
		leads(t, b, "x")
	})
}

func TestCampaignWithAContextThatIsDoneAsksTheStoreForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(nil)}
		c := distributed.NewConcurrency("app", "a", leases)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			_, err := c.Campaign(ctx, "x")
			require.ErrorIs(t, err, context.Canceled)
		}
		synctest.Wait()
		require.Zero(t, leases.asked.Load())
		begin := time.Now()
		_, err := c.Campaign(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, begin, time.Now(), "these were no attempts that the next has to pause after")
		require.NoError(t, c.Close())
	})
}

func TestNameIsBusyFromCampaignToResign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		busy := func(name string) {
			t.Helper()
			_, err := a.Campaign(t.Context(), name)
			require.ErrorIs(t, err, distributed.ErrBusy)
			require.ErrorContains(t, err, fmt.Sprintf("%q", name))
		}
		foreign := leads(t, b, "x")
		waiting := bidFor(t, a, "x")
		busy("x")
		leads(t, a, "y")
		require.NoError(t, foreign.Resign(t.Context()))
		require.True(t, waiting.leads())
		busy("x")

		time.Sleep(time.Minute)
		hub.Expire("a")
		busy("x") // lost, but whatever runs under it may not have stopped
		require.NoError(t, waiting.Resign(t.Context()))
		again := bidFor(t, a, "x")
		<-again.done // not before what runs as "y" must have stopped
		require.Greater(t, again.Token(), waiting.Token())
		busy("y")
	})
}

func TestCampaignRefusesWhatCannotWorkBeforeAnythingIsWritten(t *testing.T) {
	leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(nil)}
	good := distributed.NewConcurrency("app", "a", leases)
	for _, c := range []struct {
		concurrency *distributed.Concurrency
		name, want  string
	}{
		{good, "", "Job.Name is empty"},
		{good, "a\nb", "control character"},
		{distributed.NewConcurrency("", "a", leases), "x", "app name is empty"},
		{distributed.NewConcurrency("a/b", "a", leases), "x", "app name"},
		{distributed.NewConcurrency("app", "", leases), "x", "instance name is empty"},
		{distributed.NewConcurrency("app", "a", nil), "x", "provider is nil"},
	} {
		_, err := c.concurrency.Campaign(t.Context(), c.name)
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, c.want)
		require.NoError(t, c.concurrency.Close())
	}
	require.Zero(t, leases.asked.Load())
}

func TestErrorOfAnElectionIsFinalForItsCampaignOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healthy := false
		lease := &fakeLease{campaign: func(context.Context, context.CancelCauseFunc) (int64, error) {
			if !healthy {
				return 0, errBroken
			}
			return 1, nil
		}}
		leases := &leaseCount{LeaseProvider: lease.provider()}
		c := distributed.NewConcurrency("app", "a", leases)
		_, err := c.Campaign(t.Context(), "x")
		require.EqualError(t, err, `distributed: campaign for "x": broken`)
		healthy = true
		leads(t, c, "x")
		require.EqualValues(t, 1, leases.acquired.Load(), "the lease is good")
		require.NoError(t, c.Close())
	})
}

// What decides a campaign may be faster than the end of its context.
func TestCampaignWhoseContextIsDoneWhenItIsWonIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		ctx, cancel := context.WithCancel(t.Context())
		c := distributed.NewConcurrency("app", "a", endsAsItWins{distributed.NewMemoryLeaseProvider(hub), cancel})
		_, err := c.Campaign(ctx, "x")
		require.ErrorIs(t, err, context.Canceled)
		leads(t, newConcurrency(t, hub, "b"), "x")
		require.NoError(t, c.Close())
	})
}

// endsAsItWins calls end when a campaign is won, before it says so.
type endsAsItWins struct {
	distributed.LeaseProvider
	end func()
}

func (p endsAsItWins) AcquireLease(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
	lease, err := p.LeaseProvider.AcquireLease(ctx, req)
	return endsAsItWinsLease{lease, p.end}, err
}

type endsAsItWinsLease struct {
	distributed.Lease
	end func()
}

func (l endsAsItWinsLease) Election(name string) distributed.Election {
	return endsAsItWinsElection{l.Lease.Election(name), l.end}
}

type endsAsItWinsElection struct {
	distributed.Election
	end func()
}

func (e endsAsItWinsElection) Campaign(ctx context.Context, decided func(int64, error), lost context.CancelCauseFunc) {
	e.Election.Campaign(ctx, func(token int64, err error) { e.end(); decided(token, err) }, lost)
}

// Resign

func TestResignFreesTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		first := leads(t, a, "x")
		second := bidFor(t, b, "x")
		require.NoError(t, a.Resign(t.Context(), "x"))
		require.True(t, second.leads())
		require.Equal(t, distributed.ErrResigned, context.Cause(first.Context()))
		require.False(t, first.Valid())

		again := bidFor(t, a, "x")
		require.True(t, again.waits())
		require.NoError(t, second.Resign(t.Context()))
		require.True(t, again.leads())
	})
}

func TestSecondResignReturnsNilAndDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newConcurrency(t, hub, "a")
		first := leads(t, a, "x")
		hub.SetDelay(time.Second / 2)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				require.NoError(t, first.Resign(t.Context()))
				require.Empty(t, hub.Candidates("app", "x"), "each returns when it is accepted")
			})
		}
		wg.Wait()
		hub.SetDelay(0)
		second := leads(t, a, "x")
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, second.Valid())
		require.NoError(t, second.Context().Err())
	})
}

func TestSecondResignWaitsForTheFirstNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		l := leads(t, newConcurrency(t, hub, "a"), "x")
		hub.Refuse("a", errAway)
		var first sync.WaitGroup
		first.Go(func() { require.NoError(t, l.Resign(t.Context())) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		require.ErrorIs(t, l.Resign(ctx), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begin))

		hub.Refuse("a", nil)
		first.Wait()
		for range 20 {
			require.NoError(t, l.Resign(ctx), "it is resigned, however late one asks")
		}
	})
}

func TestResignOfANameThatThisNodeDoesNotLeadIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		require.ErrorIs(t, a.Resign(t.Context(), "x"), distributed.ErrNotLeading)
		leads(t, b, "x")
		waiting := bidFor(t, a, "x")
		err := a.Resign(t.Context(), "x")
		require.ErrorIs(t, err, distributed.ErrNotLeading)
		require.ErrorContains(t, err, `"x"`)
		require.True(t, waiting.waits(), "campaigning is not leading")
		require.NoError(t, b.Resign(t.Context(), "x"))
		require.ErrorIs(t, b.Resign(t.Context(), "x"), distributed.ErrNotLeading)
	})
}

func TestResignThatTheStoreDoesNotConfirmSaysSoAndIsOverAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		first := leads(t, a, "x")
		second := bidFor(t, b, "x")
		hub.Refuse("a", errAway)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, first.Resign(ctx), context.DeadlineExceeded)
		require.Equal(t, distributed.ErrResigned, context.Cause(first.Context()))
		require.False(t, first.Valid())
		require.True(t, second.waits())

		again := bidFor(t, a, "x")
		require.True(t, again.waits(), "not busy")
		hub.Refuse("a", nil)
		<-second.done
		require.True(t, second.leads())
		require.True(t, again.waits())
	})
}

func TestLeadershipThatWasResignedIsNotValidWhenTheNextOneIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		valid := &fakeLease{campaign: func(context.Context, context.CancelCauseFunc) (int64, error) { return 1, nil }}
		c := distributed.NewConcurrency("app", "a", valid.provider()) // one Election for ever, as the interface allows
		first := leads(t, c, "x")
		require.True(t, first.Valid())
		require.NoError(t, first.Resign(t.Context()))
		second := leads(t, c, "x")
		require.True(t, second.Valid())
		require.False(t, first.Valid())
		require.NoError(t, c.Close())
	})
}

// loss

func TestLostLeadershipIsToldInItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		first := leads(t, a, "x")
		second := bidFor(t, b, "x")
		hub.Refuse("a", errAway)
		begin := time.Now()
		<-first.Context().Done()
		require.Equal(t, 7775*time.Millisecond, time.Since(begin), "the TTL less drift, the tolerance of clocks, and the grace")
		require.ErrorIs(t, context.Cause(first.Context()), distributed.ErrLeadershipLost)
		require.False(t, first.Valid())
		require.True(t, second.waits(), "before anybody else leads")
		<-second.done
		require.Equal(t, 10200*time.Millisecond, time.Since(begin), "the TTL and drift")
		require.True(t, second.leads())
		require.Greater(t, second.Token(), first.Token())

		require.NoError(t, first.Resign(t.Context()), "nothing is left to resign")
		require.NoError(t, first.Resign(t.Context()))
		require.ErrorIs(t, context.Cause(first.Context()), distributed.ErrLeadershipLost)
		hub.Refuse("a", nil)
	})
}

func TestResignOfALostLeadershipReturnsNilThoughTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newConcurrency(t, hub, "a")
		l := leads(t, a, "x")
		hub.Expire("a")
		hub.Refuse("a", errAway)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, l.Resign(ctx))
		waiting := bidFor(t, a, "x")
		require.True(t, waiting.waits())
		hub.Refuse("a", nil)
		<-waiting.done
		require.True(t, waiting.leads())
	})
}

func TestLostLeaseIsClosedWhenItsLastLeadershipIsResigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(hub)}
		a := distributed.NewConcurrency("app", "a", leases)
		slow, fast := leads(t, a, "slow"), leads(t, a, "fast")
		waiting := bidFor(t, newConcurrency(t, hub, "b"), "slow")
		time.Sleep(time.Minute)
		hub.Expire("a")
		require.Error(t, slow.Context().Err())
		require.Error(t, fast.Context().Err())

		require.NoError(t, fast.Resign(t.Context()))
		again := bidFor(t, a, "fast")
		require.True(t, again.waits(), "nobody begins while something may run by what was lost")
		require.EqualValues(t, 2, leases.acquired.Load())
		require.EqualValues(t, 2, leases.open.Load(), "under the lost lease something still runs")
		require.True(t, waiting.waits())

		require.NoError(t, slow.Resign(t.Context()))
		require.True(t, waiting.leads(), "well before the lease would have run out")
		require.EqualValues(t, 1, leases.open.Load())
		require.True(t, again.leads())
		require.NoError(t, a.Close())
		require.Zero(t, leases.open.Load())
	})
}

func TestCampaignGoesOnUnderANewLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(hub)}
		a := distributed.NewConcurrency("app", "a", leases)
		first := leads(t, newConcurrency(t, hub, "b"), "x")
		waiting, other := bidFor(t, a, "x"), bidFor(t, a, "y")
		require.True(t, other.leads())
		require.NoError(t, other.Resign(t.Context()))
		for range 3 {
			time.Sleep(time.Minute)
			hub.Expire("a")
			require.True(t, waiting.waits())
			require.EqualValues(t, 1, leases.open.Load(), "the lost one has been closed")
		}
		require.EqualValues(t, 4, leases.acquired.Load())
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, waiting.leads())
		require.NoError(t, a.Close())
	})
}

func TestLeadershipThatIsLostWhileItIsWonIsReturnedAsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease := &fakeLease{campaign: func(_ context.Context, lost context.CancelCauseFunc) (int64, error) {
			lost(fmt.Errorf("%w: already", distributed.ErrLeadershipLost))
			return 7, nil
		}}
		var happened record[string]
		log := new(journal)
		c := distributed.NewConcurrency("app", "a", lease.provider(), log.logger(), noting(&happened))
		l := leads(t, c, "x")
		require.ErrorIs(t, context.Cause(l.Context()), distributed.ErrLeadershipLost)
		require.Equal(t, []string{"elected x", "lost x"}, happened.all())
		require.NoError(t, l.Resign(t.Context()))
		require.NoError(t, c.Close())
		require.Len(t, happened.all(), 2)
		lines := log.with(t, "leadership lost")
		require.Len(t, lines, 1)
		require.EqualValues(t, 7, lines[0]["token"])
	})
}

// the lease

func TestLeaseIsAcquiredOnceForAllWhoWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		c := distributed.NewConcurrency("app", "a", store)
		first, second, third := bidFor(t, c, "x"), bidFor(t, c, "y"), bidFor(t, c, "z")
		require.True(t, first.waits())
		require.EqualValues(t, 1, store.asked.Load())

		first.cancel()
		second.cancel()
		require.ErrorIs(t, first.result(), context.Canceled)
		require.ErrorIs(t, second.result(), context.Canceled)
		require.EqualValues(t, 1, store.asking.Load(), "somebody still waits")
		close(store.open)
		require.True(t, third.leads())
		require.EqualValues(t, 1, store.asked.Load())
		require.NoError(t, c.Close())
	})
}

func TestAcquisitionIsCancelledWhenTheLastWhoWaitedForItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		c := distributed.NewConcurrency("app", "a", store)
		first, second := bidFor(t, c, "x"), bidFor(t, c, "y")
		first.cancel()
		second.cancel()
		require.ErrorIs(t, first.result(), context.Canceled)
		require.ErrorIs(t, second.result(), context.Canceled)
		synctest.Wait()
		require.Zero(t, store.asking.Load())

		third := bidFor(t, c, "x")
		time.Sleep(time.Second)
		require.True(t, third.waits())
		require.EqualValues(t, 2, store.asked.Load(), "the next starts another")
		close(store.open)
		require.True(t, third.leads())
		require.NoError(t, c.Close())
	})
}

func TestLeaseThatNobodyWaitsForAnyMoreIsGivenBack(t *testing.T) {
	for _, end := range []struct {
		way string
		how func(*bid, *distributed.Concurrency)
	}{
		{"cancelled", func(b *bid, _ *distributed.Concurrency) { b.cancel() }},
		{"closed", func(_ *bid, c *distributed.Concurrency) { go func() { _ = c.Close() }() }},
	} {
		t.Run(end.way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(nil)}
				deaf := acquire(func(_ context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
					time.Sleep(time.Minute) // whatever its ctx says
					return leases.AcquireLease(context.Background(), req)
				})
				c := distributed.NewConcurrency("app", "a", deaf)
				b := bidFor(t, c, "x")
				end.how(b, c)
				require.Error(t, b.result(), "at once")
				require.Zero(t, leases.acquired.Load())
				time.Sleep(time.Minute)
				synctest.Wait()
				require.EqualValues(t, 1, leases.acquired.Load())
				require.Zero(t, leases.open.Load())
				require.NoError(t, c.Close())
			})
		})
	}
}

func TestStoreThatIsAwayIsAskedAgainWithPausesThatGrowUpToFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked record[time.Time]
		c := distributed.NewConcurrency("app", "a", acquire(func(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
			asked.add(time.Now())
			return nil, errAway
		}))
		begin := time.Now()
		b := bidFor(t, c, "x")
		time.Sleep(10 * time.Minute)
		require.True(t, b.waits())
		times := asked.all()
		require.Equal(t, begin, times[0], "the first at once")
		limit, random := 50*time.Millisecond, false
		for i, at := range times[1:] {
			pause := at.Sub(times[i])
			require.LessOrEqual(t, pause, limit)
			require.GreaterOrEqual(t, pause, limit/2)
			random = random || pause != limit
			limit = min(2*limit, 5*time.Second)
		}
		require.Equal(t, 5*time.Second, limit)
		require.True(t, random, "so that nodes do not ask together")
		b.cancel()
		require.NoError(t, c.Close())
	})
}

func TestLeasesThatDoNotLastAreNotAcquiredInAHotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease := &fakeLease{campaign: func(context.Context, context.CancelCauseFunc) (int64, error) { return 0, distributed.ErrLeaseLost }}
		leases := &leaseCount{LeaseProvider: lease.provider()}
		c := distributed.NewConcurrency("app", "a", leases)
		b := bidFor(t, c, "x")
		time.Sleep(time.Minute)
		require.True(t, b.waits())
		require.Greater(t, leases.acquired.Load(), int32(10))
		require.Less(t, leases.acquired.Load(), int32(35))
		require.LessOrEqual(t, leases.open.Load(), int32(1))
		b.cancel()
		require.NoError(t, c.Close())
		require.Zero(t, leases.open.Load())
	})
}

func TestLeaseThatLastedIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		hub.Refuse("a", errAway)
		a := newConcurrency(t, hub, "a")
		b := bidFor(t, a, "x")
		time.Sleep(time.Hour) // the pauses have grown
		hub.Refuse("a", nil)
		time.Sleep(time.Minute)
		require.True(t, b.leads())
		hub.Expire("a")
		require.NoError(t, b.Resign(t.Context()))
		begin := time.Now()
		leads(t, a, "x")
		require.Equal(t, begin, time.Now())
	})
}

func TestWhatWaitingCannotMendIsReturnedToAllWhoWait(t *testing.T) {
	for _, permanent := range []error{distributed.ErrPermanent, distributed.ErrInvalidConfig} {
		synctest.Test(t, func(t *testing.T) {
			log := new(journal)
			hub := new(distributed.MemoryHub)
			hub.SetDelay(100 * time.Millisecond)
			hub.Refuse("a", fmt.Errorf("%w: wrong password", permanent))
			a := newConcurrency(t, hub, "a", log.logger())
			x, y := bidFor(t, a, "x"), bidFor(t, a, "y")
			time.Sleep(100 * time.Millisecond)
			require.ErrorIs(t, x.result(), permanent)
			require.ErrorIs(t, y.result(), permanent)
			require.ErrorContains(t, x.result(), "wrong password")
			require.Len(t, log.with(t, "cannot acquire a lease"), 1)

			hub.Refuse("a", nil)
			again := bidFor(t, a, "x")
			time.Sleep(3 * time.Second)
			require.True(t, again.leads(), "the next Campaign tries again")
		})
	}
}

func TestTwoConcurrenciesOfOneInstanceAreNodesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := leads(t, newConcurrency(t, hub, "a"), "x")
		second := bidFor(t, newConcurrency(t, hub, "a"), "x")
		require.True(t, second.waits())
		require.True(t, first.Valid())
	})
}

// Close

func TestCloseFreesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		led, foreign := leads(t, a, "x"), leads(t, b, "y")
		successor, waiting := bidFor(t, b, "x"), bidFor(t, a, "y")
		begin := time.Now()
		require.NoError(t, a.Close())
		require.Equal(t, distributed.ErrClosed, context.Cause(led.Context()))
		require.False(t, led.Valid())
		require.ErrorIs(t, waiting.result(), distributed.ErrClosed)
		require.ErrorContains(t, waiting.result(), `"y"`)
		require.True(t, successor.leads())
		require.True(t, foreign.Valid())
		require.Equal(t, []string{"b"}, hub.Candidates("app", "y"))
		require.False(t, hub.Expire("a"))
		require.Equal(t, begin, time.Now())

		require.NoError(t, a.Close(), "idempotent")
		_, err := a.Campaign(t.Context(), "z")
		require.EqualError(t, err, `distributed: campaign for "z": distributed: closed`)
		require.ErrorIs(t, err, distributed.ErrClosed)
		require.NoError(t, led.Resign(t.Context()))
		require.ErrorIs(t, a.Resign(t.Context(), "x"), distributed.ErrNotLeading)
		require.Equal(t, distributed.ErrClosed, context.Cause(led.Context()))
	})
}

func TestCloseOfAConcurrencyThatWasNeverUsedDoesNothing(t *testing.T) {
	c := distributed.NewConcurrency("app", "a", acquire(func(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
		return nil, errBroken
	}))
	require.NoError(t, c.Close())
}

func TestCloseEndsAnAcquisition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		c := distributed.NewConcurrency("app", "a", store)
		x, y := bidFor(t, c, "x"), bidFor(t, c, "y")
		require.NoError(t, c.Close())
		require.ErrorIs(t, x.result(), distributed.ErrClosed)
		require.ErrorIs(t, y.result(), distributed.ErrClosed)
		require.Zero(t, store.asking.Load())
	})
}

func TestCloseEndsThePauseBetweenAcquisitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		hub.Refuse("a", errAway)
		a := newConcurrency(t, hub, "a")
		x := bidFor(t, a, "x")
		time.Sleep(time.Hour)
		begin := time.Now()
		require.NoError(t, a.Close())
		require.ErrorIs(t, x.result(), distributed.ErrClosed)
		require.Equal(t, begin, time.Now())
	})
}

func TestCloseFreesALostLeaseUnderWhichSomethingStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		leases := &leaseCount{LeaseProvider: distributed.NewMemoryLeaseProvider(hub)}
		a := distributed.NewConcurrency("app", "a", leases)
		leads(t, a, "x")
		y := leads(t, a, "y")
		time.Sleep(time.Minute)
		hub.Expire("a")
		require.NoError(t, y.Resign(t.Context()))
		again := bidFor(t, a, "y")
		<-again.done
		require.True(t, again.leads())
		require.EqualValues(t, 2, leases.open.Load())
		require.NoError(t, a.Close())
		require.Zero(t, leases.open.Load())
	})
}

func TestCloseReturnsWithinFiveSecondsWhenTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := distributed.NewConcurrency("app", "a", distributed.NewMemoryLeaseProvider(hub))
		l := leads(t, a, "x")
		hub.Refuse("a", errAway)
		begin := time.Now()
		err := a.Close()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "close lease")
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Equal(t, distributed.ErrClosed, context.Cause(l.Context()))
		require.NoError(t, a.Close())
	})
}

func TestCloseCalledTwiceAtOnceReturnsWhenItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newConcurrency(t, hub, "a")
		leads(t, a, "x")
		hub.SetDelay(time.Second / 2)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				require.NoError(t, a.Close())
				require.Empty(t, hub.Candidates("app", "x"))
			})
		}
		wg.Wait()
	})
}

func TestCampaignThatIsWonWhileClosingReturnsErrClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var happened record[string]
		lease := &fakeLease{closed: make(chan struct{})}
		lease.campaign = func(context.Context, context.CancelCauseFunc) (int64, error) {
			<-lease.closed
			return 1, nil
		}
		c := distributed.NewConcurrency("app", "a", lease.provider(), noting(&happened))
		b := bidFor(t, c, "x")
		require.True(t, b.waits())
		require.NoError(t, c.Close())
		require.ErrorIs(t, b.result(), distributed.ErrClosed)
		require.Empty(t, happened.all())
	})
}

// what is told

func TestLeadershipIsLoggedWithConstantMessagesAndAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := new(distributed.MemoryHub), new(journal)
		a := newConcurrency(t, hub, "a", log.logger())
		lost := leads(t, a, "x")
		time.Sleep(time.Minute)
		hub.Expire("a")
		require.NoError(t, lost.Resign(t.Context()))
		resigned := leads(t, a, "x")
		time.Sleep(time.Minute)
		require.NoError(t, resigned.Resign(t.Context()))

		won := log.with(t, "leadership won")
		require.Len(t, won, 2)
		require.EqualValues(t, lost.Token(), won[0]["token"])
		require.EqualValues(t, resigned.Token(), won[1]["token"])
		over := append(log.with(t, "leadership lost"), log.with(t, "leadership resigned")...)
		require.Len(t, over, 2)
		require.Contains(t, over[0]["cause"], "leadership lost: a document of the node was changed or deleted by somebody else")
		require.EqualValues(t, lost.Token(), over[0]["token"])
		require.EqualValues(t, resigned.Token(), over[1]["token"])
		require.EqualValues(t, time.Minute, over[1]["held"])
		for _, line := range append(won, over...) {
			require.Equal(t, "app", line["app"])
			require.Equal(t, "a", line["instance"])
			require.Equal(t, "x", line["job"])
		}
	})
}

func TestProviderIsGivenTheLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := new(distributed.MemoryHub), new(journal)
		details := slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})
		a := newConcurrency(t, hub, "a", distributed.WithLogger(slog.New(details)))
		leads(t, a, "x")
		hub.Refuse("a", errAway)
		time.Sleep(time.Minute)
		lines := log.with(t, "lease renewal failed, trying again")
		require.NotEmpty(t, lines)
		require.Equal(t, "a", lines[0]["instance"])
		hub.Refuse("a", nil)
	})
}

func TestEveryLeadershipIsReportedAsWonOnceAndThenAsOverOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var happened record[string]
		hub := new(distributed.MemoryHub)
		a := newConcurrency(t, hub, "a", noting(&happened))
		resigned := leads(t, a, "resigned")
		require.NoError(t, resigned.Resign(t.Context()))
		require.NoError(t, resigned.Resign(t.Context()))

		lost := leads(t, a, "lost")
		time.Sleep(time.Minute)
		require.True(t, hub.RemoveCandidate("app", "lost", "a"))
		require.NoError(t, lost.Resign(t.Context()))

		closed := leads(t, a, "closed")
		require.NoError(t, a.Close())
		require.Equal(t, []string{
			"elected resigned", "resigned resigned",
			"elected lost", "lost lost",
			"elected closed", "resigned closed",
		}, happened.all())
		require.NoError(t, closed.Resign(t.Context()))
		require.Len(t, happened.all(), 6)
	})
}

// Whoever resigns by name may know of a leadership before it is reported.
func TestALeadershipThatIsResignedBeforeItIsReportedIsReportedAsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var happened record[string]
		won, resigned := make(chan struct{}), make(chan struct{})
		lease := slowToReport{new(fakeLease), func() { close(won); <-resigned }}
		provider := acquire(func(context.Context, distributed.LeaseRequest) (distributed.Lease, error) { return lease, nil })
		c := distributed.NewConcurrency("app", "a", provider, noting(&happened))
		b := bidFor(t, c, "x")
		<-won
		require.NoError(t, c.Resign(t.Context(), "x"))
		close(resigned)
		require.NoError(t, b.result())
		require.Equal(t, []string{"elected x", "resigned x"}, happened.all())
		require.NoError(t, c.Close())
	})
}

// slowToReport takes a while between winning an election and reporting that.
type slowToReport struct {
	*fakeLease
	report func()
}

func (l slowToReport) Election(string) distributed.Election { return l }

func (l slowToReport) Campaign(_ context.Context, decided func(int64, error), _ context.CancelCauseFunc) {
	decided(1, nil)
}

func (l slowToReport) Gap() (time.Duration, bool) {
	l.report()
	return 0, false
}

func TestLeadershipThatIsLostWhileItsWorkStopsIsReportedAsLostOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var happened record[string]
		s := newService(t)
		a := s.execute("a", works{"x": stopsAfter(time.Minute)}, noting(&happened),
			distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Minute }))
		time.Sleep(90 * time.Second)
		s.hub.Expire("a")
		time.Sleep(time.Minute)
		require.Equal(t, distributed.ErrTermEnded, s.history("x")[0].cause)
		require.Equal(t, []string{"elected x", "lost x", "elected x"}, happened.all())
		a.stop(nil)
		require.NoError(t, a.result())
	})
}

func TestWithoutALoggerNothingIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConcurrency(t, nil, "a", distributed.WithLogger(nil))
		leads(t, c, "x") // does not panic
	})
}

// newConcurrency returns one that is closed at the end of the test.
func newConcurrency(t *testing.T, hub *distributed.MemoryHub, instance string, opts ...distributed.ConcurrencyOption) *distributed.Concurrency {
	c := distributed.NewConcurrency("app", instance, distributed.NewMemoryLeaseProvider(hub), opts...)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// bid is a Campaign in a goroutine of its own.
type bid struct {
	cancel context.CancelFunc

	done chan struct{} // closed when it has returned
	*distributed.Leadership
	err error
}

// bidFor returns when everything that follows at once has happened.
func bidFor(t *testing.T, c *distributed.Concurrency, name string) *bid {
	ctx, cancel := context.WithCancel(t.Context())
	b := &bid{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.Leadership, b.err = c.Campaign(ctx, name)
	}()
	synctest.Wait()
	return b
}

func (b *bid) waits() bool {
	synctest.Wait()
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

func (b *bid) leads() bool { return !b.waits() && b.err == nil && b.Context().Err() == nil }

// result is of a Campaign that returns now.
func (b *bid) result() error {
	if b.waits() {
		return errors.New("Campaign has not returned")
	}
	return b.err
}

// leads campaigns for name and requires that this wins at once.
func leads(t *testing.T, c *distributed.Concurrency, name string) *distributed.Leadership {
	t.Helper()
	b := bidFor(t, c, name)
	require.False(t, b.waits())
	require.NoError(t, b.err)
	return b.Leadership
}

func noting(happened *record[string]) distributed.ConcurrencyOption {
	return distributed.WithHooks(distributed.Hooks{
		Elected:  func(name string, _ int64, _ time.Duration) { happened.add("elected " + name) },
		Lost:     func(name string, _ int64, _ time.Duration, _ error) { happened.add("lost " + name) },
		Resigned: func(name string, _ int64, _ time.Duration, _ error) { happened.add("resigned " + name) },
	})
}

// leaseCount counts leases.
type leaseCount struct {
	distributed.LeaseProvider
	asked, acquired, open atomic.Int32
}

func (n *leaseCount) AcquireLease(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
	n.asked.Add(1)
	lease, err := n.LeaseProvider.AcquireLease(ctx, req)
	if err != nil {
		return nil, err
	}
	n.acquired.Add(1)
	n.open.Add(1)
	return &countedLease{Lease: lease, closed: sync.OnceFunc(func() { n.open.Add(-1) })}, nil
}

type countedLease struct {
	distributed.Lease
	closed func()
}

func (l *countedLease) Close(ctx context.Context) error {
	defer l.closed()
	return l.Lease.Close(ctx)
}

// slowStore answers when open is closed.
type slowStore struct {
	distributed.LeaseProvider
	open          chan struct{}
	asked, asking atomic.Int32
}

func newSlowStore() *slowStore {
	return &slowStore{LeaseProvider: distributed.NewMemoryLeaseProvider(nil), open: make(chan struct{})}
}

func (s *slowStore) AcquireLease(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
	s.asked.Add(1)
	s.asking.Add(1)
	defer s.asking.Add(-1)
	select {
	case <-s.open:
		return s.LeaseProvider.AcquireLease(ctx, req)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fakeLease is a lease with one election, which does what the test says.
type fakeLease struct {
	campaign func(context.Context, context.CancelCauseFunc) (int64, error)
	closed   chan struct{} // closed by Close, if there is one
	record   error         // what Record returns
}

func (l *fakeLease) provider() distributed.LeaseProvider {
	return acquire(func(context.Context, distributed.LeaseRequest) (distributed.Lease, error) { return l, nil })
}

func (l *fakeLease) Election(string) distributed.Election                 { return l }
func (l *fakeLease) Valid() bool                                          { return true }
func (l *fakeLease) Gap() (time.Duration, bool)                           { return 0, false }
func (l *fakeLease) Resign(context.Context) error                         { return nil }
func (l *fakeLease) Announce(context.Context, distributed.NodeInfo) error { return nil }
func (l *fakeLease) Silence() map[string]time.Duration                    { return nil }

func (l *fakeLease) Orders() ([]distributed.Order, <-chan struct{})      { return nil, nil }
func (l *fakeLease) Record(context.Context, distributed.JobRecord) error { return l.record }
func (l *fakeLease) Save(context.Context, []byte) error                  { return nil }
func (l *fakeLease) Saved(context.Context) ([]byte, error)               { return nil, nil }

func (l *fakeLease) Recorded(string) (distributed.JobRecord, time.Duration, <-chan struct{}) {
	return distributed.JobRecord{}, 0, nil
}

func (l *fakeLease) View() (*distributed.View, <-chan struct{}, error) {
	return new(distributed.View), nil, nil
}

func (l *fakeLease) Close(context.Context) error {
	if l.closed != nil {
		close(l.closed)
	}
	return nil
}

func (l *fakeLease) Campaign(ctx context.Context, decided func(int64, error), lost context.CancelCauseFunc) {
	go func() { decided(l.campaign(ctx, lost)) }()
}

// The context of a signal is done when there is most reason to resign.
func TestResignWithAContextThatIsDoneTriesForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		hub.SetDelay(700 * time.Millisecond)
		a, b := newConcurrency(t, hub, "a"), newConcurrency(t, hub, "b")
		ctx, stop := context.WithCancel(t.Context())
		l, err := a.Campaign(ctx, "x")
		require.NoError(t, err)
		next := bidFor(t, b, "x")
		time.Sleep(time.Minute)
		stop()
		begin := time.Now()
		require.NoError(t, l.Resign(ctx), "the store has accepted it")
		require.Equal(t, 700*time.Millisecond, time.Since(begin))
		require.True(t, next.leads())

		l, err = a.Campaign(t.Context(), "y")
		require.NoError(t, err)
		hub.SetDelay(2 * time.Second)
		begin = time.Now()
		require.ErrorIs(t, l.Resign(ctx), context.Canceled)
		require.Equal(t, time.Second, time.Since(begin), "but not for ever")
		hub.SetDelay(0)
	})
}

func TestCloseReturnsThoughTheProviderDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		blocks := acquire(func(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
			<-free
			return nil, errAway
		})
		c := distributed.NewConcurrency("app", "a", blocks)
		bidFor(t, c, "x")
		begin := time.Now()
		require.ErrorContains(t, c.Close(), "the provider does not return")
		require.Equal(t, closing, time.Since(begin))

		s := newService(t)
		p := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", blocks, []distributed.Job{s.job("a", "x", untilDone)}))
		time.Sleep(time.Minute)
		p.stop(errShutdown)
		begin = time.Now()
		require.NoError(t, p.result())
		require.Equal(t, closing, time.Since(begin))
		close(free)
	})
}

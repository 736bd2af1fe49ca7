package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// Every test here runs in a bubble, whose clock stands still while anything runs: so
// times are exact, and the bubble fails if a goroutine is left at the end.

const (
	memoryTTL   = 10 * time.Second
	memoryGrace = memoryTTL / 5
)

var errCutOff = errors.New("cut off")

func TestMemoryCandidatesLeadInTheOrderInWhichTheyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		var standings []*memoryStanding
		for _, name := range []string{"a", "b", "c"} {
			s := newMemoryNode(t, hub, name).stand("job")
			synctest.Wait()
			standings = append(standings, s)
		}
		require.Equal(t, []string{"a", "b", "c"}, hub.Candidates("app", "job"))

		var last int64
		for i, s := range standings {
			require.True(t, s.leads(), "candidate %d leads when those before it have resigned", i)
			require.Greater(t, s.token, last, "tokens rise strictly")
			instance, token := hub.Leader("app", "job")
			require.Equal(t, []string{"a", "b", "c"}[i], instance)
			require.Equal(t, s.token, token)
			for _, waiting := range standings[i+1:] {
				require.True(t, waiting.waits(), "one leader at a time")
			}
			last = s.token
			require.NoError(t, s.Resign(t.Context()))
			require.False(t, s.Valid())
			require.NoError(t, s.lost.Err(), "a resignation is no loss")
			before := hub.Calls()
			require.NoError(t, s.Resign(t.Context()), "nothing is left to resign")
			synctest.Wait()
			require.Equal(t, before, hub.Calls())
		}
		require.Empty(t, hub.Candidates("app", "job"))
	})
}

func TestMemoryResignationHandsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newMemoryNode(t, hub, "a")
		first := a.stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		start := time.Now()
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, second.leads())
		require.Equal(t, start, time.Now())

		again := a.stand("job")
		require.True(t, again.waits(), "who campaigns again queues behind those who wait")
		require.NoError(t, second.Resign(t.Context()))
		require.True(t, again.leads())
		require.Greater(t, again.token, second.token)
	})
}

func TestMemoryLeaseIsRenewedUntilClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		leader := newMemoryNode(t, hub, "a").stand("job")
		time.Sleep(time.Hour)
		require.True(t, leader.leads())
		require.True(t, leader.Valid())
	})
}

func TestMemoryNodeThatIsCutOffStopsBeforeOthersLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "a"), time.Now()
		first := a.stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		hub.Refuse("a", errCutOff)

		time.Sleep(memoryTTL - memoryGrace - 1)
		require.True(t, first.Valid())
		require.NoError(t, first.lost.Err())
		<-first.lost.Done()
		require.Equal(t, memoryTTL-memoryGrace, time.Since(start), "lost a grace before the TTL is over")
		require.ErrorIs(t, context.Cause(first.lost), distributed.ErrLeadershipLost)
		require.False(t, first.Valid())
		require.True(t, second.waits())

		<-second.done
		require.Equal(t, memoryTTL, time.Since(start), "others lead after the TTL")
		require.True(t, second.leads())
		require.ErrorIs(t, a.stand("other").result(), distributed.ErrLeaseLost)
	})
}

func TestMemoryValidityCountsFromWhenTheRenewalWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		hub.SetDelay(2 * time.Second)
		start := time.Now()
		first := newMemoryNode(t, hub, "a").stand("job")
		<-first.done
		require.Equal(t, 4*time.Second, time.Since(start), "the lease and the candidacy took 2 s each")
		time.Sleep(3 * time.Second)
		hub.Refuse("a", errCutOff)
		<-first.lost.Done()
		const sent = 2*time.Second + memoryTTL/4
		require.Equal(t, sent+memoryTTL-memoryGrace, time.Since(start))
	})
}

func TestMemoryRenewalThatComesBackTooLateResurrectsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newMemoryNode(t, hub, "a")
		first := a.stand("job")
		hub.SetDelay(memoryTTL)
		<-first.lost.Done()
		hub.SetDelay(0)
		time.Sleep(time.Hour)
		require.False(t, first.Valid())
		require.ErrorIs(t, a.stand("job").result(), distributed.ErrLeaseLost)
		require.Empty(t, hub.Candidates("app", "job"), "what the lease held has expired with it")
	})
}

func TestMemoryLostIsCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "a").stand("job")
		hub.RemoveCandidate("app", "job", "a")
		hub.RemoveCandidate("app", "job", "a")
		hub.Expire("a")
		hub.Expire("a")
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, first.losses.Load())
	})
}

func TestMemoryLeaseThatRanOutLeavesNothingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		lease, err := distributed.NewMemoryLeaseProvider(hub).AcquireLease(t.Context(),
			distributed.LeaseRequest{App: "app", Instance: "a", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		unclosed := &memoryNode{Lease: lease, t: t}
		first, waiting := unclosed.stand("job"), unclosed.stand("job")
		hub.Refuse("a", errCutOff)
		waiting.cancel()
		require.NoError(t, first.Resign(t.Context()))
	})
}

func TestMemoryExpireTakesLeadershipAwayAtOnceAndGivesItToOthersAfterTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "a"), time.Now()
		first := a.stand("job")
		other := newMemoryNode(t, hub, "b").stand("other job")
		waiting := a.stand("other job")
		second := newMemoryNode(t, hub, "c").stand("job")

		require.True(t, hub.Expire("a"))
		require.ErrorIs(t, context.Cause(first.lost), distributed.ErrLeadershipLost)
		require.False(t, first.Valid())
		require.ErrorIs(t, waiting.result(), distributed.ErrLeaseLost, "no win under a lease that has ended")
		require.Equal(t, []string{"b"}, hub.Candidates("app", "other job"), "who waited stands in nobody's way")
		instance, _ := hub.Leader("app", "job")
		require.Empty(t, instance)
		require.True(t, second.waits(), "the work may still be stopping")

		<-second.done
		require.Equal(t, memoryTTL, time.Since(start))
		require.True(t, second.leads())
		require.True(t, other.leads(), "the leases of other nodes are not touched")
		require.False(t, hub.Expire("a"), "there is no lease any more")
	})
}

func TestMemorySuccessorOfALostLeaseNeedNotWaitOnceTheWorkIsReleased(t *testing.T) {
	release := map[string]func(a *memoryNode, first *memoryStanding) error{
		"by Resign": func(a *memoryNode, first *memoryStanding) error { return first.Resign(a.t.Context()) },
		"by Close":  func(a *memoryNode, _ *memoryStanding) error { return a.Close(a.t.Context()) },
	}
	for name, release := range release {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := new(distributed.MemoryHub)
				a, start := newMemoryNode(t, hub, "a"), time.Now()
				first := a.stand("job")
				second := newMemoryNode(t, hub, "b").stand("job")
				hub.Expire("a")
				time.Sleep(time.Second)
				require.True(t, second.waits())
				require.NoError(t, release(a, first))
				require.True(t, second.leads())
				require.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}

func TestMemoryLeaderRemovedByAForeignHandStopsBeforeOthersLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "a"), time.Now()
		first, other := a.stand("job"), a.stand("other job")
		second := newMemoryNode(t, hub, "b").stand("job")

		require.True(t, hub.RemoveCandidate("app", "job", "a"))
		require.ErrorIs(t, context.Cause(first.lost), distributed.ErrLeadershipLost)
		require.False(t, first.Valid())
		require.True(t, other.Valid(), "the lease lives")
		require.True(t, second.waits())

		<-second.done
		require.Equal(t, memoryTTL, time.Since(start))
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, second.leads(), "resigning what is lost takes nothing from the successor")
		require.True(t, a.stand("job").waits(), "and the node may stand again")
		require.False(t, hub.RemoveCandidate("app", "job", "nobody"))
	})
}

func TestMemoryWaitingCandidateRemovedByAForeignHandQueuesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "a").stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		third := newMemoryNode(t, hub, "c").stand("job")
		require.True(t, hub.RemoveCandidate("app", "job", "b"))
		synctest.Wait()
		require.Equal(t, []string{"a", "c", "b"}, hub.Candidates("app", "job"))
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, third.leads())
		require.NoError(t, third.Resign(t.Context()))
		require.True(t, second.leads())
		require.Greater(t, second.token, third.token)
	})
}

func TestMemoryCancelledCampaignLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "a").stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		third := newMemoryNode(t, hub, "c").stand("job")
		second.cancel()
		require.ErrorIs(t, second.result(), context.Canceled)
		require.Equal(t, []string{"a", "c"}, hub.Candidates("app", "job"))
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, third.leads())
		require.False(t, second.Valid())
	})
}

func TestMemoryCampaignCancelledWhileCutOffIsWithdrawnLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "a").stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		third := newMemoryNode(t, hub, "c").stand("job")
		hub.Refuse("b", errCutOff)
		second.cancel()
		require.ErrorIs(t, second.result(), context.Canceled, "at once")
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, third.waits())
		hub.Refuse("b", nil)
		require.True(t, third.leads())
	})
}

func TestMemoryCampaignWaitsWhileCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newMemoryNode(t, hub, "a")
		hub.Refuse("", errCutOff)
		s := a.stand("job")
		require.True(t, s.waits())
		gaveUp := a.stand("other job")
		gaveUp.cancel()
		require.ErrorIs(t, gaveUp.result(), context.Canceled)
		hub.Refuse("", nil)
		require.True(t, s.leads())
		require.Empty(t, hub.Candidates("app", "other job"))
	})
}

func TestMemoryNodeThatIsCutOffIsNotToldThatItLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "a").stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		hub.Refuse("b", errCutOff)
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, second.waits())
		hub.Refuse("b", nil)
		require.True(t, second.leads())
	})
}

func TestMemoryResignationIsRepeatedUntilTheHubAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newMemoryNode(t, hub, "a")
		first := a.stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		hub.Refuse("a", errCutOff)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, first.Resign(ctx), context.DeadlineExceeded)
		require.False(t, first.Valid(), "over, whatever Resign returns")
		require.NoError(t, first.lost.Err(), "lost is not called after Resign")
		require.True(t, second.waits())

		again := a.stand("job")
		hub.Refuse("a", nil)
		require.True(t, second.leads(), "the hub was told in the background")
		require.True(t, again.waits(), "not taken in by the old candidacy")
		require.NoError(t, second.Resign(t.Context()))
		require.True(t, again.leads())
		require.Greater(t, again.token, second.token)
	})
}

func TestMemoryResignReturnsWhenTheLeaseHasRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "a"), time.Now()
		first := a.stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		hub.Refuse("a", errCutOff)
		require.NoError(t, first.Resign(t.Context()))
		require.Equal(t, memoryTTL, time.Since(start))
		require.True(t, second.leads())
	})
}

func TestMemoryCloseFreesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "a"), time.Now()
		led := a.stand("job")
		other := newMemoryNode(t, hub, "b").stand("other job")
		waiting := a.stand("other job")
		successor := newMemoryNode(t, hub, "c").stand("job")

		require.NoError(t, a.Close(t.Context()))
		require.False(t, led.Valid())
		require.NoError(t, led.lost.Err(), "closing is no loss: the work has stopped before")
		require.ErrorIs(t, waiting.result(), distributed.ErrLeaseLost)
		require.ErrorIs(t, a.stand("job").result(), distributed.ErrLeaseLost)
		require.True(t, successor.leads())
		require.True(t, other.leads())
		require.Equal(t, []string{"b"}, hub.Candidates("app", "other job"))
		require.NoError(t, a.Close(t.Context()), "idempotent")
		require.NoError(t, led.Resign(t.Context()))
		require.Equal(t, start, time.Now())
	})
}

func TestMemoryCloseThatTheHubRefusesLeavesTheRestToExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "a"), time.Now()
		a.stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		hub.Refuse("a", errCutOff)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := a.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errCutOff)
		require.Equal(t, time.Second, time.Since(start))
		require.NoError(t, a.Close(t.Context()), "idempotent")
		<-second.done
		require.Equal(t, memoryTTL, time.Since(start))
		require.True(t, second.leads())
	})
}

func TestMemoryWaitingCampaignMakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		newMemoryNode(t, hub, "a").stand("job")
		second := newMemoryNode(t, hub, "b").stand("job")
		require.True(t, second.waits())
		before := hub.Calls()
		require.Positive(t, before)
		time.Sleep(time.Hour)
		require.Equal(t, before, hub.Calls())
	})
}

func TestMemoryLeasesOfOneInstanceAreNodesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "a").stand("job")
		second := newMemoryNode(t, hub, "a").stand("job")
		require.True(t, first.leads())
		require.True(t, second.waits())
	})
}

func TestMemoryHubsAreStoresOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.True(t, newMemoryNode(t, nil, "a").stand("job").leads())
		require.True(t, newMemoryNode(t, nil, "b").stand("job").leads())
	})
}

func TestMemoryAcquireLeaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		request := distributed.LeaseRequest{App: "app", Instance: "a", Logger: slog.New(slog.DiscardHandler)}

		hub.Refuse("a", errCutOff)
		_, err := distributed.NewMemoryLeaseProvider(hub).AcquireLease(t.Context(), request)
		require.ErrorIs(t, err, errCutOff)
		hub.Refuse("a", nil)

		hub.SetDelay(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = distributed.NewMemoryLeaseProvider(hub).AcquireLease(ctx, request)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		for _, ttl := range []time.Duration{-1, 0, time.Millisecond - 1} {
			_, err = distributed.NewMemoryLeaseProvider(hub, distributed.WithMemoryTTL(ttl)).AcquireLease(t.Context(), request)
			require.ErrorIs(t, err, distributed.ErrInvalidConfig)
			require.ErrorContains(t, err, fmt.Sprintf("WithMemoryTTL(%v): must be at least 1ms", ttl))
		}
		require.False(t, hub.Expire("a"), "nothing was left behind")
	})
}

func TestMemoryTTLIsAnOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		start := time.Now()
		s := newMemoryNode(t, hub, "a", distributed.WithMemoryTTL(time.Second)).stand("job")
		hub.Refuse("a", errCutOff)
		<-s.lost.Done()
		require.Equal(t, 800*time.Millisecond, time.Since(start))
	})
}

// Whatever the nodes do and the hub suffers, no two lead at once, and tokens
// rise. The seed is in the name of the test that fails.
func TestMemoryNoTwoNodesLeadAtOnceWhateverHappens(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chaos := &memoryChaos{t: t, rand: rand.New(rand.NewPCG(seed, 0)), standings: map[string]*memoryStanding{}}
				for range 200 {
					chaos.step()
					synctest.Wait()
					chaos.check()
				}
				require.Positive(t, chaos.last, "somebody led")
			})
		})
	}
}

type memoryChaos struct {
	t         *testing.T
	rand      *rand.Rand
	hub       distributed.MemoryHub
	nodes     [3]*memoryNode
	standings map[string]*memoryStanding
	last      int64 // token
}

func (m *memoryChaos) step() {
	i := m.rand.IntN(len(m.nodes))
	name := string(rune('a' + i))
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Millisecond)
	defer cancel()
	switch s := m.standings[name]; m.rand.IntN(10) {
	case 0:
		m.hub.Expire(name)
	case 1:
		m.hub.RemoveCandidate("app", "job", name)
	case 2:
		m.hub.Refuse(name, errCutOff)
	case 3, 4:
		m.hub.Refuse(name, nil)
	case 5:
		m.hub.SetDelay(time.Duration(m.rand.IntN(2)) * 100 * time.Microsecond)
	case 6:
		time.Sleep(time.Duration(m.rand.Int64N(int64(memoryTTL))))
	default:
		switch {
		case m.nodes[i] == nil || s != nil && !s.waits() && errors.Is(s.err, distributed.ErrLeaseLost):
			m.replace(ctx, i, name)
		case s == nil:
			m.standings[name] = m.nodes[i].stand("job")
		case s.waits():
			s.cancel()
		case s.err == nil:
			_ = s.Resign(ctx)
			fallthrough
		default:
			delete(m.standings, name)
		}
	}
}

func (m *memoryChaos) replace(ctx context.Context, i int, name string) {
	if m.nodes[i] != nil {
		_ = m.nodes[i].Close(ctx)
	}
	delete(m.standings, name)
	m.nodes[i] = nil
	lease, err := distributed.NewMemoryLeaseProvider(&m.hub).AcquireLease(ctx, distributed.LeaseRequest{App: "app", Instance: name, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		m.nodes[i] = closedAtTheEnd(m.t, lease)
	}
}

func (m *memoryChaos) check() {
	var leaders []string
	for name, s := range m.standings {
		if s.waits() || s.err != nil || s.lost.Err() != nil {
			continue
		}
		leaders = append(leaders, name)
		require.GreaterOrEqual(m.t, s.token, m.last)
		m.last = s.token
	}
	require.LessOrEqual(m.t, len(leaders), 1, "leaders: %v", leaders)
}

// memoryNode is a lease that is closed at the end of the test.
type memoryNode struct {
	distributed.Lease
	t *testing.T
}

func newMemoryNode(t *testing.T, hub *distributed.MemoryHub, instance string, opts ...distributed.MemoryOption) *memoryNode {
	lease, err := distributed.NewMemoryLeaseProvider(hub, opts...).AcquireLease(t.Context(),
		distributed.LeaseRequest{App: "app", Instance: instance, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return closedAtTheEnd(t, lease)
}

func closedAtTheEnd(t *testing.T, lease distributed.Lease) *memoryNode {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*memoryTTL)
		defer cancel()
		require.NoError(t, lease.Close(ctx))
	})
	return &memoryNode{Lease: lease, t: t}
}

// memoryStanding is a campaign in a goroutine of its own, and what it won.
type memoryStanding struct {
	distributed.Election
	cancel context.CancelFunc
	lost   context.Context // done when lost is called
	losses atomic.Int32    // how often it was called

	done  chan struct{} // closed when Campaign has returned
	token int64
	err   error
}

// stand returns when everything that it leads to has happened.
func (n *memoryNode) stand(name string) *memoryStanding {
	ctx, cancel := context.WithCancel(n.t.Context())
	lost, lose := context.WithCancelCause(context.Background())
	s := &memoryStanding{Election: n.Election(name), cancel: cancel, lost: lost, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.token, s.err = s.Campaign(ctx, func(cause error) { s.losses.Add(1); lose(cause) })
	}()
	synctest.Wait()
	return s
}

func (s *memoryStanding) waits() bool {
	synctest.Wait()
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *memoryStanding) leads() bool { return !s.waits() && s.err == nil && s.Valid() }

// result is of a campaign that has returned.
func (s *memoryStanding) result() error {
	synctest.Wait()
	<-s.done
	return s.err
}

// How a test sees what a store that takes a lease away does to a job.
func ExampleMemoryHub() {
	hub := new(distributed.MemoryHub)
	node := distributed.NewConcurrency("app", "node-1", distributed.NewMemoryLeaseProvider(hub))
	defer node.Close()
	leadership, err := node.Campaign(context.Background(), "job")
	if err != nil {
		panic(err)
	}

	hub.Expire("node-1")
	fmt.Println(leadership.Context().Err(), leadership.Valid())
	fmt.Println(context.Cause(leadership.Context()))
	// Output:
	// context canceled false
	// distributed: leadership lost: the lease was taken away
}

package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
	memorySpell = memoryTTL + memoryTTL/50 // for which others wait for one that is silent
)

var errCutOff = errors.New("cut off")

func TestMemoryHubShowsWhoLeadsAndWhoWaits(t *testing.T) {
	for _, job := range []string{"job", "a/b", `"quoted"`, strings.Repeat("ä", 256)} {
		t.Run(job[:3], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := new(distributed.MemoryHub)
				instance, token := hub.Leader("app", job)
				require.Empty(t, instance)
				require.Zero(t, token)
				names := []string{"a", "b", "c"}
				var standings []*memoryStanding
				for _, name := range names {
					standings = append(standings, newMemoryNode(t, hub, "app", name).stand(job))
				}
				for i, s := range standings {
					require.True(t, s.leads())
					require.Equal(t, names[i:], hub.Candidates("app", job))
					instance, token := hub.Leader("app", job)
					require.Equal(t, names[i], instance)
					require.Equal(t, s.token, token)
					require.NoError(t, s.Resign(t.Context()))
				}
				require.Empty(t, hub.Candidates("app", job))
				instance, _ = hub.Leader("app", job)
				require.Empty(t, instance)
			})
		})
	}
}

func TestMemoryHubKeepsAppsAndNamespacesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		one := newMemoryNode(t, hub, "one", "a").stand("job")
		two := newMemoryNode(t, hub, "two", "b").stand("job")
		three := newMemoryNode(t, hub, "one", "c", distributed.WithNamespace("ns/")).stand("job")
		other := newMemoryNode(t, nil, "one", "d").stand("job")
		for app, leader := range map[string]*memoryStanding{"one": one, "two": two, "ns/one": three} {
			require.True(t, leader.leads())
			_, token := hub.Leader(app, "job")
			require.Equal(t, leader.token, token)
			require.Len(t, hub.Candidates(app, "job"), 1)
		}
		require.True(t, other.leads(), "on a hub of its own")
		hub.RemoveCandidate("one", "job", "a")
		require.True(t, two.leads())
		require.True(t, three.leads())
		require.False(t, one.leads())
	})
}

func TestMemoryHubShowsNobodyWhoHasBeenSilentForTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		first := newMemoryNode(t, hub, "app", "a").stand("job")
		second := newMemoryNode(t, hub, "app", "b").stand("job")
		hub.Refuse("a", errCutOff)
		time.Sleep(memoryTTL - 1)
		instance, _ := hub.Leader("app", "job")
		require.Equal(t, "a", instance)
		time.Sleep(1)
		require.False(t, first.leads())
		require.True(t, second.waits())
		instance, _ = hub.Leader("app", "job")
		require.Empty(t, instance)
		require.Equal(t, []string{"a", "b"}, hub.Candidates("app", "job"))
		<-second.done
		require.Equal(t, []string{"b"}, hub.Candidates("app", "job"))
		instance, token := hub.Leader("app", "job")
		require.Equal(t, "b", instance)
		require.Equal(t, second.token, token)
	})
}

// Nobody begins to lead while others wait for one that was lost; who leads already,
// leads on. What the hub says does not depend on when it was asked before.
func TestMemoryHubShowsWhoLeadsOnAfterALoss(t *testing.T) {
	for name, ask := range map[string]bool{"asked all along": true, "asked late": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := new(distributed.MemoryHub)
				lost := newMemoryNode(t, hub, "app", "a").stand("x")
				newMemoryNode(t, hub, "app", "b").stand("y")
				next := newMemoryNode(t, hub, "app", "c").stand("x")
				leaders := func() [2]string {
					x, _ := hub.Leader("app", "x")
					y, _ := hub.Leader("app", "y")
					return [2]string{x, y}
				}
				if ask {
					require.Equal(t, [2]string{"a", "b"}, leaders())
				}
				start := time.Now()
				require.True(t, hub.Expire("a"))
				require.False(t, lost.Valid())
				require.True(t, next.waits())
				if ask {
					require.Equal(t, [2]string{"", "b"}, leaders())
				}
				time.Sleep(memorySpell - 1)
				require.Equal(t, [2]string{"", "b"}, leaders())
				<-next.done
				require.Equal(t, memorySpell, time.Since(start))
				require.Equal(t, [2]string{"c", "b"}, leaders())
				time.Sleep(20 * memoryTTL * 4096 / 100) // more than the hub remembers
				require.Equal(t, [2]string{"c", "b"}, leaders())
			})
		})
	}
}

func TestMemoryExpireEndsALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "app", "a"), time.Now()
		first := a.stand("job")
		other := newMemoryNode(t, hub, "app", "b").stand("other job")
		waiting := a.stand("other job")
		second := newMemoryNode(t, hub, "app", "c").stand("job")

		require.True(t, hub.Expire("a"))
		require.ErrorIs(t, context.Cause(first.lost), distributed.ErrLeadershipLost)
		require.False(t, first.Valid())
		require.ErrorIs(t, waiting.result(), distributed.ErrLeaseLost)
		require.True(t, second.waits(), "the work may still be stopping")
		time.Sleep(time.Second)
		require.NoError(t, a.Close(t.Context()))
		require.True(t, second.leads(), "it has stopped")
		require.Equal(t, time.Second, time.Since(start))
		require.True(t, other.leads(), "the leases of other nodes are not touched")
		require.False(t, hub.Expire("a"), "there is no lease any more")
	})
}

func TestMemoryRemoveCandidateEndsALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "app", "a"), time.Now()
		first, other := a.stand("job"), a.stand("other job")
		second := newMemoryNode(t, hub, "app", "b").stand("job")
		for _, args := range [][3]string{{"app", "job", "c"}, {"app", "no job", "a"}, {"ap", "job", "a"}, {"app", "other job", "b"}} {
			require.False(t, hub.RemoveCandidate(args[0], args[1], args[2]))
		}
		require.True(t, first.leads())

		require.True(t, hub.RemoveCandidate("app", "job", "a"))
		for _, s := range []*memoryStanding{first, other} {
			require.ErrorIs(t, context.Cause(s.lost), distributed.ErrLeadershipLost)
			require.False(t, s.Valid())
		}
		require.ErrorIs(t, a.stand("third job").result(), distributed.ErrLeaseLost)
		require.True(t, second.waits())
		<-second.done
		require.Equal(t, memorySpell, time.Since(start))
		require.True(t, second.leads())
	})
}

func TestMemoryRefuseCutsANodeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		request := distributed.LeaseRequest{App: "app", Instance: "late", Logger: slog.New(slog.DiscardHandler)}
		a := newMemoryNode(t, hub, "app", "a")
		first := a.stand("job")
		second := newMemoryNode(t, hub, "app", "b").stand("job")
		third := newMemoryNode(t, hub, "app", "c").stand("job")

		hub.Refuse("b", errCutOff)
		require.NoError(t, first.Resign(t.Context()))
		require.True(t, second.waits(), "it is not told that it leads")
		require.True(t, third.waits())
		hub.Refuse("b", nil)
		<-second.done
		require.True(t, second.leads())

		hub.Refuse("", errCutOff)
		_, err := distributed.NewMemoryLeaseProvider(hub).AcquireLease(t.Context(), request)
		require.ErrorIs(t, err, errCutOff)
		_, err = distributed.NewMemoryLeaseProvider(hub).OpenView(t.Context(), request)
		require.ErrorIs(t, err, errCutOff)
		again := a.stand("job")
		gaveUp := a.stand("other job")
		gaveUp.cancel()
		require.ErrorIs(t, gaveUp.result(), context.Canceled)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, second.Resign(ctx), context.DeadlineExceeded)
		require.False(t, second.Valid(), "over, whatever Resign returns")
		hub.Refuse("", nil)
		<-third.done
		require.True(t, third.leads(), "the hub was told in the background")
		require.True(t, again.waits())
		require.Empty(t, hub.Candidates("app", "other job"))
		require.False(t, hub.Expire("late"), "nothing was left behind")
	})
}

func TestMemoryCloseThatTheHubRefusesLeavesTheRestToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, start := newMemoryNode(t, hub, "app", "a"), time.Now()
		a.stand("job")
		second := newMemoryNode(t, hub, "app", "b").stand("job")
		hub.Refuse("a", errCutOff)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := a.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errCutOff)
		require.Equal(t, time.Second, time.Since(start))
		require.NoError(t, a.Close(t.Context()))
		<-second.done
		require.Equal(t, memorySpell, time.Since(start))
	})
}

func TestMemoryDelayIsThatOfEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newMemoryNode(t, hub, "app", "a")
		first := a.stand("job")
		second := newMemoryNode(t, hub, "app", "b").stand("job")
		hub.SetDelay(300 * time.Millisecond)
		start := time.Now()
		require.NoError(t, first.Resign(t.Context()))
		<-second.done
		require.Equal(t, 300*time.Millisecond, time.Since(start))
		hub.SetDelay(-time.Second)
		start = time.Now()
		require.NoError(t, second.Resign(t.Context()))
		require.Equal(t, start, time.Now())

		hub.SetDelay(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := distributed.NewMemoryLeaseProvider(hub).AcquireLease(ctx, distributed.LeaseRequest{App: "app", Instance: "late", Logger: slog.New(slog.DiscardHandler)})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		require.ErrorIs(t, a.stand("job").result(), distributed.ErrLeaseLost, "heartbeats that come too late")
	})
}

func TestMemoryWritesAreHeartbeatsWhileCampaignsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		require.Zero(t, hub.Writes())
		a, b := newMemoryNode(t, hub, "app", "a"), newMemoryNode(t, hub, "app", "b")
		for _, job := range []string{"x", "y", "z"} {
			require.True(t, a.stand(job).leads())
			require.True(t, b.stand(job).waits())
		}
		time.Sleep(memoryTTL)
		before := hub.Writes()
		time.Sleep(100 * memoryTTL)
		writes := hub.Writes() - before
		require.GreaterOrEqual(t, writes, 2*4*100)
		require.LessOrEqual(t, writes, 2*4*100*10/9+2)
	})
}

func TestLeaseOptionsAreCheckedBeforeAnythingIsWritten(t *testing.T) {
	for says, opt := range map[string]distributed.LeaseOption{
		"WithLeaseTTL(199ms): must be between 200ms and 5m0s":                        distributed.WithLeaseTTL(199 * time.Millisecond),
		"WithLeaseTTL(5m0.001s): must be between 200ms and 5m0s":                     distributed.WithLeaseTTL(300*time.Second + time.Millisecond),
		"WithLeaseTTL(0s): must be between 200ms and 5m0s":                           distributed.WithLeaseTTL(0),
		"WithLeaseTTL(-1s): must be between 200ms and 5m0s":                          distributed.WithLeaseTTL(-time.Second),
		"WithLeaseTTL(1.0000001s): must be a whole number of milliseconds":           distributed.WithLeaseTTL(time.Second + 100),
		"WithLeaseGrace(-1ns): must be between 0 and 6.275s with a lease TTL of 10s": distributed.WithLeaseGrace(-1),
		"WithClockDrift(0.2): must be between 0 and 0.1":                             distributed.WithClockDrift(0.2),
		"an option is nil": nil,
	} {
		hub := new(distributed.MemoryHub)
		p := distributed.NewMemoryLeaseProvider(hub, opt)
		request := distributed.LeaseRequest{App: "app", Instance: "a", Logger: slog.New(slog.DiscardHandler)}
		_, err := p.AcquireLease(t.Context(), request)
		require.ErrorIs(t, err, distributed.ErrInvalidConfig, says)
		require.ErrorContains(t, err, says)
		_, err = p.OpenView(t.Context(), request)
		require.ErrorIs(t, err, distributed.ErrInvalidConfig, says)
		require.Zero(t, hub.Writes())
	}
	for _, ttl := range []time.Duration{200 * time.Millisecond, 300 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			hub := new(distributed.MemoryHub)
			first := newMemoryNode(t, hub, "app", "a", distributed.WithLeaseTTL(ttl)).stand("job")
			second := newMemoryNode(t, hub, "app", "b").stand("job")
			time.Sleep(10 * ttl)
			require.True(t, first.leads())
			hub.Refuse("a", errCutOff)
			start := time.Now()
			<-second.done
			require.LessOrEqual(t, time.Since(start), ttl+ttl/50, "nodes with different TTLs understand one another")
			require.Greater(t, time.Since(start), ttl/2)
		})
	}
}

// memoryNode is a lease that is closed at the end of the test.
type memoryNode struct {
	distributed.Lease
	t *testing.T
}

func newMemoryNode(t *testing.T, hub *distributed.MemoryHub, app, instance string, opts ...distributed.LeaseOption) *memoryNode {
	lease, err := distributed.NewMemoryLeaseProvider(hub, opts...).AcquireLease(t.Context(),
		distributed.LeaseRequest{App: app, Instance: instance, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), memoryTTL)
		defer cancel()
		_ = lease.Close(ctx) // a hub that refuses is what some tests are about
	})
	return &memoryNode{Lease: lease, t: t}
}

// memoryStanding is a campaign in a goroutine of its own, and what it won.
type memoryStanding struct {
	distributed.Election
	cancel context.CancelFunc
	lost   context.Context // done when lost is called

	done  chan struct{} // closed when the campaign is decided
	token int64
	err   error
}

// stand returns when everything that it leads to at once has happened.
func (n *memoryNode) stand(name string) *memoryStanding {
	ctx, cancel := context.WithCancel(n.t.Context())
	lost, lose := context.WithCancelCause(context.Background())
	s := &memoryStanding{Election: n.Election(name), cancel: cancel, lost: lost, done: make(chan struct{})}
	s.Campaign(ctx, func(token int64, err error) { s.token, s.err = token, err; close(s.done) }, lose)
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
	// distributed: leadership lost: a document of the node was changed or deleted by somebody else
}

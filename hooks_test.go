package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func TestHooksTellTheLifeOfAJobInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var onA, onB record[string]
		a := s.execute("a", works{"x": stopsAfter(time.Second / 2)}, tellingAll(&onA))
		b := s.execute("b", works{"x": untilDone}, tellingAll(&onB))
		time.Sleep(time.Minute)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, []string{
			"store up 0s", "lease acquired 0s", "campaigning x", "elected x 0s", "work started x",
			"work returned x 1m0.5s <nil>", "resigned x 1m0.5s shutting down", "lease released",
		}, onA.all())

		time.Sleep(time.Minute)
		b.stop(errShutdown)
		require.NoError(t, b.result())
		require.Equal(t, []string{
			"store up 0s", "lease acquired 0s", "campaigning x", "elected x 1m0.5s", "handed over x 0s", "work started x",
			"work returned x 1m0s context canceled", "resigned x 1m0s shutting down", "lease released",
		}, onB.all())
	})
}

func TestHooksTellALossAndItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var happened record[string]
		s.execute("a", works{"x": stopsAfter(1500 * time.Millisecond)}, tellingAll(&happened))
		time.Sleep(time.Minute)
		before := len(happened.all())
		s.hub.Expire("a")
		time.Sleep(time.Minute)
		require.Equal(t, []string{
			"lost x 1m0s distributed: leadership lost: a document of the node was changed or deleted by somebody else",
			"lease lost: a document of the node was changed or deleted by somebody else",
			"stuck x 1s", "work returned x 1m1.5s <nil>",
			"campaigning x", "lease acquired 0s", "elected x 0s", "work started x",
		}, happened.all()[before:])
	})
}

func TestHooksTellWhyATermEnded(t *testing.T) {
	errWork := errors.New("work broke")
	for cause, w := range map[string]func(context.Context) error{
		"distributed: leadership resigned": func(ctx context.Context) error { return sleepFor(ctx, 45*time.Second) },
		"distributed: term ended":          untilDone,
		`distributed: job "x": work broke`: func(context.Context) error { time.Sleep(45 * time.Second); return errWork },
	} {
		t.Run(cause, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				var causes record[string]
				s.execute("a", works{"x": w, "y": untilDone},
					distributed.WithVoluntaryTimeout(func(job string) time.Duration { return map[string]time.Duration{"x": time.Minute}[job] }),
					distributed.WithHooks(distributed.Hooks{
						Resigned: func(job string, _ int64, _ time.Duration, cause error) {
							if job == "x" {
								causes.add(cause.Error())
							}
						},
					}))
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, []string{cause}, causes.all())
			})
		})
	}
}

func TestGapIsCountedFromTheReleaseAsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var onB record[string]
		a := s.execute("a", works{"x": untilDone})
		s.execute("b", works{"x": untilDone}, tellingAll(&onB))
		tell := s.hub.HoldReplies("b")
		a.stop(errShutdown)
		time.Sleep(700 * time.Millisecond)
		tell()
		require.Contains(t, onB.all(), "elected x 700ms")
		require.Contains(t, onB.all(), "handed over x 0s")
	})
}

func TestNoGapIsToldWhereNoneIsKnown(t *testing.T) {
	for name, loss := range map[string]func(*distributed.MemoryHub){
		"the lease was lost":        func(hub *distributed.MemoryHub) { hub.Expire("a") },
		"the candidacy was removed": func(hub *distributed.MemoryHub) { hub.RemoveCandidate("app", "x", "a") },
		"it was cut off":            func(hub *distributed.MemoryHub) { hub.Refuse("a", errAway) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				var onB record[string]
				s.execute("a", works{"x": untilDone})
				s.execute("b", works{"x": untilDone}, tellingAll(&onB))
				loss(s.hub)
				time.Sleep(time.Minute)
				require.Equal(t, "b", s.runner("x"))
				for _, happened := range onB.all() {
					require.NotContains(t, happened, "handed over")
				}
			})
		})
	}
}

func TestRenewalsAreToldWithLatencyAndMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		hub.SetDelay(100 * time.Millisecond)
		type renewal struct{ latency, remaining time.Duration }
		var renewals record[renewal]
		a := newConcurrency(t, hub, "a", distributed.WithHooks(distributed.Hooks{
			LeaseRenewed: func(latency, remaining time.Duration) { renewals.add(renewal{latency, remaining}) },
		}))
		bidFor(t, a, "x")
		time.Sleep(8500 * time.Millisecond) // it has led after 0.4 s, and three periods take 6.75 to 7.5 s
		told := renewals.all()
		require.Len(t, told, 4)
		for i, r := range told {
			require.Equal(t, 100*time.Millisecond, r.latency)
			if i > 0 { // the first one follows at once
				require.InDelta(t, 7300*time.Millisecond, r.remaining, float64(300*time.Millisecond), "sent after 2.25 to 2.5 s, with a TTL of 10 s")
			}
		}
	})
}

func TestAStoreThatGoesAwayAndComesBackIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		var happened record[string]
		a := newConcurrency(t, hub, "a", tellingAll(&happened))
		l := leads(t, a, "x")
		before := len(happened.all())
		hub.Refuse("a", errAway)
		time.Sleep(9 * time.Second)
		require.NoError(t, l.Resign(t.Context()))
		bidFor(t, a, "x")
		time.Sleep(time.Hour)
		hub.Refuse("a", nil)
		time.Sleep(5 * time.Second)
		told := slices.Compact(happened.all()[before:]) // each attempt that failed is told, one after the other
		require.Equal(t, []string{
			"store down: the store is away", "renewal failed: the store is away",
			"lost x 7.775s distributed: leadership lost: no heartbeat came back in time",
			"lease lost: no heartbeat came back in time",
			"campaigning x",
		}, told[:5])
		require.Len(t, told, 8)
		require.Regexp(t, `^store up 1h0m\d`, told[5])
		require.Regexp(t, `^lease acquired 1h0m\d`, told[6])
		require.Regexp(t, `^elected x 1h0m\d`, told[7])
	})
}

func TestACampaignThatIsNotWonIsToldWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var happened record[string]
		s.execute("a", works{"x": untilDone})
		b := s.execute("b", works{"x": untilDone}, distributed.WithJobQuota(1), tellingAll(&happened))
		require.NoError(t, b.AddJob(s.job("b", "y", untilDone)))
		require.Equal(t, "b", s.runner("y"))
		require.Contains(t, happened.all(), "withdrawn x 0s distributed: job quota reached")

		c := newConcurrency(t, s.hub, "c", tellingAll(&happened))
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(errShutdown) })
		_, err := c.Campaign(ctx, "x")
		require.ErrorIs(t, err, context.Canceled)
		require.Contains(t, happened.all(), "withdrawn x 1m0s shutting down")
	})
}

// A provider may ignore the events; what the campaigns show is told then.
func TestALostLeaseIsToldThoughTheProviderDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var happened record[string]
		hub := new(distributed.MemoryHub)
		silent := acquire(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
			req.Events = distributed.LeaseEvents{}
			return distributed.NewMemoryLeaseProvider(hub).AcquireLease(ctx, req)
		})
		c := distributed.NewConcurrency("app", "a", silent, tellingAll(&happened))
		leads(t, c, "x")
		y := bidFor(t, newConcurrency(t, hub, "b"), "y")
		require.True(t, y.leads())
		bidFor(t, c, "y")
		hub.Expire("a")
		synctest.Wait()
		require.NoError(t, c.Resign(t.Context(), "x"))
		require.Contains(t, happened.all(), "lease lost: distributed: lease lost")
		require.NoError(t, c.Close())
	})
}

// What a hook calls would wait for ever if a lock were held.
func TestHooksAreCalledWithoutLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var processor *distributed.LeadershipBasedJobProcessor
		var calls record[string]
		look := func(hook string) {
			calls.add(hook)
			processor.View()
			_ = processor.AddJob(distributed.Job{Name: "x", Work: untilDone})
			s.hub.Leader("app", "x")
		}
		processor = distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{s.job("a", "x", stopsAfter(2*time.Second))},
			distributed.WithHooks(allHooks(look)))
		a := start(t, t.Context(), processor)
		time.Sleep(time.Minute)
		s.hub.Refuse("a", errAway)
		time.Sleep(time.Minute)
		s.hub.Refuse("a", nil)
		time.Sleep(time.Minute)
		b := s.execute("b", works{"x": untilDone})
		s.hub.Expire("a")
		time.Sleep(time.Minute)
		b.stop(nil)
		time.Sleep(time.Minute)
		c := s.execute("c", works{"x": untilDone})
		time.Sleep(time.Minute)
		a.stop(nil)
		require.NoError(t, a.result())
		c.stop(nil)
		seen := map[string]bool{}
		for _, hook := range calls.all() {
			seen[hook] = true
		}
		require.Len(t, seen, 15, "all but Withdrawn: %v", seen)
	})
}

func TestHooksOnETCD(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	const ttl = 10 * time.Second
	provider := distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl))
	type renewal struct{ latency, remaining time.Duration }
	gaps, lost, renewals := make(chan time.Duration, 10), make(chan error, 10), make(chan renewal, 100)
	begin := time.Now()
	a := distributed.NewConcurrency("app", "a", provider)
	defer func() { require.NoError(t, a.Close()) }()
	b := distributed.NewConcurrency("app", "b", provider, distributed.WithHooks(distributed.Hooks{
		HandedOver:   func(_ string, _ int64, gap time.Duration) { gaps <- gap },
		LeaseLost:    func(cause error) { lost <- cause },
		LeaseRenewed: func(latency, remaining time.Duration) { renewals <- renewal{latency, remaining} },
	}))
	defer func() { require.NoError(t, b.Close()) }()

	lead(t, b, "free")
	first := lead(t, a, "x")
	next := campaignFor(t, b, "x")
	view(t, cluster).awaitCandidates("x", 2)
	require.NoError(t, first.Resign(testContext(t)))
	won := next.won()
	gap := <-gaps
	require.Positive(t, gap)
	require.Less(t, gap, time.Since(begin))
	require.Empty(t, gaps, "nothing was handed over of what was free")

	r := <-renewals
	require.Positive(t, r.latency)
	require.Positive(t, r.remaining)
	require.Less(t, r.remaining, ttl-r.latency)

	view(t, cluster).delete("nodes/" + view(t, cluster).node("b"))
	<-won.Context().Done()
	require.ErrorContains(t, <-lost, "a document of the node was changed or deleted by somebody else")
	require.NoError(t, won.Resign(testContext(t)))
	require.NoError(t, b.Resign(testContext(t), "free"))
	lead(t, b, "x")
	require.Empty(t, gaps, "not after a loss")
}

func TestAllHooksThatAreGivenAreCalledInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls record[string]
		named := func(prefix string) distributed.ConcurrencyOption {
			return distributed.WithHooks(allHooks(func(hook string) { calls.add(prefix + hook) }))
		}
		hub := new(distributed.MemoryHub)
		sole := distributed.WithHooks(distributed.Hooks{Elected: func(string, int64, time.Duration) { calls.add("sole") }})
		a := newConcurrency(t, hub, "a", sole, named("first "), distributed.WithHooks(distributed.Hooks{}), named("second "))
		l := leads(t, a, "x")
		require.NoError(t, l.Resign(t.Context()))
		require.NoError(t, a.Close())
		require.Equal(t, []string{
			"first Campaigning", "second Campaigning", "first StoreUp", "second StoreUp", "first LeaseAcquired", "second LeaseAcquired",
			"sole", "first Elected", "second Elected", "first Resigned", "second Resigned", "first LeaseReleased", "second LeaseReleased",
		}, calls.all())
		require.Equal(t, 19, reflect.TypeFor[distributed.Hooks]().NumField(), "allHooks has them all")
	})
}

// tellingAll notes what hooks are told, but for renewals that worked.
func tellingAll(happened *record[string]) distributed.ConcurrencyOption {
	note := func(format string, args ...any) { happened.add(fmt.Sprintf(format, args...)) }
	return distributed.WithHooks(distributed.Hooks{
		Campaigning: func(job string) { note("campaigning %s", job) },
		Withdrawn: func(job string, waited time.Duration, cause error) {
			note("withdrawn %s %v %v", job, waited, cause)
		},
		Elected:    func(job string, _ int64, waited time.Duration) { note("elected %s %v", job, waited) },
		HandedOver: func(job string, _ int64, gap time.Duration) { note("handed over %s %v", job, gap) },
		Lost: func(job string, _ int64, held time.Duration, cause error) {
			note("lost %s %v %v", job, held, cause)
		},
		Resigned: func(job string, _ int64, held time.Duration, cause error) {
			note("resigned %s %v %v", job, held, cause)
		},
		WorkStarted: func(job string, _ int64) { note("work started %s", job) },
		WorkReturned: func(job string, _ int64, took time.Duration, err error) {
			note("work returned %s %v %v", job, took, err)
		},
		Stuck:              func(job string, _ int64, since time.Duration) { note("stuck %s %v", job, since) },
		LeaseAcquired:      func(took time.Duration) { note("lease acquired %v", took) },
		LeaseRenewalFailed: func(cause error) { note("renewal failed: %v", cause) },
		LeaseLost:          func(cause error) { note("lease lost: %v", cause) },
		LeaseReleased:      func() { note("lease released") },
		StoreDown:          func(cause error) { note("store down: %v", cause) },
		StoreUp:            func(away time.Duration) { note("store up %v", away) },
	})
}

// allHooks calls f with the name of each hook.
func allHooks(f func(hook string)) distributed.Hooks {
	return distributed.Hooks{
		Campaigning:        func(string) { f("Campaigning") },
		Withdrawn:          func(string, time.Duration, error) { f("Withdrawn") },
		Elected:            func(string, int64, time.Duration) { f("Elected") },
		HandedOver:         func(string, int64, time.Duration) { f("HandedOver") },
		Lost:               func(string, int64, time.Duration, error) { f("Lost") },
		Resigned:           func(string, int64, time.Duration, error) { f("Resigned") },
		WorkStarted:        func(string, int64) { f("WorkStarted") },
		WorkReturned:       func(string, int64, time.Duration, error) { f("WorkReturned") },
		Failed:             func(distributed.JobRecord, error) { f("Failed") },
		Recovered:          func(string, int64, int) { f("Recovered") },
		Done:               func(string, int64) { f("Done") },
		Stuck:              func(string, int64, time.Duration) { f("Stuck") },
		LeaseAcquired:      func(time.Duration) { f("LeaseAcquired") },
		LeaseRenewed:       func(time.Duration, time.Duration) { f("LeaseRenewed") },
		LeaseRenewalFailed: func(error) { f("LeaseRenewalFailed") },
		LeaseLost:          func(error) { f("LeaseLost") },
		LeaseReleased:      func() { f("LeaseReleased") },
		StoreDown:          func(error) { f("StoreDown") },
		StoreUp:            func(time.Duration) { f("StoreUp") },
	}
}

func sleepFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

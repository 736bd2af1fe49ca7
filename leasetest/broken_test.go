package leasetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

const brokenTTL = 10 * time.Second

// Every defect makes the cases fail that are about it, with words about it, and
// no other; and every case is there for a defect.
func TestEveryCaseFindsItsDefect(t *testing.T) {
	found := map[string]bool{}
	for _, d := range slices.Concat(defects, viewDefects) {
		t.Run(d.name, func(t *testing.T) {
			var failed []string
			for _, c := range cases {
				report := d.report(t, c)
				if report == "" {
					continue
				}
				failed = append(failed, c.name)
				require.Contains(t, report, "the contract: "+c.contract)
				if c.name == d.fails[0] {
					require.Contains(t, report, d.says)
				}
			}
			require.Subset(t, failed, d.fails)
			require.Subset(t, slices.Concat(d.fails, d.may), failed)
		})
		found[d.fails[0]] = true
	}
	for _, c := range cases {
		require.Contains(t, found, c.name, "no defect shows that this case can fail")
	}
}

func TestNoCaseFailsWithoutADefect(t *testing.T) {
	for _, c := range cases {
		require.Empty(t, defect{}.report(t, c), c.name)
	}
}

// Whoever cannot count calls is told that the case about them did not run.
func TestCaseAboutCallsIsSkippedWithoutAStoreThatCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range cases {
			b := &broken{defect: &defect{}}
			store := b.store()
			store.Calls = nil
			r := record(c, store)
			require.Empty(t, r.failures, c.name)
			require.Equal(t, c.name == "WaitingMakesNoCalls", r.skipped, c.name)
		}
	})
}

// report runs c on a provider with the defect and returns what c reports.
func (d defect) report(t *testing.T, c conformance) (report string) {
	synctest.Test(t, func(t *testing.T) {
		b := &broken{defect: &d}
		report = strings.Join(record(c, b.store()).failures, "\n")
		b.repair(t)
	})
	return report
}

// recorder is a test that may fail.
type recorder struct {
	mu       sync.Mutex
	failures []string
	skipped  bool
}

func record(c conformance, store Store) *recorder {
	r := new(recorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.check(r, store)
	}()
	<-done
	return r
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) FailNow() { runtime.Goexit() }

func (r *recorder) Skip(...any) {
	r.skipped = true
	runtime.Goexit()
}

// broken is the memory provider with a defect.
type broken struct {
	*defect
	hub     distributed.MemoryHub
	leases  []*brokenLease
	viewers []*brokenViewer

	mu      sync.Mutex
	waiting []context.CancelFunc
	calls   int
	wills   map[string]distributed.NodeInfo // by instance
}

func (b *broken) store() Store {
	return Store{
		Provider: func() distributed.LeaseProvider { return b },
		TTL:      brokenTTL,
		Expire:   func(_, instance string) { b.hub.Expire(instance) },
		RemoveCandidate: func(app, election, instance string) {
			for _, l := range b.leases {
				if l.instance == instance {
					l.removed.Store(true)
				}
			}
			b.hub.RemoveCandidate(app, election, instance)
		},
		Candidates: func(app, election string) int { return len(b.hub.Candidates(app, election)) },
		Calls: func() int {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.calls + b.hub.Writes()
		},
	}
}

// repair closes what the defect has left open, and waits for what it holds up.
func (b *broken) repair(t *testing.T) {
	for _, l := range b.leases {
		require.NoError(t, l.Lease.Close(context.Background()))
	}
	for _, v := range b.viewers {
		require.NoError(t, v.viewer.Close())
	}
	time.Sleep(24 * time.Hour)
}

func (b *broken) AcquireLease(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
	if b.request != nil {
		b.request(&req)
	}
	lease, err := distributed.NewMemoryLeaseProvider(&b.hub, distributed.WithLeaseTTL(brokenTTL)).AcquireLease(ctx, req)
	if err != nil {
		return nil, err
	}
	l := &brokenLease{Lease: lease, broken: b, app: req.App, instance: req.Instance, number: int64(1 + len(b.leases)), lock: make(chan struct{}, 1)}
	l.shown = newBrokenSight(lease, b, req.App, l)
	b.leases = append(b.leases, l)
	if b.acquired != nil {
		b.acquired(ctx, l)
	}
	return l, nil
}

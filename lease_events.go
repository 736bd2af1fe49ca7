package distributed

import (
	"sync"
	"sync/atomic"
	"time"
)

// LeaseEvents are functions by which a provider tells what happens to a lease
// that it has returned, for the log and for [Hooks]. Each may be nil, and a
// provider may ignore them all. They are safe for concurrent use, and only note
// what happened: a provider may call them from wherever it likes, with locks held.
// It must not call them any more once [Lease].Close has returned.
type LeaseEvents struct {
	// Renewed: a renewal took effect, latency after it was sent. remaining is how
	// much longer [Election].Valid could have been true without it.
	Renewed func(latency, remaining time.Duration)

	// RenewalFailed: an attempt to renew failed; another follows. It is for each
	// attempt, not only for the first.
	RenewalFailed func(cause error)

	// Lost: the lease has ended, and it was not closed. Called after those who
	// lead under it have been told.
	Lost func(cause error)
}

func (e *LeaseEvents) renewed(latency, remaining time.Duration) {
	if e.Renewed != nil {
		e.Renewed(latency, remaining)
	}
}

func (e *LeaseEvents) renewalFailed(cause error) {
	if e.RenewalFailed != nil {
		e.RenewalFailed(cause)
	}
}

func (e *LeaseEvents) lost(cause error) {
	if e.Lost != nil {
		e.Lost(cause)
	}
}

// leaseReport tells the log and the hooks what happens to a lease: that it was
// acquired, and after that, once, how it ended.
type leaseReport struct {
	owner     *Concurrency
	loss      atomic.Pointer[error] // why, if it was lost
	announced atomic.Bool           // the acquisition has been reported
	ended     atomic.Bool           // the end has been reported
}

func (r *leaseReport) events() LeaseEvents {
	return LeaseEvents{Renewed: r.renewed, RenewalFailed: r.renewalFailed, Lost: r.lose}
}

func (r *leaseReport) renewed(latency, remaining time.Duration) {
	r.owner.store.works()
	r.owner.hooks.leaseRenewed(latency, remaining)
}

func (r *leaseReport) renewalFailed(cause error) {
	r.owner.store.fails(cause)
	r.owner.hooks.leaseRenewalFailed(cause)
}

// announce reports the acquisition, and the loss if that has come already.
func (r *leaseReport) announce(took time.Duration) {
	r.owner.log.Info("lease acquired", "took", took)
	r.owner.hooks.leaseAcquired(took)
	r.announced.Store(true)
	r.reportLoss()
}

func (r *leaseReport) lose(cause error) {
	r.loss.CompareAndSwap(nil, &cause)
	r.reportLoss()
}

func (r *leaseReport) reportLoss() {
	cause := r.loss.Load()
	if cause == nil || !r.announced.Load() || !r.ended.CompareAndSwap(false, true) {
		return
	}
	r.owner.log.Warn("lease lost", "cause", *cause)
	r.owner.hooks.leaseLost(*cause)
}

func (r *leaseReport) release() {
	if r.ended.CompareAndSwap(false, true) {
		r.owner.log.Info("lease released")
		r.owner.hooks.leaseReleased()
	}
}

// availability is whether the store works, as calls for the lease show. It tells
// changes only, in order: what it calls must not block.
type availability struct {
	down func(cause error)
	up   func(away time.Duration, again bool)

	mu      sync.Mutex
	known   bool // it has worked or failed
	working bool
	since   time.Time
}

func (a *availability) works() { a.change(true, nil) }

func (a *availability) fails(cause error) { a.change(false, cause) }

func (a *availability) change(working bool, cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	again := a.known
	if again && a.working == working {
		return
	}
	away := time.Duration(0)
	if again {
		away = time.Since(a.since)
	}
	a.known, a.working, a.since = true, working, time.Now()
	if working {
		a.up(away, again)
	} else {
		a.down(cause)
	}
}

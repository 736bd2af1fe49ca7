package leasetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Run checks the provider of the store that newStore makes, in one subtest a
// case. newStore gets the subtest's t, which it may make parallel (unless it
// runs in a bubble) and have clean up. It must not return a Store without what
// is required: that fails the case.
//
// Run blocks until all cases are done, one after the other. Only cases that
// newStore has made parallel are done later, as is usual: at the same time, when
// the test that called Run has returned. Nothing that a case has started runs
// when it ends, unless the provider hangs, which fails the case.
func Run(t *testing.T, newStore func(t *testing.T) Store, opts ...Option) {
	o := options{within: func(t *testing.T, f func(*testing.T)) { f(t) }}
	for _, opt := range opts {
		opt(&o)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o.within(t, func(t *testing.T) {
				store := newStore(t)
				store.require(t)
				c.check(t, store)
			})
		})
	}
}

// Option changes how [Run] runs the cases.
type Option func(*options)

type options struct {
	within func(*testing.T, func(*testing.T))
}

// Within runs each case, the making of its store included, inside wrap: with
// synctest.Test, whose signature it has, in virtual time. wrap must call the
// function once, and return when it has. Default: the cases run as they are.
func Within(wrap func(*testing.T, func(*testing.T))) Option {
	return func(o *options) { o.within = wrap }
}

// conformance is a case: a sentence of the contract and what shows that it is
// kept.
type conformance struct {
	name     string
	contract string
	run      func(*run)
}

// check returns when everything that the case has started has ended.
func (c conformance) check(t reporter, store Store) {
	r := &run{
		reporter: t,
		contract: c.contract,
		store:    store,
		app:      fmt.Sprintf("leasetest-%d", apps.Add(1)),
		patience: time.Minute + 5*store.TTL,
		changed:  make(chan struct{}, 1),
	}
	defer r.finish()
	c.run(r)
}

var apps atomic.Int64

// reporter is what a case needs of a [testing.T].
type reporter interface {
	Errorf(format string, args ...any)
	Skip(args ...any)
	FailNow()
}

// run is a case being run.
type run struct {
	reporter
	contract string
	store    Store
	app      string
	patience time.Duration // for what has to happen; nothing that works needs it
	nodes    []*node
	viewers  []*onlooker

	goroutines sync.WaitGroup // all that the case has started

	mu      sync.Mutex    // guards what the referee knows
	terms   []*candidate  // who has come to lead, in this order
	changed chan struct{} // wakes who waits for the next term; capacity 1
}

// breached reports that the contract is broken.
func (r *run) breached(format string, args ...any) {
	r.Errorf("the contract: %s\nwas broken: %s", r.contract, fmt.Sprintf(format, args...))
}

// require ends the case unless ok. Only the goroutine of the case may call it.
func (r *run) require(ok bool, format string, args ...any) {
	if !ok {
		r.breached(format, args...)
		r.FailNow()
	}
}

// await ends the case unless done is closed in time.
func (r *run) await(done <-chan struct{}, format string, args ...any) {
	if !r.closes(done) {
		r.require(false, "%s after %v", fmt.Sprintf(format, args...), r.patience)
	}
}

func (r *run) closes(done <-chan struct{}) bool {
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// returns runs f in a goroutine and ends the case unless f returns in time.
func (r *run) returns(f func(), format string, args ...any) {
	r.await(r.start(f), format, args...)
}

func (r *run) start(f func()) (done <-chan struct{}) {
	returned := make(chan struct{})
	r.goroutines.Go(func() {
		defer close(returned)
		f()
	})
	return returned
}

// awaitTerm returns who leads as the nth in this case, counted from 1.
func (r *run) awaitTerm(n int) *candidate {
	for {
		r.mu.Lock()
		terms := r.terms
		r.mu.Unlock()
		if len(terms) >= n {
			<-terms[n-1].ended
			return terms[n-1]
		}
		r.await(r.changed, "candidates wait and nobody leads")
	}
}

// awaitCandidates waits until there are n in the store.
func (r *run) awaitCandidates(election string, n int) {
	deadline := time.Now().Add(r.patience)
	for {
		got := r.store.Candidates(r.app, election)
		if got == n {
			return
		}
		r.require(time.Now().Before(deadline), "the store has %d candidates in %q, and not %d, after %v", got, election, n, r.patience)
		time.Sleep(5 * time.Millisecond)
	}
}

// settle gives what must not happen some time to happen. A provider that keeps
// the contract passes however short that is.
func (r *run) settle() { time.Sleep(20 * time.Millisecond) }

// finish ends everything, however the case went.
func (r *run) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	for _, n := range r.nodes {
		n.withdraw()
	}
	for _, n := range r.nodes {
		r.start(func() { _ = n.lease.Close(ctx) })
		for _, c := range n.candidates {
			if c.ended != nil {
				r.start(func() { <-c.ended })
			}
		}
	}
	for _, o := range r.viewers {
		o.opened()
		r.start(func() { _ = o.Close() })
	}
	done := make(chan struct{})
	go func() {
		r.goroutines.Wait()
		close(done)
	}()
	if !r.closes(done) {
		r.breached("all contexts are done and all leases have been closed, but a call has not returned, or a campaign is not decided, after %v", r.patience)
	}
}

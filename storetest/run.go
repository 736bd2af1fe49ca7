package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/b2552be4/distributed"
)

// Run checks the store of the space that newSpace makes, in one subtest a case.
// newSpace gets the subtest's t, which it may make parallel (unless it runs in a
// bubble) and have clean up.
//
// Run blocks until all cases are done, one after the other. Only cases that
// newSpace has made parallel are done later, as is usual. Nothing that a case has
// started runs when it ends, unless the store hangs, which fails the case.
func Run(t *testing.T, newSpace func(t *testing.T) Space, opts ...Option) {
	o := options{within: func(t *testing.T, f func(*testing.T)) { f(t) }}
	for _, opt := range opts {
		opt(&o)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o.within(t, func(t *testing.T) {
				space := newSpace(t)
				space.require(t)
				c.check(t, space)
			})
		})
	}
}

// Option changes how [Run] runs the cases.
type Option func(*options)

type options struct {
	within func(*testing.T, func(*testing.T))
}

// Within runs each case, the making of its space included, inside wrap: with
// synctest.Test, whose signature it has, in virtual time. wrap must call the
// function once, and return when it has. Default: the cases run as they are.
func Within(wrap func(*testing.T, func(*testing.T))) Option {
	return func(o *options) { o.within = wrap }
}

// patience is how long what has to happen may take; nothing that works needs it.
const patience = time.Minute

// conformance is a case: a sentence of the contract and what shows that it is kept.
type conformance struct {
	name     string
	contract string
	run      func(*run)
}

// check returns when everything that the case has started has ended.
func (c conformance) check(t reporter, space Space) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{
		reporter: t,
		contract: c.contract,
		space:    space,
		prefix:   fmt.Sprintf("storetest-%d-%d/", started, spaces.Add(1)),
		ctx:      ctx,
		truth:    newTruth(),
	}
	defer r.finish(cancel)
	c.run(r)
}

var (
	started = time.Now().UnixNano() // others may have left something on the same server
	spaces  atomic.Int64
)

// reporter is what a case needs of a [testing.T].
type reporter interface {
	Errorf(format string, args ...any)
	Skip(args ...any)
	FailNow()
}

// run is a case being run. What it does not guard belongs to the goroutine of the
// case.
type run struct {
	reporter
	contract string
	space    Space
	prefix   string
	ctx      context.Context // done when the case ends
	truth    *truth
	stores   []distributed.Store
	releases []func() // of what is held

	goroutines sync.WaitGroup // all that the case has started
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
	if !closes(done) {
		r.require(false, "%s after %v", fmt.Sprintf(format, args...), patience)
	}
}

func closes(done <-chan struct{}) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// returns ends the case unless f returns in time.
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

// settle gives what must not happen some time to happen. A store that keeps the
// contract passes however short that is.
func settle() { time.Sleep(20 * time.Millisecond) }

// hold holds what one of the functions of the space does, until the case ends at
// the latest.
func (r *run) hold(what func(distributed.Store) func(), c *connection) (release func()) {
	release = sync.OnceFunc(what(c.store))
	r.releases = append(r.releases, release)
	return release
}

// finish ends everything, however the case went.
func (r *run) finish(cancel func()) {
	cancel()
	for _, release := range r.releases {
		release()
	}
	for _, s := range r.stores {
		r.start(func() { _ = s.Close() })
	}
	done := make(chan struct{})
	go func() {
		r.goroutines.Wait()
		close(done)
	}()
	if !closes(done) {
		r.breached("all contexts are done and all stores have been closed, but a call has not returned after %v", patience)
	}
}

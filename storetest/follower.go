package storetest

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/b2552be4/distributed"
)

// follower is a call of Follow, with all that it tells.
type follower struct {
	run    *run
	prefix string
	cancel context.CancelFunc
	done   chan struct{} // closed when Follow has returned
	err    error         // what it has returned
	news   chan struct{} // wakes the case for a step; capacity 1

	hook     func() // called while telling, if not nil
	telling  atomic.Bool
	overlaps atomic.Bool // tell was called while it was running, or when Follow had returned

	mu      sync.Mutex
	steps   []step // fixed once stopped
	stopped bool
}

// step is a step as it was told, in copies.
type step struct{ distributed.Step }

func (c *connection) follow(prefix string) *follower {
	return c.followWith(prefix, nil)
}

func (c *connection) followWith(prefix string, hook func()) *follower {
	ctx, cancel := context.WithCancel(c.run.ctx)
	f := &follower{run: c.run, hook: hook, prefix: prefix, cancel: cancel, done: make(chan struct{}), news: make(chan struct{}, 1)}
	c.run.start(func() {
		defer cancel()
		f.err = c.store.Follow(ctx, prefix, f.tell)
		if f.telling.Swap(true) {
			f.overlaps.Store(true)
		}
		close(f.done)
	})
	return f
}

func (f *follower) tell(s distributed.Step) {
	if f.telling.Swap(true) {
		f.overlaps.Store(true)
		return
	}
	f.mu.Lock()
	if !f.stopped {
		f.steps = append(f.steps, copied(s))
	}
	f.mu.Unlock()
	select {
	case f.news <- struct{}{}:
	default:
	}
	if f.hook != nil {
		f.hook()
	}
	f.telling.Store(false)
}

func copied(s distributed.Step) step {
	documents := make([]distributed.Document, len(s.Documents))
	for i, d := range s.Documents {
		documents[i] = distributed.Document{Key: d.Key, Value: bytes.Clone(d.Value), Revision: d.Revision}
	}
	s.Documents = documents
	return step{s}
}

// await waits until the follower has got to revision rev.
func (f *follower) await(rev int64) {
	f.awaitThat(func() bool { return f.position() >= rev }, "a follower of %q has not got to revision %d", f.prefix, rev)
}

func (f *follower) awaitSteps(n int) {
	f.awaitThat(func() bool { return len(f.steps) >= n }, "a follower of %q has not been told %d steps", f.prefix, n)
}

// awaitValue waits until a step shows the document with the value, and returns its
// revision.
func (f *follower) awaitValue(key, value string) (rev int64) {
	f.awaitThat(func() bool {
		for _, s := range f.steps {
			for _, d := range s.Documents {
				if d.Key == key && string(d.Value) == value {
					rev = d.Revision
				}
			}
		}
		return rev != 0
	}, "a follower of %q has not seen %q with %q", f.prefix, key, value)
	return rev
}

// awaitThat waits until ok, which is called with f.mu held. However often the store
// says that it is alive, it does not wait for longer.
func (f *follower) awaitThat(ok func() bool, format string, args ...any) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !f.holds(ok) {
		select {
		case <-f.done:
			f.run.require(f.holds(ok), format+": Follow has returned %v", append(args, f.err)...)
			return
		case <-f.news:
		case <-timer.C:
			f.run.require(false, format+" after %v", append(args, patience)...)
		}
	}
}

func (f *follower) holds(ok func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return ok()
}

// first returns the first step, which has been told.
func (f *follower) first() distributed.Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps[0].Step
}

func (f *follower) position() int64 {
	if len(f.steps) == 0 {
		return 0
	}
	return f.steps[len(f.steps)-1].Revision
}

// stop ends the call. What it tells later is not looked at.
func (f *follower) stop() {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// end ends the call, and requires that it ends because of that.
func (f *follower) end() {
	select {
	case <-f.done:
		f.run.require(false, "Follow returned %v while its context was not done", f.err)
	default:
	}
	f.cancel()
	f.run.await(f.done, "the context of Follow is done, but it has not returned")
	f.run.require(f.err != nil, "Follow returned nil when its context was done")
}

// pictured turns the picture before the step into that after it.
func (s step) pictured(picture map[string]distributed.Document) map[string]distributed.Document {
	if s.Whole || picture == nil {
		picture = map[string]distributed.Document{}
	}
	for _, d := range s.Documents {
		if d.Value == nil {
			delete(picture, d.Key)
		} else {
			picture[d.Key] = d
		}
	}
	return picture
}

package storetest

import (
	"errors"

	"github.com/b2552be4/distributed"
)

func closing(r *run) {
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	at := a.put(key, "value", 0)
	mine, other := a.follow(r.prefix), b.follow(r.prefix)
	mine.await(at)
	other.await(at)
	var write *pending
	if r.space.HoldRequests != nil {
		r.hold(r.space.HoldRequests, a)
		write = a.begin(key, []byte("x"), at+1000)
	}
	r.returns(func() { _ = a.store.Close() }, "Close has not returned")
	r.await(mine.done, "the store was closed, but Follow has not returned")
	r.require(mine.err != nil, "Follow returned nil when the store was closed")
	if write != nil {
		r.await(write.done, "the store was closed, but a write has not returned")
		_, refused := errors.AsType[*distributed.ConflictError](write.err)
		r.require(write.err != nil && !refused, "a write under way when the store was closed, whose outcome is not known, returned %v", write.err)
	}
	r.failsAfterClose(a, key, at)
	r.sees(other, b.put(key, "after", at))
}

func (r *run) failsAfterClose(c *connection, key string, at int64) {
	r.returns(func() {
		if _, err := c.attempt(r.ctx, key, []byte("x"), at); err == nil {
			r.breached("a Put succeeded after Close")
		}
		if _, err := c.attempt(r.ctx, key, nil, at); err == nil {
			r.breached("a Delete succeeded after Close")
		}
	}, "writes after Close have not returned")
	f := c.follow(r.prefix)
	r.await(f.done, "a Follow after Close has not returned")
	r.require(f.err != nil && len(f.steps) == 0, "a Follow after Close returned %v after %d steps", f.err, len(f.steps))
}

func closeTwice(r *run) {
	a := r.open()
	a.put(r.prefix+"document", "value", 0)
	first := a.store.Close()
	r.require(first == nil, "Close returned %v", first)
	second := a.store.Close()
	r.require(second == nil, "the second Close returned %v", second)
}

package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/b2552be4/distributed"
)

// pending is a write under way.
type pending struct {
	done   <-chan struct{}
	cancel context.CancelFunc
	err    error
}

// begin returns when the write is on its way: one that is given up before it is sent
// would show nothing.
func (c *connection) begin(key string, value []byte, rev int64) *pending {
	ctx, cancel := context.WithCancel(c.run.ctx)
	p := &pending{cancel: cancel}
	p.done = c.run.start(func() { _, p.err = c.attempt(ctx, key, value, rev) })
	settle()
	return p
}

// giveUp ends the context of the write and requires that it fails without
// claiming that it was refused.
func (p *pending) giveUp(r *run) {
	p.cancel()
	r.await(p.done, "the context of a write is done, but it has not returned")
	_, refused := errors.AsType[*distributed.ConflictError](p.err)
	r.require(p.err != nil && !refused, "a write whose answer is not known returned %v", p.err)
}

func writeContext(r *run) {
	a := r.open()
	key := r.prefix + "document"
	at := a.put(key, "value", 0)
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	r.returns(func() {
		_, _ = a.attempt(ctx, key, []byte("x"), at+1000) // refused, or not sent
		_, _ = a.attempt(ctx, key, nil, at+1000)
	}, "writes whose context is done have not returned")
	a.requireThere(key, "value", at)
	if r.space.HoldRequests == nil {
		return
	}
	release := r.hold(r.space.HoldRequests, a)
	writes := []*pending{a.begin(key, []byte("x"), at+1000), a.begin(key, nil, at+1000)}
	for _, p := range writes {
		p.giveUp(r)
	}
	release()
	r.open().requireThere(key, "value", at)
}

func lostReply(r *run) {
	if r.space.HoldReplies == nil {
		r.Skip("nobody can hold replies")
	}
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	key := r.prefix + "document"
	at := a.put(key, "first", 0)
	f.await(at)
	release := r.hold(r.space.HoldReplies, a)
	p := a.begin(key, []byte("second"), at)
	second := f.awaitValue(key, "second") // it has taken effect
	p.giveUp(r)
	release()
	f.stop()
	b.requireThere(key, "second", second)
	a.refused(key, []byte("second"), at, "second", second)
	b.refused(key, []byte("second"), at, "second", second)
	b.requireThere(key, "second", second)
}

func lateWrite(r *run) {
	if r.space.HoldRequests == nil {
		r.Skip("nobody can hold requests")
	}
	a, b := r.open(), r.open()
	changed, made, deleted := r.prefix+"changed", r.prefix+"made", r.prefix+"deleted"
	first, gone := b.put(changed, "first", 0), b.put(deleted, "first", 0)
	a.requireThere(changed, "first", first) // it is connected
	release := r.hold(r.space.HoldRequests, a)
	late := []*pending{
		a.begin(changed, []byte("late"), first), a.begin(changed, nil, first),
		a.begin(made, []byte("late"), 0), a.begin(deleted, []byte("late"), gone),
	}
	for _, p := range late {
		p.giveUp(r)
	}
	second, anew := b.put(changed, "second", first), b.put(made, "made", 0)
	b.delete(deleted, gone)
	release()
	a.mark(r.prefix) // behind them
	b.requireThere(changed, "second", second)
	b.requireThere(made, "made", anew)
	b.requireThere(deleted, "", 0)
}

func lateValue(r *run) {
	if r.space.HoldRequests == nil {
		r.Skip("nobody can hold requests")
	}
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	a.mark(r.prefix) // it is connected
	release := r.hold(r.space.HoldRequests, a)
	value := []byte("given")
	a.begin(key, value, 0).giveUp(r)
	copy(value, "XXXXX")
	release()
	a.mark(r.prefix) // behind it
	d := b.list(key)[key]
	r.require(d.Revision == 0 || string(d.Value) == "given", "a write of %q that was given up has written %.40q, which its caller made of it afterwards", "given", d.Value)
}

func compactedUnderWay(r *run) {
	if r.space.Compact == nil {
		r.Skip("nobody can make the store forget")
	}
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	at := a.put(r.prefix+"document", "first", 0)
	for i := range 10 {
		at = a.put(r.prefix+"document", fmt.Sprint(i), at)
		f.await(at)
		r.space.Compact(at)
	}
	release := func() {}
	if r.space.HoldReplies != nil {
		release = r.hold(r.space.HoldReplies, b)
	}
	a.delete(r.prefix+"document", at)
	for i := range 5 {
		at = a.put(fmt.Sprint(r.prefix, i), "made", 0)
	}
	r.space.Compact(at) // also what the follower may not have been told
	release()
	r.sees(f, a.mark(r.prefix))
}

package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// campaign is a campaign under way. It has no goroutine while it waits in the store.
type campaign struct {
	owner *Concurrency
	ctx   context.Context
	name  string
	start time.Time
	over  func(*campaign) // called once it is decided; does not block

	leadership *Leadership // being won, or the last that was tried
	err        error       // why it was not won; set before over is called
}

// begin begins to campaign for a name, and does not block. over is called, once, when
// that is decided, by whoever decides it, and perhaps before begin has returned; result
// is to be called after that. ctx must be one of the standard library, as it is asked on
// the lease's goroutines.
func (c *Concurrency) begin(ctx context.Context, name string, over func(*campaign)) error {
	if err := c.enter(name); err != nil {
		return fmt.Errorf("distributed: campaign for %q: %w", name, err)
	}
	a := &campaign{owner: c, ctx: ctx, name: name, start: time.Now(), over: over}
	c.hooks.campaigning(name)
	if held := c.take(); held != nil {
		a.stand(held)
	} else {
		go a.standWithLease() // which ends with the campaign
	}
	return nil
}

// standWithLease campaigns once there is a lease.
func (a *campaign) standWithLease() {
	held, err := a.owner.hold(a.ctx)
	if err != nil {
		a.err = err
		a.over(a)
		return
	}
	a.stand(held)
}

// stand campaigns under a lease.
func (a *campaign) stand(held *heldLease) {
	l := newLeadership(a.ctx, a.owner, held, a.name)
	a.leadership = l
	l.election.Campaign(a.ctx, a.decided, l.lose)
}

// decided takes in how the campaign under a lease has ended. If that is because the
// lease has, it goes on under the next.
func (a *campaign) decided(token int64, err error) {
	a.leadership.token, a.err = token, err
	if errors.Is(err, ErrLeaseLost) {
		a.leave()
		go a.standWithLease()
		return
	}
	a.over(a)
}

// leave gives up what there is of the campaign under its last lease.
func (a *campaign) leave() {
	if l := a.leadership; l != nil {
		a.leadership = nil
		l.end(a.err)
		a.owner.drop(l.lease, errors.Is(a.err, ErrLeaseLost))
	}
}

// result returns what came of the campaign. It is called once, when that is decided.
func (a *campaign) result() (*Leadership, error) {
	c := a.owner
	defer c.wg.Done()
	if a.err == nil && a.ctx.Err() != nil {
		a.err = a.ctx.Err()
		_ = a.leadership.election.Resign(a.ctx) // which does not wait
	}
	if a.err == nil {
		a.err = c.lead(a.leadership, time.Since(a.start))
	}
	if a.err == nil {
		return a.leadership, nil
	}
	a.leave()
	c.forget(a.name)
	c.hooks.withdrawn(a.name, time.Since(a.start), cmp.Or(context.Cause(a.ctx), a.err))
	return nil, fmt.Errorf("distributed: campaign for %q: %w", a.name, a.err)
}

// enter books name, and the campaign, until c.wg.Done is called.
func (c *Concurrency) enter(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed() {
		return ErrClosed
	}
	if _, ok := c.names[name]; ok {
		return ErrBusy
	}
	c.names[name] = nil
	c.wg.Add(1)
	return nil
}

func (c *Concurrency) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.names, name)
}

// lead makes l known as the leadership of its name.
func (c *Concurrency) lead(l *Leadership, waited time.Duration) error {
	c.mu.Lock()
	if c.isClosed() {
		c.mu.Unlock()
		return ErrClosed // the lease is being closed, and its candidacies with it
	}
	l.since = time.Now()
	c.names[l.name] = l
	c.mu.Unlock()
	l.announce(waited)
	return nil
}

// leave undoes lead and hold.
func (c *Concurrency) leave(l *Leadership) {
	c.mu.Lock()
	if c.names[l.name] == l {
		delete(c.names, l.name)
	}
	c.mu.Unlock()
	c.drop(l.lease, false)
}

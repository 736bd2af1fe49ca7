package distributed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// closeTimeout bounds how long closing a lease may wait for the store.
const closeTimeout = 5 * time.Second

// heldLease is a lease with the number of campaigns and leaderships on it. A
// lost lease is closed when the last of them is gone, not earlier: its keys
// must not go before the work under them has stopped.
type heldLease struct {
	lease  Lease
	since  time.Time
	users  int
	lost   bool
	report *leaseReport
}

// acquisition is an attempt, shared by all campaigns that wait for it, to get
// the next lease.
type acquisition struct {
	waiters int
	cancel  context.CancelFunc // called when the last waiter has left
	done    chan struct{}      // closed at the end
	err     error              // set before done is closed
}

// hold returns the current lease, acquiring one if there is none. The caller
// drops it.
func (c *Concurrency) hold(ctx context.Context) (*heldLease, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		held, a, err := c.current()
		if held != nil || err != nil {
			return held, err
		}
		select {
		case <-a.done:
			err = a.err
		case <-ctx.Done():
			err = ctx.Err()
		case <-c.closed:
			err = ErrClosed
		}
		c.unwait(a)
		if err != nil {
			return nil, err
		}
	}
}

// take is hold for who does not wait: it returns nil if there is no lease.
func (c *Concurrency) take() *heldLease {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease != nil {
		c.lease.users++
	}
	return c.lease
}

// current returns the lease that there is, or else the acquisition under way,
// which it starts if need be and joins.
func (c *Concurrency) current() (*heldLease, *acquisition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed() {
		return nil, nil, ErrClosed
	}
	if c.lease != nil {
		c.lease.users++
		return c.lease, nil, nil
	}
	if c.acquisition == nil {
		ctx, cancel := context.WithCancel(context.Background())
		a := &acquisition{cancel: cancel, done: make(chan struct{})}
		c.acquisition = a
		c.wg.Go(func() { c.acquire(ctx, a) })
	}
	c.acquisition.waiters++
	return nil, c.acquisition, nil
}

func (c *Concurrency) unwait(a *acquisition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.waiters--
	if a.waiters == 0 {
		a.cancel()
		if c.acquisition == a {
			c.acquisition = nil
		}
	}
}

// acquire tries until it has a lease, meets a permanent failure, or ctx is done.
func (c *Concurrency) acquire(ctx context.Context, a *acquisition) {
	defer close(a.done)
	defer a.cancel()
	lease, report, err := c.acquireLease(ctx)
	held := &heldLease{lease: lease, since: time.Now(), report: report}
	if err == nil {
		if err = c.introduce(ctx, lease); err != nil {
			_ = c.giveBack(held) // logged there; err says more
		} else {
			c.attend(lease)
		}
	}

	c.mu.Lock()
	if c.acquisition == a {
		c.acquisition = nil
	}
	a.err = err
	unwanted := err == nil && (c.isClosed() || ctx.Err() != nil)
	if err == nil && !unwanted {
		c.lease = held
		c.leases[held] = true
	}
	c.mu.Unlock()

	if unwanted {
		_ = c.giveBack(held) // logged there; nobody waits for this lease
	}
}

func (c *Concurrency) acquireLease(ctx context.Context) (Lease, *leaseReport, error) {
	for start := time.Now(); ; {
		if err := sleep(ctx, c.nextPause()); err != nil {
			return nil, nil, err
		}
		report := &leaseReport{owner: c}
		lease, err := c.provider.AcquireLease(ctx, LeaseRequest{App: c.app, Instance: c.instance, Logger: c.log, Events: report.events(), tell: c.reports.tell})
		switch {
		case err == nil:
			c.store.works()
			report.announce(time.Since(start))
			return lease, report, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case errors.Is(err, ErrPermanent) || errors.Is(err, ErrInvalidConfig):
			c.log.Error("cannot acquire a lease", "error", err)
			return nil, nil, err
		}
		c.store.fails(err)
	}
}

// introduce tells the others about this node before it campaigns for anything, so
// that who finds it as a leader finds its address, too.
func (c *Concurrency) introduce(ctx context.Context, lease Lease) error {
	if c.info == nil {
		return nil
	}
	err := lease.Announce(ctx, *c.info)
	if errors.Is(err, ErrLeaseLost) {
		return nil // whoever campaigns under it is told, and asks for another
	}
	return err
}

func (c *Concurrency) storeDown(cause error) {
	c.log.Warn("store unavailable, trying again", "error", cause)
	c.hooks.storeDown(cause)
}

func (c *Concurrency) storeUp(away time.Duration, again bool) {
	if again {
		c.log.Info("store available again", "away", away)
	}
	c.hooks.storeUp(away)
}

func (c *Concurrency) nextPause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retry.next()
}

// drop undoes hold. A lease that has been lost is not given to anybody any
// more, and closed by the last one to drop it.
func (c *Concurrency) drop(held *heldLease, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held.users--
	if lost && !held.lost {
		held.lost = true
		if c.lease == held {
			c.lease = nil
			c.retry.lasted(time.Since(held.since))
		}
	}
	if held.users == 0 && held.lost && c.leases[held] {
		delete(c.leases, held)
		c.wg.Go(func() {
			_ = c.closeLease(held)
			held.report.lose(ErrLeaseLost) // for a provider that has not said why
		})
	}
}

// giveBack closes a lease that this node does not need any more.
func (c *Concurrency) giveBack(held *heldLease) error {
	defer held.report.release()
	return c.closeLease(held)
}

// closeLease logs the failure as well: not every caller has somebody to tell.
func (c *Concurrency) closeLease(held *heldLease) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := held.lease.Close(ctx); err != nil {
		c.log.Warn("lease not closed cleanly, others wait until it has run out", "error", err)
		return fmt.Errorf("distributed: close lease: %w", err)
	}
	return nil
}

package distributed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// balancer lets the jobs of a processor stand only where the placement wants
// them, and hand over when it wants them elsewhere. A nil balancer lets every
// job stand.
//
// It decides nothing by itself: each time the view of the app changes, it
// computes the placement anew and does this node's part of it.
type balancer struct {
	processor *LeadershipBasedJobProcessor
	options   balancing
	node      NodeInfo      // but for Draining and Jobs
	wake      chan struct{} // capacity 1: something else than the view has changed
	left      chan struct{} // closed when run has returned
	gathered  bool          // the others are there, as far as that was waited for
	unseen    bool          // the last view did not show what was done by the one before

	mu        sync.Mutex
	seats     map[string]*seat
	order     []*seat // by name; nil when there is another seat
	found     found
	occupied  int // seats that are taken
	draining  bool
	preparing int               // calls of Prepare under way
	warm      map[string]Warmth // what is told of how warm jobs are
	edition   int               // of what is to be announced
	telling   bool              // the first announcement has begun
	told      int               // the edition that has been announced
	changed   chan struct{}     // closed, and replaced, when seats are taken or free, or more has been announced
}

// balancing is what the options of WithLoadBalancing set.
type balancing struct {
	maxMoves   int // 0 for as many as suit the number of jobs
	settleTime time.Duration
	gatherTime time.Duration
	invalid    error
}

func newBalancer(p *LeadershipBasedJobProcessor, o balancing, node NodeInfo) *balancer {
	return &balancer{
		processor: p, options: o, node: node,
		wake: make(chan struct{}, 1), left: make(chan struct{}), seats: map[string]*seat{}, changed: make(chan struct{}),
	}
}

// run does this node's part until ctx is done.
func (b *balancer) run(ctx context.Context) {
	defer close(b.left)
	c := b.processor.concurrency
	for {
		held, err := c.hold(ctx)
		if err != nil {
			if ctx.Err() == nil {
				b.processor.fail(err)
			}
			return
		}
		err = b.serve(ctx, held.lease)
		c.drop(held, errors.Is(err, ErrLeaseLost))
		if err != nil && !errors.Is(err, ErrLeaseLost) {
			if ctx.Err() == nil {
				b.processor.fail(fmt.Errorf("distributed: balance: %w", err))
			}
			return
		}
	}
}

// serve does this node's part under one lease.
func (b *balancer) serve(ctx context.Context, lease Lease) error {
	var calm calm
	var placer placer
	announce := true
	for {
		if edition, news := b.news(); news || announce {
			if err := lease.Announce(ctx, b.info()); ctx.Err() != nil {
				return b.leave(ctx, lease)
			} else if err != nil {
				return err
			}
			announce = false
			b.noteTold(edition)
		}
		started := time.Now()
		view, outdated, err := lease.View()
		if err != nil {
			return err
		}
		wait := b.gather(view, &calm, started)
		if wait == 0 {
			wait = calm.wait(view, started, b.options.settleTime)
			stirred := calm.until(started, calm.since, min(calmTime, b.options.settleTime))
			b.act(ctx, placer.place(view), stirred == 0, wait == 0)
			wait = soonest(wait, stirred)
			if b.unseen {
				wait = soonest(wait, seatPatience)
			}
		} else {
			placer.view = view // so that the next is made from it
		}
		if err := sleep(ctx, rest(time.Since(started), len(view.Nodes))); err != nil {
			return b.leave(ctx, lease)
		}
		if !b.await(ctx, outdated, wait, &placer) {
			return b.leave(ctx, lease)
		}
	}
}

// await blocks until there may be something to do, for wait at most unless that is 0. It
// reports false if ctx is done.
func (b *balancer) await(ctx context.Context, outdated <-chan struct{}, wait time.Duration, p *placer) bool {
	timeout, quiet := after(wait), after(quietTime)
	for {
		select {
		case <-outdated:
			return true
		case <-b.wake:
			return true
		case <-timeout:
			return true
		case <-quiet:
			b.forget(p)
		case <-ctx.Done():
			return false
		}
	}
}

// quietTime is how long nothing changes until a node forgets its last placement, and the
// view that it was computed from: they take almost as much memory as all else that it
// knows of jobs which it does not stand for. The next one takes longer then, as after a
// change of the nodes.
const quietTime = 20 * time.Second

// forget has the next placement computed from nothing.
func (b *balancer) forget(p *placer) {
	*p = placer{}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found = found{}
}

// rest returns how long a node rests after it has computed a placement. What one node
// does, the others see, and compute as well: so each takes no more than a fifth of a
// processor for it, and all of them together no more than about one, unless that would
// take mostRest. The wait for its turn counts as well: where many wait, all rest longer,
// and otherwise leases were lost.
func rest(took time.Duration, nodes int) time.Duration {
	return max(4*took, min(time.Duration(nodes)*took, mostRest))
}

// mostRest is how long a node rests at most because of the others: it is also how much
// later than necessary a job moves, each time.
const mostRest = 500 * time.Millisecond

// awaitLeave blocks until the others have been told that this node leaves, or ctx
// is done. While it is stopping, nothing may be released before: they would take
// a node that has let go of some jobs for one that could do with others.
func (b *balancer) awaitLeave(ctx context.Context) {
	if b == nil {
		return
	}
	select {
	case <-b.left:
	case <-ctx.Done():
	}
}

// leaveTimeout bounds how long a node that stops tries to tell the others. They
// learn of it anyhow when the lease is closed, which has closeTimeout, after that.
const leaveTimeout = time.Second

// leave tells the others that this node takes no more jobs.
func (b *balancer) leave(ctx context.Context, lease Lease) error {
	b.mu.Lock()
	b.draining = true
	b.mu.Unlock()
	announcing, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := lease.Announce(announcing, b.info()); err != nil && !errors.Is(err, ErrLeaseLost) {
		b.processor.concurrency.log.Warn("could not announce that the node leaves", "error", err)
	}
	return ctx.Err()
}

// act does this node's part of p. Moves that only even out wait until the app
// has settled, and who only waits elsewhere until it is calm.
func (b *balancer) act(ctx context.Context, p *placement, calm, settled bool) {
	for _, l := range b.seat(ctx, p, calm, settled) {
		l.end(ErrMoved)
	}
}

// drain makes the node take no jobs, or take them again.
func (b *balancer) drain(draining bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining != draining {
		b.draining = draining
		b.publish()
	}
}

// empty blocks until no job runs here or is going to, and all are released, or ctx is
// done.
func (b *balancer) empty(ctx context.Context) error {
	for {
		b.mu.Lock()
		changed, running := b.changed, b.occupied
		b.mu.Unlock()
		if running == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("distributed: drain: %d jobs have not left: %w", running, ctx.Err())
		}
	}
}

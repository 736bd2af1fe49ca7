package distributed

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// NewMemoryLeaseProvider returns a provider whose store is hub, in this
// process; nil means a new hub that nobody else can reach. It is for tests and
// development: leadership is exclusive among the nodes on one hub only, and
// fencing tokens start again with every hub. Everything runs on the clock of
// package time, so it works in virtual time (testing/synctest).
//
// Many providers may share a hub, and many nodes a provider. It does not block,
// is safe for concurrent use and has nothing to close; a wrong option is reported
// by [Concurrency.Campaign] and [LeadershipBasedJobProcessor.Execute].
func NewMemoryLeaseProvider(hub *MemoryHub, opts ...MemoryOption) LeaseProvider {
	if hub == nil {
		hub = new(MemoryHub)
	}
	p := &memoryProvider{hub: hub, ttl: 10 * time.Second}
	for _, o := range opts {
		if o == nil {
			p.invalid = errNilOption
			continue
		}
		o(p)
	}
	if p.invalid == nil && p.ttl < time.Millisecond {
		p.invalid = fmt.Errorf("%w: WithMemoryTTL(%v): must be at least 1ms", ErrInvalidConfig, p.ttl)
	}
	return p
}

// MemoryOption changes a provider made by [NewMemoryLeaseProvider]. Of an option
// given twice the last counts.
type MemoryOption func(*memoryProvider)

// WithMemoryTTL sets how long a lease is valid after the renewal that was sent
// last, at least 1 ms; it is renewed after each quarter of that. A node that
// cannot renew loses its leaderships when a fifth of the TTL is left, and others
// may lead after the TTL. Default: 10 s.
func WithMemoryTTL(d time.Duration) MemoryOption {
	return func(p *memoryProvider) { p.ttl = d }
}

type memoryProvider struct {
	hub     *MemoryHub
	ttl     time.Duration
	invalid error
}

func (p *memoryProvider) AcquireLease(ctx context.Context, req LeaseRequest) (Lease, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	l := newMemoryLease(p, req)
	if err := p.hub.do(ctx, l.instance, l.start); err != nil {
		return nil, fmt.Errorf("distributed: acquire lease: %w", err)
	}
	return l, nil
}

// memoryLease is a node on a hub. It is alive, then ended (all its leaderships
// are over, its candidacies keep their places until validUntil), then gone (the
// hub holds nothing of it any more).
type memoryLease struct {
	hub           *MemoryHub
	app, instance string
	ttl, grace    time.Duration
	log           *slog.Logger
	events        LeaseEvents
	wg            sync.WaitGroup // of the goroutines that Close waits for

	living context.Context // done when ended
	stop   context.CancelFunc
	local  context.Context // done when gone or closed: nothing is left to do
	free   context.CancelFunc
	told   chan struct{} // closed when all who had to be told of the end have been

	// guarded by hub.mu
	number     int // tells it from others on the hub
	info       NodeInfo
	viewed     *View // the last
	candidates map[*memoryCandidate]bool
	validUntil time.Time // fixed once ended
	ended      bool
	closed     bool
	timer      *time.Timer // calls tick at what comes next: the end, or being gone
}

// newMemoryLease is called before the hub is: validity counts from then.
func newMemoryLease(p *memoryProvider, req LeaseRequest) *memoryLease {
	l := &memoryLease{
		hub:        p.hub,
		app:        req.App,
		instance:   req.Instance,
		ttl:        p.ttl,
		grace:      p.ttl / 5,
		log:        req.Logger,
		events:     req.Events,
		told:       make(chan struct{}),
		candidates: map[*memoryCandidate]bool{},
		validUntil: time.Now().Add(p.ttl),
	}
	l.living, l.stop = context.WithCancel(context.Background())
	l.local, l.free = context.WithCancel(context.Background())
	return l
}

// start is called with hub.mu held. If acquiring took longer than the TTL, tick
// ends the lease at once.
func (l *memoryLease) start() {
	l.hub.register(l)
	l.timer = time.AfterFunc(time.Until(l.endsAt()), l.tick)
	l.wg.Go(l.keep)
}

func (l *memoryLease) Election(name string) Election {
	return &memoryElection{lease: l, queue: memoryQueue{l.app, name}}
}

func (l *memoryLease) Close(ctx context.Context) error {
	if !l.shut() {
		return nil
	}
	l.end(nil)
	<-l.told
	ctx, cancel := eitherDone(ctx, l.local)
	defer cancel()
	err := l.hub.insist(ctx, l.instance, l.drop)
	l.free()
	l.wg.Wait()
	if err != nil && !l.gone() {
		return fmt.Errorf("distributed: close lease: %w", err)
	}
	return nil
}

// shut makes l start no more goroutines, and reports whether it did before.
func (l *memoryLease) shut() bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	first := !l.closed
	l.closed = true
	return first
}

func (l *memoryLease) gone() bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return !l.hub.leases[l]
}

// keep renews the lease until it has ended.
func (l *memoryLease) keep() {
	for sleep(l.living, l.ttl/4) == nil {
		sent := time.Now()
		var remaining time.Duration
		err := l.hub.do(l.living, l.instance, func() { remaining = l.extend(sent) })
		switch {
		case l.living.Err() != nil:
		case err != nil:
			l.log.Debug("lease renewal failed, trying again", "lease", l.id(), "error", err)
			l.events.renewalFailed(err)
		default:
			l.events.renewed(time.Since(sent), remaining)
		}
	}
}

// extend counts from when the renewal was sent, as nobody can know when the
// store received it. One that comes back too late resurrects nothing. It returns
// how long the lease would have been valid without.
func (l *memoryLease) extend(sent time.Time) (remaining time.Duration) {
	remaining = time.Until(l.validUntil)
	if l.alive(time.Now()) {
		l.validUntil = sent.Add(l.ttl)
		l.timer.Reset(time.Until(l.endsAt()))
	}
	return remaining
}

// alive and endsAt are called with hub.mu held.
func (l *memoryLease) alive(now time.Time) bool { return !l.ended && now.Before(l.endsAt()) }

// endsAt leaves work the time to stop before others may lead.
func (l *memoryLease) endsAt() time.Time { return l.validUntil.Add(-l.grace) }

func (l *memoryLease) tick() {
	l.hub.mu.Lock()
	now := time.Now()
	runOut := !l.ended && !l.alive(now)
	if l.ended && !now.Before(l.validUntil) {
		l.drop()
	}
	l.hub.mu.Unlock()
	if runOut {
		l.end(fmt.Errorf("%w: the lease could not be renewed in time", ErrLeadershipLost))
	}
}

// end ends what stands under the lease and leaves the places in the queues to
// tick, which frees them when nobody can believe to lead any more. A nil cause
// means that the owner wants it so.
func (l *memoryLease) end(cause error) {
	losses, first := l.finish(cause)
	for _, lost := range losses {
		if cause != nil {
			lost(cause)
		}
	}
	if first && cause != nil {
		l.events.lost(cause)
	}
	if first {
		close(l.told)
	}
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.timer.Reset(time.Until(l.validUntil)) // not before lost has been called
}

func (l *memoryLease) finish(cause error) (losses []context.CancelCauseFunc, first bool) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	first, l.ended = !l.ended, true
	l.hub.touch()
	l.stop()
	for c := range l.candidates {
		c.torn = c.torn || cause != nil
		if lost := c.finish(); lost != nil {
			losses = append(losses, lost)
		}
	}
	return losses, first
}

// drop takes everything of l out of the hub. It is called with hub.mu held.
func (l *memoryLease) drop() {
	for c := range l.candidates {
		l.hub.remove(c)
	}
	delete(l.hub.leases, l)
	l.hub.touch()
	l.timer.Stop()
	l.free()
}

// withdraw takes c out of its queue as soon as the hub lets it.
func (l *memoryLease) withdraw(c *memoryCandidate) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	c.finish()
	if l.closed {
		return // Close takes it out
	}
	l.wg.Go(func() {
		_ = l.hub.insist(l.local, l.instance, func() { l.hub.remove(c) }) // fails when c has gone with the lease
	})
}

// memoryElection is used by one goroutine at a time, but for Valid.
type memoryElection struct {
	lease  *memoryLease
	queue  memoryQueue
	leader *memoryCandidate // guarded by hub.mu; what was won and not resigned
}

func (e *memoryElection) Campaign(ctx context.Context, lost context.CancelCauseFunc) (int64, error) {
	for {
		c, err := e.stand(ctx)
		if err != nil {
			return 0, err
		}
		select {
		case <-c.decided:
		case <-ctx.Done():
		}
		won, err := e.outcome(ctx, c, lost)
		switch {
		case won:
			return c.token, nil
		case err != nil:
			e.lease.withdraw(c) // no work has run under it: nobody needs to wait
			return 0, err
		}
		// removed by a foreign hand: stand again, behind those who wait
	}
}

// stand queues up. The hub accepts a candidacy at the last moment of the call,
// so an error means that there is nothing to withdraw.
func (e *memoryElection) stand(ctx context.Context) (c *memoryCandidate, err error) {
	l := e.lease
	calling, cancel := eitherDone(ctx, l.living)
	defer cancel()
	_ = l.hub.insist(calling, l.instance, func() {
		if l.alive(time.Now()) {
			c = l.hub.enqueue(l, e.queue)
		}
	})
	switch {
	case c != nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, ErrLeaseLost
	}
}

// outcome says what became of c: won, an error, or neither when c was removed.
// It looks at the clock: timers may be late.
func (e *memoryElection) outcome(ctx context.Context, c *memoryCandidate, lost context.CancelCauseFunc) (won bool, err error) {
	e.lease.hub.mu.Lock()
	defer e.lease.hub.mu.Unlock()
	switch {
	case !e.lease.alive(time.Now()):
		return false, ErrLeaseLost
	case ctx.Err() != nil:
		return false, ctx.Err()
	case c.over:
		return false, nil
	}
	c.lost, e.leader = lost, c
	return true, nil
}

// Gap implements [Successor].
func (e *memoryElection) Gap() (gap time.Duration, ok bool) {
	e.lease.hub.mu.Lock()
	defer e.lease.hub.mu.Unlock()
	if e.leader == nil || e.leader.vacated.IsZero() {
		return 0, false
	}
	return time.Since(e.leader.vacated), true
}

func (e *memoryElection) Valid() bool {
	e.lease.hub.mu.Lock()
	defer e.lease.hub.mu.Unlock()
	return e.leader != nil && e.leader.leads(time.Now())
}

func (e *memoryElection) Resign(ctx context.Context) error {
	c := e.leave()
	if c == nil {
		return nil
	}
	e.lease.withdraw(c)
	select {
	case <-c.removed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("distributed: resign: %w", ctx.Err())
	}
}

func (e *memoryElection) leave() (c *memoryCandidate) {
	e.lease.hub.mu.Lock()
	defer e.lease.hub.mu.Unlock()
	c, e.leader = e.leader, nil
	return c
}

// eitherDone returns a context that is done when either of the two is.
func eitherDone(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() { stop(); cancel(nil) }
}

package distributed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

	mu        sync.Mutex
	seats     map[string]*seat
	draining  bool
	preparing int           // calls of Prepare under way
	edition   int           // of what is to be announced
	told      int           // the edition that has been announced
	changed   chan struct{} // closed, and replaced, when seats change, or more has been announced
}

// seat is a job's place at the table: it may stand while it is wanted.
type seat struct {
	job      JobInfo
	leaves   bool            // the job was removed here, and is not told of any more
	wanted   chan struct{}   // closed while the job is wanted here
	standing context.Context // of its campaigns; nil while it is not wanted
	withdraw context.CancelCauseFunc
	leading  *Leadership // nil while it does not run here

	prepare   func(context.Context) error // nil if there is nothing to prepare
	saysReady bool
	warmth    Warmth                  // "" if it is ready, or nothing is wanted
	preparing context.CancelCauseFunc // ends a call of prepare; nil if none is under way
	pause     time.Time               // before the next
}

// balancing is what the options of WithLoadBalancing set.
type balancing struct {
	maxMoves   int
	settleTime time.Duration
}

func newBalancer(p *LeadershipBasedJobProcessor, o balancing, node NodeInfo) *balancer {
	return &balancer{
		processor: p, options: o, node: node,
		wake: make(chan struct{}, 1), left: make(chan struct{}), seats: map[string]*seat{}, changed: make(chan struct{}),
	}
}

// enter makes a job take part. It may be called again.
func (b *balancer) enter(job Job) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seats[job.Name] == nil {
		b.seats[job.Name] = &seat{job: job.info(), wanted: make(chan struct{}), prepare: job.Prepare, saysReady: job.SaysReady}
		b.publish()
	}
}

// publish has what the node tells announced anew. It is called with mu held.
func (b *balancer) publish() {
	b.edition++
	signal(b.wake)
}

// update changes what is told of a job.
func (b *balancer) update(job Job) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.seats[job.Name]; s != nil {
		s.job = job.info()
		b.publish()
	}
}

// dismiss says that a job is not to run here any more, which it may still do.
func (b *balancer) dismiss(job string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.seats[job]; s != nil {
		s.leaves = true
		b.publish()
	}
}

// exit ends a job's part.
func (b *balancer) exit(job string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.seats[job]; s != nil && s.withdraw != nil {
		s.withdraw(errNotPlacedHere)
	}
	delete(b.seats, job)
	b.broadcast()
}

// awaitAnnounced blocks until what is to be announced now has been, or never will be
// as the node is stopping, or ctx is done.
func (b *balancer) awaitAnnounced(ctx context.Context) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	edition := b.edition
	b.mu.Unlock()
	for {
		b.mu.Lock()
		done, changed := b.told >= edition, b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-b.left:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stand blocks until the job is wanted here, or ctx is done. It returns the
// context to campaign under, which is to be cancelled after the campaign.
func (b *balancer) stand(ctx context.Context, job string) (context.Context, context.CancelFunc, error) {
	if b == nil {
		return ctx, func() {}, ctx.Err()
	}
	for ctx.Err() == nil {
		b.mu.Lock()
		wanted, standing := b.seats[job].wanted, b.seats[job].standing
		b.mu.Unlock()
		if standing != nil {
			ctx, cancel := eitherDone(ctx, standing)
			return ctx, cancel, nil
		}
		select {
		case <-wanted:
		case <-ctx.Done():
		}
	}
	return nil, nil, ctx.Err()
}

// lead notes that a job runs here, until the function that it returns is called.
func (b *balancer) lead(l *Leadership) (done func()) {
	if b == nil {
		return func() {}
	}
	b.setLeading(l.name, l)
	return func() { b.setLeading(l.name, nil) }
}

func (b *balancer) setLeading(job string, l *Leadership) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seats[job]
	s.leading = l
	switch {
	case l == nil:
		b.setWarmth(s, s.cool())
	case s.saysReady:
		l.awaitReady(func() { b.ready(s, l) })
		b.setWarmth(s, Warming)
	default:
		b.setWarmth(s, "")
	}
	if s.preparing != nil {
		s.preparing(nil)
	}
	b.broadcast()
	signal(b.wake)
}

// ready notes that the Work under l is warm.
func (b *balancer) ready(s *seat, l *Leadership) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.leading == l {
		b.setWarmth(s, "")
	}
}

// broadcast is called with mu held.
func (b *balancer) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
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
	announce := true
	for {
		if edition, news := b.news(); news || announce {
			if err := lease.Announce(ctx, b.info()); err != nil {
				return err
			}
			announce = false
			b.noteTold(edition)
		}
		view, outdated, err := lease.View()
		if err != nil {
			return err
		}
		started := time.Now()
		p := place(view)
		wait := calm.wait(p, started, b.options.settleTime)
		b.act(ctx, p, wait == 0)

		// No more than a fifth of a processor for this.
		if err := sleep(ctx, 4*time.Since(started)); err != nil {
			return b.leave(ctx, lease)
		}
		select {
		case <-outdated:
		case <-b.wake:
		case <-after(wait):
		case <-ctx.Done():
			return b.leave(ctx, lease)
		}
	}
}

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

// after is a channel that is ready after d, or never if d is 0.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

func (b *balancer) news() (edition int, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.edition, b.edition != b.told
}

func (b *balancer) noteTold(edition int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = edition
	b.broadcast()
}

// info is what the node announces.
func (b *balancer) info() NodeInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	info := b.node
	info.Draining, info.Warming = b.draining, b.warmths()
	info.Jobs = make([]JobInfo, 0, len(b.seats))
	for _, s := range b.seats {
		if !s.leaves {
			info.Jobs = append(info.Jobs, s.job)
		}
	}
	slices.SortFunc(info.Jobs, func(x, y JobInfo) int { return strings.Compare(x.Name, y.Name) })
	return info
}

// act does this node's part of p. Moves that only even out wait until the app
// has settled.
func (b *balancer) act(ctx context.Context, p *placement, settled bool) {
	for _, l := range b.seat(ctx, p, settled) {
		l.cancel(ErrMoved)
	}
}

// seat lets those jobs stand that p wants here, and returns the leaderships to
// be given up.
func (b *balancer) seat(ctx context.Context, p *placement, settled bool) (moved []*Leadership) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.broadcast()
	for _, s := range b.seats {
		j, ok := p.job(s.job.Name)
		stood := s.standing
		s.want(ctx, ok && !s.leaves && (p.stands(j, p.self) || p.jobs[j].runner == p.self && !p.handsOver(j, p.self)))
		if stood != s.standing && s.leading == nil {
			b.setWarmth(s, s.cool())
		}
	}
	b.prepareNext(p)
	going, room := b.going(p)
	going += p.warm
	for _, j := range p.due(b.options.maxMoves, settled) {
		s := b.seats[p.jobs[j].Name]
		if s.stays() && s.lets(&p.nodes[p.jobs[j].target]) && p.handsOver(j, p.self) && room[p.jobs[j].target] > 0 && going < b.options.maxMoves {
			moved = append(moved, s.leading)
			going++
			room[p.jobs[j].target]--
		}
	}
	return moved
}

// going returns how many jobs are on their way from this node: those that have
// been told to stop, but that p still has here. It also returns how many more
// should leave, by node that they go to. Which jobs are to move may change with
// every view; without this count, each would send others on their way as well, and
// too many would leave, to be moved again. It is called with mu held.
func (b *balancer) going(p *placement) (going int, room map[int]int) {
	room = map[int]int{}
	for j := range p.jobs {
		job := &p.jobs[j]
		if job.runner != p.self {
			continue
		}
		if job.target != none && job.target != p.self {
			room[job.target]++
		}
		if !b.seats[job.Name].stays() {
			going++
			if len(job.queue) > 1 {
				room[job.queue[1]]--
			}
		}
	}
	return going, room
}

// stays reports whether the job runs here and has not been told to stop.
func (s *seat) stays() bool { return s != nil && s.leading != nil && s.leading.ctx.Err() == nil }

// want lets a job stand here, or not. It is called with the balancer's mu held.
func (s *seat) want(ctx context.Context, wanted bool) {
	switch {
	case wanted == (s.standing != nil):
	case wanted:
		s.standing, s.withdraw = context.WithCancelCause(ctx)
		close(s.wanted)
	default:
		s.withdraw(errNotPlacedHere)
		s.standing, s.withdraw, s.wanted = nil, nil, make(chan struct{})
	}
}

// calm is how long the nodes that take part have been the same.
type calm struct {
	nodes []string
	since time.Time
}

// wait returns how long until p's nodes have been the same for long enough.
func (c *calm) wait(p *placement, now time.Time, enough time.Duration) time.Duration {
	var nodes []string
	for _, n := range p.nodes {
		if n.takes {
			nodes = append(nodes, n.ID)
		}
	}
	if !slices.Equal(nodes, c.nodes) {
		c.nodes, c.since = nodes, now
	}
	return max(0, c.since.Add(enough).Sub(now))
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

// empty blocks until no job runs here, or is going to, or ctx is done.
func (b *balancer) empty(ctx context.Context) error {
	for {
		b.mu.Lock()
		changed, running := b.changed, 0
		for _, s := range b.seats {
			if s.leading != nil || s.standing != nil {
				running++
			}
		}
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

// errNotPlacedHere ends a campaign that the placement does not want any more.
var errNotPlacedHere = errors.New("distributed: placed on other nodes")

// ErrMoved is the cause of the context of a Work that is to run on another node,
// with [WithLoadBalancing].
var ErrMoved = errors.New("distributed: moved to another node")

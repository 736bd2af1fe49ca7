package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	gathered  bool          // the others are there, as far as that was waited for
	unseen    bool          // the last view did not show what was done by the one before

	mu        sync.Mutex
	seats     map[string]*seat
	order     []*seat // by name; nil when there is another seat
	found     found
	occupied  int // seats that are taken
	draining  bool
	preparing int           // calls of Prepare under way
	edition   int           // of what is to be announced
	told      int           // the edition that has been announced
	changed   chan struct{} // closed, and replaced, when seats are taken or free, or more has been announced
}

// seat is a job's place at the table: it stands while it is wanted.
type seat struct {
	job      *plannedJob
	leaves   bool           // the job was removed here, and is not told of any more
	standing *standingOrder // nil while it is not wanted
	changed  time.Time      // when that changed last
	leading  *Leadership    // nil while it does not run here
	taken    bool           // a goroutine stands for it, runs it, or releases it

	warmth    Warmth                  // "" if it is ready, or nothing is wanted
	preparing context.CancelCauseFunc // ends a call of Prepare; nil if none is under way
	pause     time.Time               // before the next
}

// found are the seats of the jobs of a placement, nil for those that this node does not
// have.
type found struct {
	placed *placement
	order  []*seat // they were looked for in; each of these is there
	seats  []*seat
}

// standingOrder is the context of a seat's campaigns, while it is wanted.
type standingOrder struct {
	ctx      context.Context
	withdraw context.CancelCauseFunc
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

// enter makes a job take part. It may be called again.
func (b *balancer) enter(job *plannedJob) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seats[job.Name] == nil {
		b.seats[job.Name] = &seat{job: job}
		b.order = nil
		b.publish()
	}
}

// publish has what the node tells announced anew. It is called with mu held.
func (b *balancer) publish() {
	b.edition++
	signal(b.wake)
}

// update has change change what is told of a job, which others read under mu.
func (b *balancer) update(change func()) {
	if b == nil {
		change()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	b.publish()
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
		b.want(context.Background(), s, false)
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
	delete(b.seats, job)
	b.order = nil
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

// sorted returns the seats by name. It is called with mu held.
func (b *balancer) sorted() []*seat {
	if b.order == nil {
		b.order = slices.SortedFunc(maps.Values(b.seats), func(x, y *seat) int { return strings.Compare(x.job.Name, y.job.Name) })
	}
	return b.order
}

// serveSeat campaigns for a job, and runs it, while it is wanted here.
func (b *balancer) serveSeat(s *seat) {
	for standing := b.standing(s); standing != nil; standing = b.standing(s) {
		b.processor.turn(standing, s.job)
	}
}

// standing returns the context to campaign under, or nil if the job is not wanted any
// more: then the seat is not taken any more.
func (b *balancer) standing(s *seat) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.standing != nil && s.standing.ctx.Err() == nil {
		return s.standing.ctx
	}
	b.take(s, false)
	return nil
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
	case s.job.SaysReady:
		l.awaitReady(func() { b.ready(s, l) })
		b.setWarmth(s, Warming)
	default:
		b.setWarmth(s, "")
	}
	if l != nil && s.preparing != nil {
		s.preparing(nil)
	}
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

// take notes whether a seat is taken. It is called with mu held.
func (b *balancer) take(s *seat, taken bool) {
	if s.taken == taken {
		return
	}
	s.taken = taken
	if taken {
		b.occupied++
	} else {
		b.occupied--
	}
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
		}
		if err := sleep(ctx, rest(time.Since(started), len(view.Nodes))); err != nil {
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

// rest returns how long a node rests after it has computed a placement. What one node
// does, the others see, and compute as well: so each takes no more than a fifth of a
// processor for it, and all of them together no more than about one, unless that would
// take mostRest.
func rest(took time.Duration, nodes int) time.Duration {
	return max(4*took, min(time.Duration(nodes)*took, mostRest))
}

// mostRest is how long a node rests at most because of the others: it is also how much
// later than necessary a job moves, each time.
const mostRest = 500 * time.Millisecond

// gather returns how long this node has to wait before it stands for anything. If
// nobody stands for any job, the app is only starting, and the first nodes would get
// what has to move when the others come.
func (b *balancer) gather(v *View, c *calm, now time.Time) (wait time.Duration) {
	b.gathered = b.gathered || len(v.Jobs) > 0
	if !b.gathered {
		wait = c.wait(v, now, b.options.gatherTime)
		wait = min(wait, c.until(now, c.began, mostGathers*b.options.gatherTime))
		b.gathered = wait == 0
	}
	return wait
}

// mostGathers is how many gather times a node waits if others keep coming.
const mostGathers = 10

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

// soonest returns the shorter of two times to wait, of which 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// calmTime is how long the nodes have to be the same before others wait for jobs than
// before, only because that is more even.
const calmTime = time.Second

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
	close(b.changed)
	b.changed = make(chan struct{})
}

// info is what the node announces.
func (b *balancer) info() NodeInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	info := b.node
	info.Draining, info.Warming = b.draining, b.warmths()
	info.Jobs = make([]JobInfo, 0, len(b.seats))
	for _, s := range b.sorted() {
		if !s.leaves {
			info.Jobs = append(info.Jobs, s.job.info())
		}
	}
	return info
}

// act does this node's part of p. Moves that only even out wait until the app
// has settled, and who only waits elsewhere until it is calm.
func (b *balancer) act(ctx context.Context, p *placement, calm, settled bool) {
	for _, l := range b.seat(ctx, p, calm, settled) {
		l.cancel(ErrMoved)
	}
}

// seat lets those jobs stand that p wants here, and returns the leaderships to
// be given up.
func (b *balancer) seat(ctx context.Context, p *placement, calm, settled bool) (moved []*Leadership) {
	limit := cmp.Or(b.options.maxMoves, p.limit())
	due := p.due(limit, settled)
	b.mu.Lock()
	defer b.mu.Unlock()
	seats := b.find(ctx, p)
	b.unseen = false
	for j, wanted := range p.part(due, limit, calm) {
		switch s := seats[j]; {
		case s == nil:
		case p.showsSeat(j, s) || s.leaves:
			b.want(ctx, s, wanted && !s.leaves)
		default:
			b.unseen = true
		}
	}
	b.prepareNext(p, seats, due, limit)
	going, room := b.going(p, seats)
	for j, s := range seats {
		if due[j] && s.stays() && s.lets(&p.nodes[p.jobs[j].target]) && p.handsOver(j, p.self) && room[p.jobs[j].target] > 0 && going < limit {
			moved = append(moved, s.leading)
			going++
			room[p.jobs[j].target]--
		}
	}
	return moved
}

// showsSeat reports whether p shows whether the seat's job is claimed here. Who acts
// by a view in which it does not find what it did last does and undoes the same again
// and again, all the more the later views come: so it waits, but not forever, as a job
// may have to wait for other things before it is claimed.
func (p *placement) showsSeat(j int, s *seat) bool {
	return p.self == none || !p.nodes[p.self].takes || p.jobs[j].target == none ||
		p.waits(j, p.self) == (s.standing != nil) || time.Since(s.changed) >= seatPatience
}

// seatPatience is how long a node waits for a view that shows what it did last.
const seatPatience = 5 * time.Second

// find returns the seats of p's jobs, nil for what this node does not have. What p
// does not know of yet is not wanted. It is called with mu held.
func (b *balancer) find(ctx context.Context, p *placement) []*seat {
	order := b.sorted()
	if f := &b.found; f.placed == p && sameSlice(f.order, order) {
		return f.seats
	}
	b.found = found{}
	seats, all := make([]*seat, len(p.jobs)), true
	j := 0
	for _, s := range order {
		for j < len(p.jobs) && p.jobs[j].Name < s.job.Name {
			j++
		}
		if j < len(p.jobs) && p.jobs[j].Name == s.job.Name {
			seats[j] = s
		} else {
			b.want(ctx, s, false)
			all = false
		}
	}
	if all {
		b.found = found{p, order, seats}
	}
	return seats
}

// going returns how many jobs are on their way from this node: those that have
// been told to stop, but that p still has here. It also returns how many more
// should leave, by node that they go to. Which jobs are to move may change with
// every view; without this count, each would send others on their way as well, and
// too many would leave, to be moved again. It is called with mu held.
func (b *balancer) going(p *placement, seats []*seat) (going int, room []int) {
	room = make([]int, len(p.nodes))
	for j := range p.jobs {
		job := &p.jobs[j]
		if job.runner != p.self || p.self == none {
			continue
		}
		if p.moves(j) {
			room[job.target]++
		}
		if !seats[j].stays() {
			going++
			if len(job.queue) > 1 && job.queue[1] != none {
				room[job.queue[1]]--
			}
		}
	}
	return going, room
}

// stays reports whether the job runs here and has not been told to stop.
func (s *seat) stays() bool { return s != nil && s.leading != nil && s.leading.ctx.Err() == nil }

// want lets a job stand here, or not. It is called with mu held.
func (b *balancer) want(ctx context.Context, s *seat, wanted bool) {
	switch {
	case wanted == (s.standing != nil):
	case wanted:
		standing, withdraw := context.WithCancelCause(ctx)
		s.standing, s.changed = &standingOrder{standing, withdraw}, time.Now()
		if !s.taken {
			b.take(s, true)
			b.processor.keep(s.job, func() { b.serveSeat(s) })
		}
	default:
		s.standing.withdraw(errNotPlacedHere)
		s.standing, s.changed = nil, time.Now()
	}
	if s.leading == nil && (s.warmth == "") == wanted {
		b.setWarmth(s, s.cool())
	}
}

// calm is how long the nodes that take part have been the same.
type calm struct {
	nodes []string
	since time.Time
	began time.Time // when it was looked at first
}

// wait returns how long until the nodes of v that take jobs have been the same for long
// enough.
func (c *calm) wait(v *View, now time.Time, enough time.Duration) time.Duration {
	var nodes []string
	for x := range v.Nodes {
		if n := &v.Nodes[x]; n.takesJobs() {
			nodes = append(nodes, n.ID)
		}
	}
	if c.began.IsZero() {
		c.began = now
	}
	if !slices.Equal(nodes, c.nodes) {
		c.nodes, c.since = nodes, now
	}
	return c.until(now, c.since, enough)
}

// until returns how long until enough has passed since then.
func (c *calm) until(now, then time.Time, enough time.Duration) time.Duration {
	return max(0, then.Add(enough).Sub(now))
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

// errNotPlacedHere ends a campaign that the placement does not want any more.
var errNotPlacedHere = errors.New("distributed: placed on other nodes")

// ErrMoved is the cause of the context of a Work that is to run on another node,
// with [WithLoadBalancing].
var ErrMoved = errors.New("distributed: moved to another node")

package distributed

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// seat is a job's place at the table: the node campaigns for it while it is wanted.
type seat struct {
	job      *plannedJob
	standing *standingOrder // nil while it is not wanted
	changed  *time.Time     // when that changed last; nil if it never did, as for most
	leading  *Leadership    // nil while it does not run here
	warmth   Warmth         // "" if it is ready, or nothing is wanted
	prepare  *preparation   // nil before the first
	due      bool           // it is to move here now
	leaves   bool           // the job was removed here, and is not told of any more
	taken    bool           // a goroutine stands for it, runs it, or releases it
}

// preparation is what there is of calls of Prepare.
type preparation struct {
	cancel context.CancelCauseFunc // ends the call under way; nil if there is none
	pause  time.Time               // before the next
	over   int                     // the edition since which nothing is told of the last
}

// standingOrder is the context of a seat's campaigns, while it is wanted.
type standingOrder struct {
	ctx      context.Context
	withdraw context.CancelCauseFunc
}

func newStandingOrder(ctx context.Context) *standingOrder {
	ctx, withdraw := context.WithCancelCause(ctx)
	return &standingOrder{ctx, withdraw}
}

// found are the seats of the jobs of a placement, nil for those that this node does not
// have.
type found struct {
	placed *placement
	order  []*seat // they were looked for in; each of these is there
	seats  []*seat
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

// bar ends a job's campaign. If it is still wanted here, another one may begin.
func (b *balancer) bar(job string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.seats[job]; s.standing != nil {
		s.standing.withdraw(errBarred)
		s.standing = newStandingOrder(b.processor.ctx)
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

// sorted returns the seats by name. It is called with mu held.
func (b *balancer) sorted() []*seat {
	if b.order == nil {
		b.order = slices.SortedFunc(maps.Values(b.seats), func(x, y *seat) int { return strings.Compare(x.job.Name, y.job.Name) })
	}
	return b.order
}

// standing returns the context to campaign for a job under, or nil if it is not wanted any
// more: then its seat is not taken any more.
func (b *balancer) standing(job string) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.seats[job]
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
	if l != nil && s.prepares() {
		s.prepare.cancel(nil)
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
			b.want(ctx, s, wanted && !s.leaves && (s.standing != nil || !b.draining))
		default:
			b.unseen = true
		}
	}
	b.comeNext(p, seats, due)
	b.prepareNext(p, seats, limit)
	going, room := b.going(p, seats)
	for j, s := range seats {
		if due[j] && s.stays() && p.showsLeading(j, s) && s.lets(&p.nodes[p.jobs[j].target]) && p.handsOver(j, p.self) && room[p.jobs[j].target] > 0 && going < limit {
			moved = append(moved, s.leading)
			going++
			room[p.jobs[j].target]--
		}
	}
	return moved
}

// showsLeading reports whether p shows the leadership under which the seat's job runs here,
// or a later one. In an older one another node may be prepared that has run the job since.
func (p *placement) showsLeading(j int, s *seat) bool {
	first := p.jobs[j].seen
	return first != nil && first.Token >= s.leading.token
}

// showsSeat reports whether p shows whether the seat's job is claimed here. Who acts
// by a view in which it does not find what it did last does and undoes the same again
// and again, all the more the later views come: so it waits, but not forever, as a job
// may have to wait for other things before it is claimed.
func (p *placement) showsSeat(j int, s *seat) bool {
	return p.self == none || !p.nodes[p.self].takes || p.jobs[j].target == none ||
		p.waits(j, p.self) == (s.standing != nil) || s.changed == nil || time.Since(*s.changed) >= seatPatience
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
		s.standing, s.changed = newStandingOrder(ctx), new(time.Now())
		if !s.taken {
			b.take(s, true)
			b.processor.keep(s.job, func() bool { return b.processor.serve(s.job) })
		}
	default:
		s.standing.withdraw(errNotPlacedHere)
		s.standing, s.changed = nil, new(time.Now())
	}
	if s.leading == nil && (s.warmth == "") == wanted {
		b.setWarmth(s, s.cool())
	}
}

// errNotPlacedHere ends a campaign that the placement does not want any more.
var errNotPlacedHere = errors.New("distributed: placed on other nodes")

// ErrMoved is the cause of the context of a Work that is to run on another node,
// with [WithLoadBalancing].
var ErrMoved = errors.New("distributed: moved to another node")

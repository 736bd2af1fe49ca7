package distributed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// attend has the orders under a lease obeyed, until that ends: those that there are
// before the lease is used.
func (c *Concurrency) attend(lease Lease) {
	if c.obey == nil {
		return
	}
	c.attending.Lock()
	c.attended = lease
	c.attending.Unlock()
	orders, outdated := lease.Orders()
	c.follow(lease, orders)
	if outdated == nil {
		return
	}
	c.wg.Go(func() {
		for outdated != nil {
			<-outdated
			if orders, outdated = lease.Orders(); outdated != nil {
				c.follow(lease, orders)
			}
		}
	})
}

// follow has orders obeyed, unless there is another lease by now, which knows better.
func (c *Concurrency) follow(lease Lease, orders []Order) {
	c.attending.Lock()
	defer c.attending.Unlock()
	if c.attended == lease {
		c.obey(orders)
	}
}

// instructions are the orders that concern the jobs of a node, by job.
type instructions struct {
	all, drained    *Order
	paused, resigns map[string]*Order
}

// instructions returns those of this node. Where there is balancing, jobs leave a node
// that is drained as they are placed elsewhere.
func (p *LeadershipBasedJobProcessor) instructions(orders []Order) *instructions {
	in := &instructions{paused: map[string]*Order{}, resigns: map[string]*Order{}}
	for i := range orders {
		switch o := &orders[i]; {
		case o.Kind == OrderPause && o.Job == "":
			in.all = o
		case o.Kind == OrderPause:
			in.paused[o.Job] = o
		case o.Kind == OrderResign:
			in.resigns[o.Job] = o
		case o.Kind == OrderDrain && o.Instance == p.concurrency.instance:
			in.drained = o
		}
	}
	return in
}

// pausedBy returns the order that pauses the job, nil if none does.
func (in *instructions) pausedBy(job string) *Order {
	if in.all != nil {
		return in.all
	}
	return in.paused[job]
}

// bars returns why the job is not to run here, nil if it may.
func (in *instructions) bars(job string, balanced bool) error {
	if o := in.pausedBy(job); o != nil {
		return pausedBy(*o)
	}
	if in.drained != nil && !balanced {
		return fmt.Errorf("%w: %s", ErrMoved, in.drained)
	}
	return nil
}

// barred returns the jobs that are not to run on a node without balancing, sorted, and
// what is closed when they may be others.
func (p *LeadershipBasedJobProcessor) barred() (jobs []JobInfo, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rebarred == nil {
		p.rebarred = make(chan struct{})
	}
	if in := p.ordered; in == nil || in.all == nil && in.drained == nil && len(in.paused) == 0 {
		return nil, p.rebarred
	}
	for name, job := range p.jobs {
		if !job.removed && p.ordered.bars(name, false) != nil {
			jobs = append(jobs, job.info())
		}
	}
	slices.SortFunc(jobs, func(a, b JobInfo) int { return strings.Compare(a.Name, b.Name) })
	return jobs, p.rebarred
}

// rebar has those looked at again. It is called with mu held.
func (p *LeadershipBasedJobProcessor) rebar() {
	if p.rebarred != nil {
		close(p.rebarred)
		p.rebarred = nil
	}
}

// stay has a lease held while orders bar jobs on a node without balancing: with none, it
// would not hear that they do not any more.
func (p *LeadershipBasedJobProcessor) stay() {
	c := p.concurrency
	for {
		if jobs, changed := p.barred(); jobs == nil {
			select {
			case <-changed:
				continue
			case <-p.ctx.Done():
				return
			}
		}
		held, err := c.hold(p.ctx)
		if err == nil {
			err = p.tellBarred(held.lease)
			c.drop(held, errors.Is(err, ErrLeaseLost))
		}
		if err != nil && !errors.Is(err, ErrLeaseLost) {
			if p.ctx.Err() == nil {
				p.fail(err)
			}
			return
		}
	}
}

// tellBarred tells the others which jobs are barred, until there are none: they are in
// no queue, and nobody would know of them.
func (p *LeadershipBasedJobProcessor) tellBarred(lease Lease) error {
	for {
		info := p.options.node
		var changed <-chan struct{}
		info.Barred, changed = p.barred()
		if err := lease.Announce(p.ctx, info); err != nil || info.Barred == nil {
			return err
		}
		_, outdated := lease.Orders()
		if outdated == nil {
			return ErrLeaseLost
		}
		select {
		case <-changed:
		case <-outdated: // perhaps as the lease has ended; to tell the same again writes nothing
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
}

// ends returns why a leadership is to end, nil if it may go on.
func (in *instructions) ends(l *Leadership, balanced bool) error {
	if o := in.resigns[l.name]; o != nil && o.token == l.token {
		return fmt.Errorf("%w: %s", ErrResigned, o)
	}
	return in.bars(l.name, balanced)
}

// obey ends what orders are against, and lets begin what they are not against any more.
func (p *LeadershipBasedJobProcessor) obey(orders []Order) {
	in := p.instructions(orders)
	p.mu.Lock()
	p.ordered = in
	p.rebar()
	if p.reordered != nil {
		close(p.reordered)
		p.reordered = nil
	}
	var ends []func()
	for name, job := range p.jobs {
		if job.tenure != nil {
			if l := job.tenure.leadership; in.ends(l, p.balancer != nil) != nil {
				ends = append(ends, func() { l.end(in.ends(l, p.balancer != nil)) })
			}
		} else if job.barable && in.bars(name, p.balancer != nil) != nil {
			p.bar(job)
		}
	}
	p.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

// permit waits while an order bars the job, or until ctx is done. From when it returns
// nil until the campaign has failed, or the job's tenure begins, orders end the campaign.
func (p *LeadershipBasedJobProcessor) permit(ctx context.Context, job *plannedJob, wait wait) error {
	for {
		p.mu.Lock()
		if p.ordered == nil || p.ordered.bars(job.Name, p.balancer != nil) == nil {
			job.barable = ctx.Err() == nil
			p.mu.Unlock()
			return ctx.Err()
		}
		if p.reordered == nil {
			p.reordered = make(chan struct{})
		}
		reordered := p.reordered
		p.mu.Unlock()
		if err := wait(ctx, reordered); err != nil {
			return err
		}
	}
}

// bar ends what the job waits for here, and lets it begin anew. It is called with mu
// held.
func (p *LeadershipBasedJobProcessor) bar(job *plannedJob) {
	if p.balancer != nil {
		p.balancer.bar(job.Name)
		return
	}
	job.cancel(errBarred)
	p.ready(job)
}

// obeyOnElection ends a leadership that was won before the order against it was
// obeyed: the picture by which it was won shows that.
func (p *LeadershipBasedJobProcessor) obeyOnElection(l *Leadership) {
	orders, _ := l.lease.lease.Orders()
	if len(orders) == 0 {
		return
	}
	if cause := p.instructions(orders).ends(l, p.balancer != nil); cause != nil {
		l.end(cause)
	}
}

// obey lets no node take a job that is paused, and only that take it to which it is
// moved or pinned, if it can; has are the nodes that have each job. A move is over
// once the job is led elsewhere by who was elected after it was ordered.
func (p *placement) obey(v *View, has []nodeSet) {
	for i := range v.Orders {
		o := &v.Orders[i]
		if o.Kind == OrderPause && o.Job == "" {
			for j := range p.jobs {
				p.jobs[j].order = o
				has[j].removeAll(has[j])
			}
		}
		j, ok := p.job(o.Job)
		if !ok {
			continue
		}
		switch o.Kind {
		case OrderPause:
			p.jobs[j].order = o
			has[j].removeAll(has[j])
		case OrderMove, OrderPin:
			if p.jobs[j].order == nil && p.holds(o, j, v) {
				p.confine(j, o, has[j])
			}
		}
	}
}

// holds reports whether a move or a pin still counts.
func (p *placement) holds(o *Order, j int, v *View) bool {
	if o.Kind == OrderPin {
		return true
	}
	i, ok := slices.BinarySearchFunc(v.Jobs, o.Job, func(job JobView, name string) int { return strings.Compare(job.Name, name) })
	if !ok || !v.Jobs[i].Led || v.Jobs[i].Queue[0].Token <= o.token {
		return true
	}
	x := p.jobs[j].runner
	return x != none && p.nodes[x].Instance == o.Instance
}

// confine leaves only those nodes of an instance in has, if there are any.
func (p *placement) confine(j int, o *Order, has nodeSet) {
	only := newNodeSet(len(p.nodes))
	for x := range p.nodes {
		if p.nodes[x].Instance == o.Instance && has.has(x) {
			only.add(x)
		}
	}
	if only.emptyBut(none) {
		p.jobs[j].unmet = o
		return
	}
	p.jobs[j].order = o
	has.keep(only)
}

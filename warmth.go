package distributed

import (
	"context"
	"time"
)

// Warmth is how far a node is with a job that has to warm up; see [Job].Prepare and
// [Job].SaysReady.
type Warmth string

// A node prepares while it stands by, and warms up once it leads.
const (
	Preparing Warmth = "preparing" // it campaigns for the job, and Prepare has not returned nil yet
	Prepared  Warmth = "prepared"  // it campaigns for the job, and a planned move can hand over to it
	Warming   Warmth = "warming"   // it leads the job, whose Work has not called Ready yet
)

// maxWarmthBytes is how much a node tells of how warm its jobs are: labels and metadata
// need room beside it in one document. A job that it leads and does not tell of counts
// as ready.
const maxWarmthBytes = 24 << 10

// Ready says that the Work under this leadership is warm, for a job with
// [Job].SaysReady. It does not block, and does nothing the second time.
func (l *Leadership) Ready() {
	if f := l.ready.Swap(nil); f != nil {
		(*f)()
	}
}

// warming reports whether the Work has still to call Ready.
func (l *Leadership) warming() bool { return l.ready.Load() != nil }

// awaitReady has f called when Work says that it is ready.
func (l *Leadership) awaitReady(f func()) { l.ready.Store(&f) }

// All that follows is called with the balancer's mu held, but for prepared and awaitCool.

// warms reports whether the job has to warm up at all.
func (s *seat) warms() bool { return s.job.Prepare != nil || s.job.SaysReady }

// cool is how warm a job is that is wanted here and does not run yet.
func (s *seat) cool() Warmth {
	switch {
	case !s.warms() || s.standing == nil:
		return ""
	case s.job.Prepare != nil:
		return Preparing
	}
	return Prepared
}

// setWarmth notes how warm a job is, and has that announced.
func (b *balancer) setWarmth(s *seat, w Warmth) {
	if s.warmth == w {
		return
	}
	b.publish()
	if s.warmth == Prepared && s.prepare != nil {
		s.prepare.over = b.edition
	}
	s.warmth = w
}

// awaitCool blocks until no other node takes this one for prepared from the last time that
// it was, or ctx is done.
func (b *balancer) awaitCool(ctx context.Context, job string) error {
	if b == nil {
		return nil
	}
	edition := 0
	b.mu.Lock()
	if p := b.seats[job].prepare; p != nil {
		edition = p.over
	}
	b.mu.Unlock()
	return b.awaitTold(ctx, edition)
}

// comeNext notes which jobs are to move here now. Before it is told that such a job is
// prepared, it does not come.
func (b *balancer) comeNext(p *placement, seats []*seat, due []bool) {
	for j, s := range seats {
		if s == nil {
			continue
		}
		due := due[j] && p.jobs[j].target == p.self
		if due && !s.due && s.warmth == Prepared && b.warm[s.job.Name] == "" {
			b.publish()
		}
		s.due = due
	}
}

// prepareNext calls Prepare of jobs that another node runs: first of those that are to
// move here now, and then of those that this node is the standby of; not of more at a
// time than may move.
func (b *balancer) prepareNext(p *placement, seats []*seat, limit int) {
	for _, now := range []bool{true, false} {
		for j, s := range seats {
			if s != nil && s.due == now && s.warmth == Preparing && p.jobs[j].runner != none && p.jobs[j].runner != p.self && b.preparing < limit {
				b.prepare(s)
			}
		}
	}
}

// prepares reports whether a call of Prepare is under way.
func (s *seat) prepares() bool { return s.prepare != nil && s.prepare.cancel != nil }

func (b *balancer) prepare(s *seat) {
	if s.prepares() || s.prepare != nil && time.Now().Before(s.prepare.pause) {
		return
	}
	ctx, cancel := context.WithCancelCause(s.standing.ctx)
	s.prepare = &preparation{cancel: cancel}
	b.preparing++
	answers := ask("Job.Prepare of "+s.job.Name, func() (struct{}, error) { return struct{}{}, s.job.Prepare(ctx) })
	b.processor.loops.Go(func() {
		answer := <-answers // two of them are not to run at once, however long it takes
		b.prepared(ctx, s, answer.err)
	})
}

// prepared takes in that Prepare has returned err, or is not needed any more. After an
// error it is called again, after a pause.
func (b *balancer) prepared(ctx context.Context, s *seat, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer signal(b.wake)
	unneeded := ctx.Err() != nil
	s.prepare.cancel(nil)
	s.prepare.cancel = nil
	b.preparing--
	switch {
	case unneeded:
	case err == nil:
		b.setWarmth(s, Prepared)
	default:
		b.processor.concurrency.log.Warn("job could not be prepared, trying again", "name", s.job.Name, "error", err)
		s.prepare.pause = time.Now().Add(restTime)
		time.AfterFunc(restTime, func() { signal(b.wake) })
	}
}

// lets reports whether a job may be handed over to its target: at once, or when that is
// prepared.
func (s *seat) lets(target *placedNode) bool {
	return !s.warms() || target.Warming[s.job.Name] == Prepared
}

// warmths are what is to be announced. There may not be room for all: the moves that
// are to be made now wait for it, and how many may be made depends on what warms up.
func (b *balancer) warmths() map[string]Warmth {
	b.warm = nil
	room := maxWarmthBytes
	for urgency := range 3 {
		for _, s := range b.sorted() {
			if s.warmth == "" || s.urgency() != urgency {
				continue
			}
			if room -= 2*len(s.job.Name) + len(s.warmth) + len(`"":"",`); room < 0 { // each byte may need an escape
				return b.warm
			}
			if b.warm == nil {
				b.warm = map[string]Warmth{}
			}
			b.warm[s.job.Name] = s.warmth
		}
	}
	return b.warm
}

// urgency says which jobs are told of first: the lower the sooner.
func (s *seat) urgency() int {
	switch {
	case s.due:
		return 0
	case s.leading != nil:
		return 1
	}
	return 2
}

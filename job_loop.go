package distributed

import (
	"context"
	"errors"
	"time"
)

// loop is the life of a job on this node; with balancing, the balancer goes on with it
// while the job is wanted here.
func (p *LeadershipBasedJobProcessor) loop(job *plannedJob) {
	if sleep(job.ctx, job.delay) != nil {
		return
	}
	job.delay = 0
	if p.balancer != nil {
		p.enter(job)
		return
	}
	for ctx := p.loopContext(job); ctx != nil; ctx = p.loopContext(job) {
		p.turn(ctx, job)
	}
}

// loopContext returns the context of a job's loop, nil if that is to end.
func (p *LeadershipBasedJobProcessor) loopContext(job *plannedJob) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if job.removed || p.ctx.Err() != nil {
		return nil
	}
	return job.ctx
}

// keep calls f, which serves a job, on a goroutine, and again on another one if a Work
// ends that.
func (p *LeadershipBasedJobProcessor) keep(job *plannedJob, f func()) {
	p.crew.join(job)
	p.loops.Go(func() {
		over := false
		defer func() {
			if !over {
				p.keep(job, f)
			}
			p.retire(job)
		}()
		f()
		over = true
	})
}

// turn campaigns for the job once, while ctx is not done, and serves the term if it
// wins.
func (p *LeadershipBasedJobProcessor) turn(ctx context.Context, job *plannedJob) {
	pause := job.pause
	job.pause = 0
	if sleep(ctx, pause) != nil || p.permit(ctx, job) != nil {
		return
	}
	leadership, term, err := p.campaign(ctx, job)
	p.noteCampaigned(job)
	if err != nil {
		if ctx.Err() == nil && p.ctx.Err() == nil && !errors.Is(err, errWithdrawn) {
			p.fail(err)
		}
		return
	}
	if p.lead(job, leadership, term) && p.crowded() {
		_ = sleep(ctx, restTime) // or it would be the first to take its own slot again
	}
}

// campaign campaigns for the job. errWithdrawn says that it was the quota that ended it.
func (p *LeadershipBasedJobProcessor) campaign(ctx context.Context, job *plannedJob) (l *Leadership, term time.Duration, err error) {
	if err := p.awaitUndone(ctx, job.Name); err != nil {
		return nil, 0, err
	}
	if term, err = durationOf(ctx, "WithVoluntaryTimeout", p.options.voluntaryTimeout, job.Name); err != nil {
		return nil, 0, err
	}
	standing, cancel, err := p.quota.stand(ctx)
	if err != nil {
		return nil, 0, errWithdrawn
	}
	defer cancel()
	if l, err = p.concurrency.Campaign(standing, job.Name); err != nil && standing.Err() != nil {
		err = errWithdrawn
	}
	return l, term, err
}

// errWithdrawn says that a campaign has been given up.
var errWithdrawn = errors.New("distributed: not wanted here any more")

// crowded reports whether there are more jobs than slots.
func (p *LeadershipBasedJobProcessor) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.options.quotaSet && len(p.jobs) > p.options.quota
}

// lead runs Work under the leadership and releases it, but not before Work has
// returned. It reports whether that was the job's own doing, or the end of its term.
func (p *LeadershipBasedJobProcessor) lead(job *plannedJob, l *Leadership, term time.Duration) (ended bool) {
	slot := false
	defer func() {
		if slot {
			p.quota.put(p.ctx)
		}
	}()
	t := p.begin(job, l)
	defer p.finishTenure(job)
	report := func() {} // what Work returned; not before the job is released, and others can run it
	defer func() { p.release(l, func() { report() }) }()
	defer p.balancer.lead(l)()
	p.obeyOnElection(l)
	before, ok := p.rest(t)
	if !ok {
		return false
	}
	if slot = p.quota.take(); !slot || l.expired() || l.ctx.Err() != nil {
		return false
	}
	if term > 0 {
		defer time.AfterFunc(term, func() { l.end(ErrTermEnded) }).Stop()
	}
	started := time.Now()
	p.concurrency.hooks.workStarted(l.name, l.token)
	returned := p.recoverLater(l, before)
	defer p.reportStuck(t)()
	defer p.watch(job, l)()
	runWork(l.ctx, p.labelled(job, l), func(err error) {
		p.noteReturn(t)
		returned(err == nil && l.ctx.Err() == nil)
		report, ended = p.returned(job, l, err, time.Since(started))
	})
	_ = sleep(l.ctx, time.Until(started.Add(restTime))) // not at all once it is done
	return ended
}

// returned judges what Work returned, after it took so long, and puts on record what
// others have to know. An error after its context was done is most often that
// context's error, or one that came from it, and no failure: leadership comes and
// goes. The same holds for a leadership that was lost, if the process has slept over
// it: then the first to notice may be a store that refuses the token.
func (p *LeadershipBasedJobProcessor) returned(job *plannedJob, l *Leadership, err error, took time.Duration) (report func(), ended bool) {
	if p.caller.Err() != nil {
		l.end(context.Cause(p.caller)) // which Work may have watched itself, and been faster than us
	}
	lost := l.expired()
	asked := lost || l.ctx.Err() != nil
	log := func() {}
	switch {
	case !lost && errors.Is(context.Cause(l.ctx), ErrNotAlive):
		log = p.failed(job, l, silenceThen(err, l.ctx), took)
	case err == nil:
	case isPanic(err) || (!asked && !errors.Is(err, ErrDone)):
		l.end(failureOf(l.name, err))
		log = p.failed(job, l, err, took)
	case errors.Is(err, ErrDone) && !lost:
		l.end(ErrDone)
		log = p.finishes(l)
	case !errors.Is(err, l.ctx.Err()) && !errors.Is(err, context.Cause(l.ctx)):
		log = func() {
			p.concurrency.log.Warn("work stopped with an error", "job", l.name, "token", l.token, "error", err)
		}
	}
	return func() {
		p.concurrency.hooks.workReturned(l.name, l.token, took, err)
		log()
	}, !asked || errors.Is(context.Cause(l.ctx), ErrTermEnded)
}

// failed deals with a Work that has failed.
func (p *LeadershipBasedJobProcessor) failed(job *plannedJob, l *Leadership, err error, took time.Duration) (report func()) {
	if !p.options.stopOnError {
		return p.fails(job, l, err, took)
	}
	p.fail(failureOf(l.name, err))
	return func() { l.logEnd(err) }
}

// release gives the job up, and calls released when that is done.
func (p *LeadershipBasedJobProcessor) release(l *Leadership, released func()) {
	ctx := p.ctx // once it is done, closing the lease confirms what is not confirmed by then
	stopping := ctx.Err() != nil
	if stopping {
		p.part()
	}
	if !stopping || p.options.stuck.what == ReturnStuck { // then nobody may close the lease
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
	}
	if err := l.release(ctx, released); err != nil && !stopping {
		p.concurrency.log.Warn("resignation not confirmed", "job", l.name, "token", l.token, "error", err)
	}
}

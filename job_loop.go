package distributed

import (
	"context"
	"errors"
	"time"
)

// live is the life of a job on this node, from its start; with balancing, the balancer
// goes on with it while the job is wanted here. It reports whether it waits; see serve.
func (p *LeadershipBasedJobProcessor) live(job *plannedJob) (waits bool) {
	if sleep(job.ctx, job.delay) != nil {
		return false
	}
	job.delay = 0
	if p.balancer != nil {
		p.enter(job)
		return false
	}
	return p.serve(job)
}

// keep has f serve the job until it is not to run here any more; see carryOn.
func (p *LeadershipBasedJobProcessor) keep(job *plannedJob, f func() (waits bool)) {
	p.join(job)
	p.carryOn(job, f)
}

// join counts the job as served; leave undoes that.
func (p *LeadershipBasedJobProcessor) join(job *plannedJob) {
	p.crew.join(job)
	p.loops.Add(1)
}

func (p *LeadershipBasedJobProcessor) leave(job *plannedJob) {
	p.retire(job)
	p.loops.Done()
}

// carryOn calls f, which serves the job, on a goroutine. If f reports that the job waits,
// somebody calls carryOn again; else nobody serves it any more. If a Work ends the
// goroutine, another one serves the job.
func (p *LeadershipBasedJobProcessor) carryOn(job *plannedJob, f func() (waits bool)) {
	go func() {
		waits, over := false, false
		defer func() {
			switch {
			case !over:
				p.carryOn(job, func() bool { return p.serve(job) })
			case !waits:
				p.leave(job)
			}
		}()
		waits = f()
		over = true
	}()
}

// standsAtOnce has the job served, without a goroutine, if it need not wait for anything
// but the store. It reports whether it does.
func (p *LeadershipBasedJobProcessor) standsAtOnce(job *plannedJob) bool {
	if p.balancer != nil || job.delay > 0 || p.options.voluntaryTimeout != nil {
		return false
	}
	p.join(job)
	ctx := p.wanted(job)
	stands := ctx != nil && p.campaign(ctx, job, notNow)
	if !stands {
		p.leave(job)
	}
	return stands
}

// serve campaigns for the job, while it is wanted here. It reports whether it waits for
// the outcome of a campaign, with which another goroutine goes on.
func (p *LeadershipBasedJobProcessor) serve(job *plannedJob) (waits bool) {
	for ctx := p.wanted(job); ctx != nil; ctx = p.wanted(job) {
		if p.campaign(ctx, job, untilChanged) {
			return true
		}
	}
	return false
}

// wanted returns the context to campaign for a job under, nil if it is not to run here.
func (p *LeadershipBasedJobProcessor) wanted(job *plannedJob) context.Context {
	if p.balancer != nil {
		return p.balancer.standing(job.Name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if job.removed || p.ctx.Err() != nil {
		return nil
	}
	return job.ctx
}

// campaign begins to campaign for the job, unless ctx or wait ends that before. It reports
// whether it did: the job waits for the outcome then.
func (p *LeadershipBasedJobProcessor) campaign(ctx context.Context, job *plannedJob, wait wait) (begun bool) {
	pause := job.pause
	job.pause = 0
	if sleep(ctx, pause) != nil || p.balancer.awaitCool(ctx, job.Name) != nil {
		return false
	}
	err := p.stand(ctx, job, wait)
	if err != nil {
		p.campaignFailed(ctx, job, err)
	}
	return err == nil
}

// wait is what a job does that cannot campaign now: it returns an error, or nil once
// changed is closed.
type wait func(ctx context.Context, changed <-chan struct{}) error

func untilChanged(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func notNow(context.Context, <-chan struct{}) error { return errNotNow }

var errNotNow = errors.New("distributed: the job has to wait")

// stand begins a campaign as soon as there may be one, and has the job go on when that is
// decided.
func (p *LeadershipBasedJobProcessor) stand(ctx context.Context, job *plannedJob, wait wait) error {
	if err := p.permit(ctx, job, wait); err != nil {
		return err
	}
	if err := p.awaitUndone(ctx, job.Name, wait); err != nil {
		return err
	}
	term, err := durationOf(ctx, "WithVoluntaryTimeout", p.options.voluntaryTimeout, job.Name)
	if err != nil {
		return err
	}
	standing, cancel, err := p.quota.stand(ctx, wait)
	if err != nil {
		return err
	}
	err = p.concurrency.begin(standing, job.Name, func(c *campaign) {
		p.carryOn(job, func() bool {
			l, err := c.result()
			if err != nil {
				p.campaignFailed(standing, job, err)
			}
			cancel()
			if l != nil && p.lead(job, l, term) && p.crowded() {
				_ = sleep(ctx, restTime) // or it would be the first to take its own slot again
			}
			return p.serve(job)
		})
	})
	if err != nil {
		cancel()
	}
	return err
}

// campaignFailed takes in that a campaign has ended, or could not begin, because of err.
// That ends Execute, unless it is because ctx is done, or Execute ends, or the job waits.
func (p *LeadershipBasedJobProcessor) campaignFailed(ctx context.Context, job *plannedJob, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	job.barable = false
	if ctx.Err() == nil && p.ctx.Err() == nil && !errors.Is(err, errNotNow) {
		p.failLocked(err)
	}
}

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
	l.onEnd(func() { p.noteEnd(t) })
	unwatch := p.watch(job, l)
	runWork(l.ctx, p.labelled(job, l), func(err error) {
		unwatch()
		p.noteReturn(t)
		p.noteStop(t)
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

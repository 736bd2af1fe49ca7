package distributed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// failurePause is how long a job pauses after its Work has failed once; the pause
	// doubles with each failure in a row, up to maxFailurePause.
	failurePause    = time.Second
	maxFailurePause = time.Minute

	// maxErrorText is how much of an error is on record, about, in bytes.
	maxErrorText = 200
)

// failed returns what is to be on record of a job whose Work has failed with err
// after it ran for so long; r is what was on record. Pauses are shortened by up
// to a quarter at random, so that jobs that failed together do not run together.
func (r JobRecord) failed(err error, ran time.Duration) JobRecord {
	next := JobRecord{At: time.Now(), Failures: 1, Error: oneLine(err.Error(), maxErrorText)}
	pause := failurePause
	if r.Failures > 0 && ran <= r.Pause {
		next.Failures = r.Failures + 1
		pause = min(failurePause<<min(r.Failures, 30), maxFailurePause)
	}
	next.Pause = (pause - rand.N(pause/4)).Round(time.Millisecond)
	return next
}

// rest waits until the job may run in its tenure, which is for as long as it pauses
// after a failure. It returns what is on record then, and whether it may: not once it is
// done, or the leadership ends. Meanwhile this node holds the job, so that nobody else
// tries it.
func (p *LeadershipBasedJobProcessor) rest(t *tenure) (there JobRecord, ok bool) {
	l := t.leadership
	for l.ctx.Err() == nil {
		record, age, outdated := l.lease.lease.Recorded(l.name)
		left := record.Pause - age
		switch {
		case record.Done:
			return record, false
		case record.Failures == 0 || left <= 0:
			return record, true
		}
		p.noteRest(t, true)
		select {
		case <-time.After(left):
		case <-outdated:
		case <-l.ctx.Done():
		}
		p.noteRest(t, false)
	}
	return JobRecord{}, false
}

// awaitUndone waits while a job is known to be done, until somebody forgets it or ctx
// is done. Without a lease nothing is known.
func (p *LeadershipBasedJobProcessor) awaitUndone(ctx context.Context, job string, wait wait) error {
	for {
		held := p.concurrency.held()
		if held == nil {
			return ctx.Err()
		}
		record, _, outdated := held.lease.Recorded(job)
		if !record.Done {
			return ctx.Err()
		}
		if err := wait(ctx, outdated); err != nil {
			return err
		}
	}
}

// fails puts a failure of Work on record, before the job is released. If it cannot be
// recorded, this node pauses all the same.
func (p *LeadershipBasedJobProcessor) fails(job *plannedJob, l *Leadership, err error, ran time.Duration) (report func()) {
	before, _, _ := l.lease.lease.Recorded(l.name)
	r := before.failed(err, ran)
	if p.recordSoon(l, r) != nil {
		job.pause = r.Pause
	}
	r.Job, r.Token, r.Instance = l.name, l.token, p.concurrency.instance
	return func() {
		l.logFailure(r, err)
		p.concurrency.hooks.failed(r, err)
	}
}

// finishes puts on record that a job is done, before it is released. Nobody else can
// run it before that; so it takes as long as it takes, unless the node is stopping.
func (p *LeadershipBasedJobProcessor) finishes(l *Leadership) (report func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.ctx))
	defer cancel()
	defer context.AfterFunc(p.ctx, func() {
		_ = sleep(ctx, closeTimeout)
		cancel()
	})()
	if err := p.record(ctx, l, JobRecord{At: time.Now(), Done: true}); err != nil {
		return func() {}
	}
	return func() {
		p.concurrency.log.Info("job is done", "job", l.name, "token", l.token)
		p.concurrency.hooks.done(l.name, l.token)
	}
}

// recoverLater takes a failure, of which the record before was made, off the record once
// Work has run for longer than the pause before it, unless the function that it returns
// is called earlier, which says whether Work has returned well by itself.
func (p *LeadershipBasedJobProcessor) recoverLater(l *Leadership, before JobRecord) (returned func(well bool)) {
	if before.Failures == 0 {
		return func(bool) {}
	}
	var once sync.Once
	recovered := func() { once.Do(func() { p.recovers(l, before.Failures) }) }
	stop := later(l.ctx, before.Pause, recovered)
	return func(well bool) {
		stop()
		if well {
			recovered()
		}
	}
}

func (p *LeadershipBasedJobProcessor) recovers(l *Leadership, failures int) {
	if p.recordSoon(l, JobRecord{}) == nil {
		p.concurrency.log.Info("job has recovered", "job", l.name, "token", l.token, "failures", failures)
		p.concurrency.hooks.recovered(l.name, l.token, failures)
	}
}

// recordSoon is record within closeTimeout, also while the node is stopping.
func (p *LeadershipBasedJobProcessor) recordSoon(l *Leadership, r JobRecord) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), closeTimeout)
	defer cancel()
	return p.record(ctx, l, r)
}

// record puts r on record of the job. It tries until ctx is done, or the lease is lost.
func (p *LeadershipBasedJobProcessor) record(ctx context.Context, l *Leadership, r JobRecord) error {
	err := l.election.Record(ctx, r)
	if err != nil {
		p.concurrency.log.Warn("outcome of the job not recorded", "job", l.name, "token", l.token, "error", err)
	}
	return err
}

// later calls f after d, on a goroutine of its own, unless ctx is done or the function
// that it returns is called before; that one waits for f.
func later(ctx context.Context, d time.Duration, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if sleep(ctx, d) == nil {
			f()
		}
	})
	return func() { cancel(); running.Wait() }
}

// WithStopOnError makes the first Work that fails or panics stop this node: its other
// jobs are stopped and released, and Execute returns the error, which names the job. It
// is for services that are restarted from outside. The job does not pause in that case,
// so it may fail on the next node as well. Default: a failure concerns its own job
// only; see [Job].Work.
func WithStopOnError() ProcessorOption {
	return processorOption(func(o *processorOptions) { o.stopOnError = true })
}

// failureOf names the job in the error of its Work.
func failureOf(job string, err error) error {
	return fmt.Errorf("distributed: job %q: %w", job, err)
}

// silenceThen is the error of a Work that gave no sign of life, and then returned err.
func silenceThen(err error, ctx context.Context) error {
	if err == nil || errors.Is(err, ErrNotAlive) || errors.Is(err, ctx.Err()) {
		return ErrNotAlive
	}
	return fmt.Errorf("%w; then: %w", ErrNotAlive, err)
}

// isPanic reports whether err says that a Work did not return.
func isPanic(err error) bool {
	return errors.Is(err, errGoexit) || errors.As(err, new(*PanicError))
}

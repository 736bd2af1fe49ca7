package distributed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"
)

// StuckAction says what to do about a Work that does not stop; see [WithStuck].
type StuckAction int

const (
	// DumpStuck logs the stacks of the goroutines of the job: of the one that runs
	// Work, and of those that it started.
	DumpStuck StuckAction = iota

	// ReturnStuck also ends Execute. All other jobs are stopped and released, and then
	// Execute returns an error that wraps [ErrStuck] and names the job, although its
	// Work has not returned. End the process soon after that: as long as it lives, it
	// keeps the lease, so that no other node runs the job.
	ReturnStuck
)

// WithStuck takes an action if a Work has not returned for the time after, which must
// be above 0, since its context was done. Such a Work is reported in any case. The
// goroutines of jobs have the pprof labels distributed_app, distributed_instance and
// distributed_job. Default: it is only reported, and Execute waits.
func WithStuck(after time.Duration, what StuckAction) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.stuck = stuckOptions{after, what, true} })
}

type stuckOptions struct {
	after time.Duration
	what  StuckAction
	set   bool
}

func (o *stuckOptions) validate() error {
	switch {
	case o.set && o.after <= 0:
		return fmt.Errorf("%w: WithStuck: after is %v: must be above 0", ErrInvalidConfig, o.after)
	case o.what != DumpStuck && o.what != ReturnStuck:
		return fmt.Errorf("%w: WithStuck: what is %d: must be DumpStuck or ReturnStuck", ErrInvalidConfig, o.what)
	}
	return nil
}

// stopping is how a Work stops whose context is done. It has a lock of its own, as
// leaderships are ended by who holds others.
type stopping struct {
	mu       sync.Mutex
	since    time.Time // when the context was done; zero before, and if Work had returned
	returned bool
	report   *time.Timer // set with since
	forget   func()      // keeps the Work from being exposed; nil if it is not to be
}

// noteEnd notes that the context of a Work is done, and has it reported if the Work goes
// on until long after that. It does not block.
func (p *LeadershipBasedJobProcessor) noteEnd(t *tenure) {
	s, l := &t.stopping, t.leadership
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.returned {
		return
	}
	since := time.Now()
	s.since = since
	s.report = time.AfterFunc(stuckAfter, func() { p.noteStuck(t) })
	if after := p.options.stuck.after; after > 0 {
		s.forget = later(context.WithoutCancel(l.ctx), after, func() { p.expose(t, since) })
	}
}

// noteStuck says that a Work goes on, each time twice as late.
func (p *LeadershipBasedJobProcessor) noteStuck(t *tenure) {
	s, l := &t.stopping, t.leadership
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.returned {
		return
	}
	stuck := time.Since(s.since)
	p.concurrency.log.Warn("work does not stop", "job", l.name, "token", l.token, "since", stuck, "cause", context.Cause(l.ctx))
	p.concurrency.hooks.stuck(l.name, l.token, stuck)
	s.report.Reset(min(stuck, time.Minute))
}

// noteStop notes that a Work has returned.
func (p *LeadershipBasedJobProcessor) noteStop(t *tenure) {
	s, l := &t.stopping, t.leadership
	s.mu.Lock()
	s.returned = true
	since, forget := s.since, s.forget
	if s.report != nil {
		s.report.Stop()
	}
	s.mu.Unlock()
	if forget != nil {
		forget()
	}
	if late := time.Since(since); !since.IsZero() && late >= stuckAfter {
		p.concurrency.log.Info("work has stopped", "job", l.name, "token", l.token, "late", late, "cause", context.Cause(l.ctx))
	}
}

// ended returns when the context was done, zero if it is not.
func (s *stopping) ended() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

// stuckAfter is when a Work that does not stop is reported first.
const stuckAfter = time.Second

// expose logs what a Work does that has not returned, for so long after its context
// was done, and gives it up if that is wanted.
func (p *LeadershipBasedJobProcessor) expose(t *tenure, since time.Time) {
	l := t.leadership
	p.concurrency.log.Error("work is stuck", "job", l.name, "token", l.token, "since", time.Since(since), "cause", context.Cause(l.ctx), "goroutines", p.goroutines(l))
	if p.options.stuck.what == ReturnStuck {
		p.giveUp(t)
	}
}

// giveUp ends Execute, which does not wait for the Work of t any more, unless that has
// returned meanwhile. The failure comes first: once nobody is left to wait for, Execute
// returns what it finds there.
func (p *LeadershipBasedJobProcessor) giveUp(t *tenure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !t.returned.IsZero() {
		return
	}
	t.given = true
	p.failLocked(failureOf(t.leadership.name, fmt.Errorf("%w after %v", ErrStuck, p.options.stuck.after)))
	p.crew.giveUp(1)
}

// close waits until no job is served any more, and closes the lease. It returns earlier if
// only such are left whose Work has been given up; then the lease is not closed before
// those have returned.
func (p *LeadershipBasedJobProcessor) close() error {
	done := make(chan struct{})
	go func() { // nobody waits for it if a Work does not return
		defer close(done)
		p.end()
	}()
	select {
	case <-done:
	case <-p.crew.left:
		p.concurrency.reports.flush()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// labelled returns the Work of a job, on a goroutine with labels by which it is found,
// and those that it starts.
func (p *LeadershipBasedJobProcessor) labelled(job *plannedJob, l *Leadership) func(context.Context) error {
	if !p.options.stuck.set && job.Watchdog == 0 {
		return job.Work
	}
	return func(ctx context.Context) (err error) {
		pprof.Do(ctx, pprof.Labels(p.labels(l)...), func(ctx context.Context) { err = job.Work(ctx) })
		return err
	}
}

func (p *LeadershipBasedJobProcessor) labels(l *Leadership) []string {
	return []string{"distributed_app", p.concurrency.app, "distributed_instance", p.concurrency.instance, "distributed_job", l.name}
}

// goroutines returns the stacks of those that Work runs on, as far as they have kept
// its labels.
func (p *LeadershipBasedJobProcessor) goroutines(l *Leadership) string {
	labels := p.labels(l)
	var own []string
	for _, stack := range p.stacks.now()[strconv.Quote(l.name)] {
		if hasLabels(stack, labels) {
			own = append(own, stack)
		}
	}
	text := strings.Join(own, "\n\n")
	return text[:min(len(text), maxDump)]
}

// stacks are those of all goroutines. To look at them stops the whole process: all who
// want them at the same time share one look, as thousands of jobs may hang together.
type stacks struct {
	looking sync.Mutex // held while they are looked at

	mu   sync.Mutex
	next *snapshot // nil if nobody waits for one
}

type snapshot struct {
	once  sync.Once
	byJob map[string][]string
}

// now returns the stacks as they are once it has been called, by quoted name of the job.
func (s *stacks) now() map[string][]string {
	s.mu.Lock()
	if s.next == nil {
		s.next = new(snapshot)
	}
	next := s.next
	s.mu.Unlock()
	next.once.Do(func() {
		s.looking.Lock()
		defer s.looking.Unlock()
		s.mu.Lock()
		s.next = nil
		s.mu.Unlock()
		next.byJob = stacksByJob()
	})
	return next.byJob
}

func stacksByJob() map[string][]string {
	var all bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1) // a buffer takes everything
	byJob := map[string][]string{}
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if _, labels, ok := strings.Cut(stack, `"distributed_job":`); ok {
			if name, err := strconv.QuotedPrefix(labels); err == nil {
				byJob[name] = append(byJob[name], stack)
			}
		}
	}
	return byJob
}

// maxDump is how much of the stacks is logged.
const maxDump = 64 << 10

func hasLabels(stack string, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		if !strings.Contains(stack, strconv.Quote(labels[i])+":"+strconv.Quote(labels[i+1])) {
			return false
		}
	}
	return true
}

// Alive is a sign of life of the Work that runs under this leadership, for a job with a
// [Job].Watchdog. It takes some 50 ns.
func (l *Leadership) Alive() { l.sign.Store(int64(time.Since(l.since))) }

// watch ends the leadership if Work gives no sign of life for as long as the job says,
// until the function that it returns is called.
func (p *LeadershipBasedJobProcessor) watch(job *plannedJob, l *Leadership) (returned func()) {
	if job.Watchdog == 0 {
		return func() {}
	}
	l.Alive()
	ctx, cancel := context.WithCancel(l.ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			silent := time.Since(l.since) - time.Duration(l.sign.Load())
			if sleep(ctx, job.Watchdog-silent) != nil {
				return
			}
			if silent >= job.Watchdog {
				p.concurrency.log.Warn("work gives no sign of life", "job", l.name, "token", l.token, "since", silent, "goroutines", p.goroutines(l))
				l.end(ErrNotAlive)
				return
			}
		}
	})
	return func() { cancel(); watching.Wait() }
}

var (
	// ErrStuck is what Execute returns, wrapped, with [ReturnStuck].
	ErrStuck = errors.New("distributed: Work does not stop")

	// ErrNotAlive is the cause of the context of a Work that has not called
	// [Leadership.Alive] for longer than [Job].Watchdog.
	ErrNotAlive = errors.New("distributed: Work gives no sign of life")
)

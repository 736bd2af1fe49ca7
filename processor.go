package distributed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// restTime is how much time there is at least, on all nodes together, between
// two calls of a job's Work that returns nil by itself. The node that ran it
// keeps it until then: so a Work that returns at once makes no hot loop, however
// many nodes wait for their turn.
const restTime = time.Second

// LeadershipBasedJobProcessor runs jobs under leadership. For each job it campaigns,
// runs the Work while this node leads, releases the job when Work has returned, and
// campaigns again. Create it with [NewLeadershipBasedJobProcessor]. All methods are
// safe for concurrent use.
type LeadershipBasedJobProcessor struct {
	concurrency *Concurrency
	options     processorOptions
	balancer    *balancer      // nil without WithLoadBalancing
	loops       sync.WaitGroup // jobs that are served here, and what else goes on for them

	mu       sync.Mutex
	jobs     map[string]*plannedJob
	invalid  error                   // the first bad job given to the constructor
	caller   context.Context         // given to Execute; set when that starts
	ctx      context.Context         // until Execute ends; likewise
	stop     context.CancelCauseFunc // ends ctx
	quota    *quota
	ended    chan struct{} // closed when Execute has returned
	opened   bool          // the jobs are served
	finished bool          // no more jobs
	failure  error
	crew     crew
	stacks   stacks
	parting  parting

	ordered   *instructions // nil before the first lease
	reordered chan struct{} // closed when that is replaced; nil while nobody waits
	rebarred  chan struct{} // closed when orders may bar other jobs; likewise
}

// plannedJob is a job of a processor, whose mutex guards all but what is said to be of
// somebody else.
type plannedJob struct {
	Job
	delay   time.Duration           // before the first campaign; of whoever serves it
	ctx     context.Context         // of its campaigns: done when it is removed, barred, or Execute ends; no child of any other
	cancel  context.CancelCauseFunc // ends ctx
	barable bool                    // it campaigns: orders may end that
	gone    chan struct{}           // closed when nobody serves it any more
	removed bool                    // it is to end
	served  int                     // goroutines that serve it; of the crew
	since   time.Time               // when it was added, or released last
	tenure  *tenure                 // nil while it is not led here

	pause time.Duration // before the next campaign, as a failure could not be recorded; of whoever serves it
}

// NewLeadershipBasedJobProcessor returns a processor for the node called instance of
// the service called app; see [NewConcurrency] for the rules of both names. It makes no
// call to the store; Execute reports wrong arguments. jobs may be nil, as AddJob can
// add more. Options are applied in order; if one is given twice, the last one counts,
// except for [WithHooks]. There is nothing to close: Execute frees everything.
func NewLeadershipBasedJobProcessor(app, instance string, provider LeaseProvider, jobs []Job, opts ...ProcessorOption) *LeadershipBasedJobProcessor {
	p := &LeadershipBasedJobProcessor{
		options: processorOptions{node: NodeInfo{Version: buildVersion(), Started: time.Now()}},
		jobs:    map[string]*plannedJob{},
		ended:   make(chan struct{}),
		crew:    crew{left: make(chan struct{})},
		parting: parting{look: make(chan struct{}, 1), over: make(chan struct{})},
	}
	for _, o := range opts {
		if o == nil {
			p.options.invalid = errNilOption
			continue
		}
		o.applyProcessor(&p.options)
	}
	p.concurrency = newConcurrency(app, instance, provider, p.options.commonOptions)
	p.concurrency.managed, p.concurrency.obey = true, p.obey
	if p.options.quotaSet {
		p.options.node.Capacity = p.options.quota
	}
	switch {
	case p.options.balancing == nil && p.options.described:
		p.concurrency.info = &p.options.node
	case p.options.balancing != nil:
		p.balancer = newBalancer(p, *p.options.balancing, p.options.node)
	}
	for _, job := range jobs {
		if err := p.AddJob(job); p.invalid == nil {
			p.invalid = err
		}
	}
	return p
}

// AddJob adds a job, before Execute or while it runs. It does not block. It returns
// [ErrInvalidConfig] for a job that breaks the rules of [Job], or whose start delay or
// voluntary timeout is negative; [ErrJobExists] if there is a job of this name already;
// and [ErrClosed] once Execute is ending.
func (p *LeadershipBasedJobProcessor) AddJob(job Job) error {
	if err := p.made(); err != nil {
		return err
	}
	planned, err := p.plan(job)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return fmt.Errorf("distributed: add job %q: %w", job.Name, ErrClosed)
	}
	if _, ok := p.jobs[job.Name]; ok {
		return fmt.Errorf("%w: %q", ErrJobExists, job.Name)
	}
	p.jobs[job.Name] = planned
	p.rebar()
	if p.opened {
		p.ready(planned)
		p.keep(planned, func() bool { return p.live(planned) })
	}
	return nil
}

// Execute runs the jobs until ctx is done. It then returns nil as soon as no Work runs
// any more and everything has been released. Jobs whose Works return together are
// released together; one that takes longer holds up no other. Execute can be called
// once; a second call returns [ErrClosed]. If the store does not answer when ctx is
// done, it returns some 5 s after the last Work (6 s with [WithLoadBalancing], and 10 s
// if there was an outcome of a Work to be recorded), and others wait until the lease
// has run out.
//
// While the store cannot be reached, Execute waits and keeps trying. A failure of one
// job does not end it, unless [WithStopOnError] was given. It returns early with
// [ErrNoJobs]; with [ErrInvalidConfig], before anything is written to the store; and
// with an error that wraps [ErrPermanent] for what waiting cannot fix.
//
// A Work that does not return when its context is done keeps Execute from returning,
// unless [WithStuck] says otherwise. It is reported to the log and to [Hooks].Stuck.
func (p *LeadershipBasedJobProcessor) Execute(ctx context.Context) error {
	if err := p.made(); err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	defer close(p.ended)
	defer p.stop(nil)
	p.open()
	<-p.ctx.Done()
	p.finish(context.Cause(p.ctx))
	if p.options.stuck.what == ReturnStuck {
		return p.close()
	}
	p.end()
	return p.failure
}

// View returns a picture of the app as this node sees it, and false while it has no
// lease; see [Concurrency.View]. With [WithLoadBalancing], [View.Plan] and
// [View.Explain] say where the jobs should run.
func (p *LeadershipBasedJobProcessor) View() (*View, bool) {
	if p.made() != nil {
		return nil, false
	}
	return p.concurrency.View()
}

// Observe returns an observer of this processor's app, through the same provider; see
// [Observe]. It may be called before, during and after Execute. The observer is
// independent of Execute, and the caller must close it.
func (p *LeadershipBasedJobProcessor) Observe(ctx context.Context, opts ...ConcurrencyOption) (*Observer, error) {
	if err := p.made(); err != nil {
		return nil, err
	}
	if err := p.concurrency.invalid; err != nil {
		return nil, err
	}
	return Observe(ctx, p.concurrency.app, p.concurrency.provider, opts...)
}

// Drain makes this node take no more jobs, and hand over those that it runs: each job
// moves when its next node is waiting for it, and stays if no other node can take it.
// Drain blocks until the last job is released. If ctx is done earlier, it returns ctx's
// error, wrapped, and the node goes on draining. It may be called before Execute.
// [LeadershipBasedJobProcessor.Undrain] ends it. It returns [ErrInvalidConfig] without
// [WithLoadBalancing].
func (p *LeadershipBasedJobProcessor) Drain(ctx context.Context) error {
	if p.balancer == nil {
		return fmt.Errorf("%w: Drain needs WithLoadBalancing", ErrInvalidConfig)
	}
	p.balancer.drain(true)
	return p.balancer.empty(ctx)
}

// Undrain lets a node that drains take jobs again. It does not block. It returns
// [ErrInvalidConfig] without [WithLoadBalancing].
func (p *LeadershipBasedJobProcessor) Undrain() error {
	if p.balancer == nil {
		return fmt.Errorf("%w: Undrain needs WithLoadBalancing", ErrInvalidConfig)
	}
	p.balancer.drain(false)
	return nil
}

func (p *LeadershipBasedJobProcessor) made() error {
	if p.concurrency == nil {
		return notMade("LeadershipBasedJobProcessor", "NewLeadershipBasedJobProcessor")
	}
	return nil
}

// check checks job.
func (p *LeadershipBasedJobProcessor) check(job Job) error {
	if err := job.validate(); err != nil {
		return err
	}
	if field := job.needsBalancing(); field != "" && p.balancer == nil {
		return fmt.Errorf("%w: Job.%s of %q needs WithLoadBalancing", ErrInvalidConfig, field, job.Name)
	}
	return nil
}

// plan checks job, and asks the options about it.
func (p *LeadershipBasedJobProcessor) plan(job Job) (*plannedJob, error) {
	if err := p.check(job); err != nil {
		return nil, err
	}
	delay, err := durationOf(context.Background(), "WithStartDelay", p.options.startDelay, job.Name)
	if err != nil {
		return nil, err
	}
	_, err = durationOf(context.Background(), "WithVoluntaryTimeout", p.options.voluntaryTimeout, job.Name)
	return &plannedJob{Job: job, delay: delay, since: time.Now()}, err
}

func (p *LeadershipBasedJobProcessor) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx != nil {
		return fmt.Errorf("distributed: execute: %w: it can be called once", ErrClosed)
	}
	for _, err := range []error{p.concurrency.invalid, p.options.validate(), p.invalid} {
		if err != nil {
			return err
		}
	}
	if len(p.jobs) == 0 && !p.options.blockOnNoJobs {
		return ErrNoJobs
	}
	p.caller = ctx
	p.ctx, p.stop = context.WithCancelCause(ctx)
	if p.options.quotaSet {
		p.quota = newQuota(p.ctx, p.options.quota)
	}
	return nil
}

// open has the jobs served. Those that need a lease at once start when there is one: ten
// thousand goroutines that wait for it would be in the way of that which gets it.
func (p *LeadershipBasedJobProcessor) open() {
	if p.startsAtOnce() {
		held, err := p.concurrency.hold(p.ctx)
		if err != nil {
			if p.ctx.Err() == nil {
				p.fail(err)
			}
			return
		}
		defer p.concurrency.drop(held, false)
	}
	jobs := p.admit()
	if p.balancer != nil {
		p.loops.Go(func() { p.balancer.run(p.ctx) })
	} else {
		p.loops.Go(p.stay)
	}
	waiting := 0
	for _, job := range jobs {
		if p.standsAtOnce(job) {
			continue
		}
		p.keep(job, func() bool { return p.live(job) })
		if waiting++; waiting%jobsAtOnce == 0 && sleep(p.ctx, time.Millisecond) != nil {
			return
		}
	}
}

// jobsAtOnce is how many goroutines are started for jobs until they get a millisecond.
// While goroutines are ready to run, Go's scheduler looks at the network only every 10 ms:
// if ten thousand started at once, none would get further before the last had begun.
const jobsAtOnce = 128

// admit returns the jobs that are to be served; one that is added from now on is by itself.
func (p *LeadershipBasedJobProcessor) admit() (jobs []*plannedJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened = true
	for _, job := range p.jobs {
		if p.balancer != nil && job.delay == 0 {
			p.balancer.enter(job) // all together, before the first view
			continue
		}
		p.ready(job)
		jobs = append(jobs, job)
	}
	return jobs
}

// ready makes the context of a job that is to be served. It is called with mu held.
func (p *LeadershipBasedJobProcessor) ready(job *plannedJob) {
	job.ctx, job.cancel = context.WithCancelCause(context.WithoutCancel(p.caller))
}

func (p *LeadershipBasedJobProcessor) startsAtOnce() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, job := range p.jobs {
		if job.delay == 0 {
			return true
		}
	}
	return false
}

// fail makes Execute stop everything and return err. Only the first failure
// counts: a store that refuses this node for good fails every job.
func (p *LeadershipBasedJobProcessor) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failLocked(err)
}

// failLocked is fail for who holds mu.
func (p *LeadershipBasedJobProcessor) failLocked(err error) {
	if p.failure == nil {
		p.failure = err
		p.stop(err)
	}
}

var (
	// ErrNoJobs is returned by Execute when there is no job, unless
	// [WithBlockOnNoJobs] was given.
	ErrNoJobs = errors.New("distributed: no jobs")

	// ErrJobExists is returned for a second job of a name: by AddJob, and by
	// Execute for the list given to [NewLeadershipBasedJobProcessor]. It wraps
	// [ErrInvalidConfig].
	ErrJobExists = fmt.Errorf("%w: there is a job of this name already", ErrInvalidConfig)

	// ErrTermEnded is the cause of the context of a Work whose term was ended
	// by [WithVoluntaryTimeout].
	ErrTermEnded = errors.New("distributed: term ended")
)

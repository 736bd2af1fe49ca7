package distributed

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"
)

// ProcessorOption changes a [LeadershipBasedJobProcessor].
type ProcessorOption interface{ applyProcessor(*processorOptions) }

// ConcurrencyOption changes a [Concurrency], an [Observer] or an [Operator], or else a
// [LeadershipBasedJobProcessor], as each is a ProcessorOption too.
type ConcurrencyOption interface {
	ProcessorOption
	applyConcurrency(*commonOptions)
}

// commonOptions holds what the user gave. It is for the reporter to call.
type commonOptions struct {
	log     *slog.Logger // nil for slog.Default, at Warn and above
	hooks   []Hooks
	invalid error
}

func (o *commonOptions) apply(opt ConcurrencyOption) {
	if opt == nil {
		o.invalid = errNilOption
		return
	}
	opt.applyConcurrency(o)
}

var errNilOption = fmt.Errorf("%w: an option is nil", ErrInvalidConfig)

// report returns the reporter of a node, and the hooks that call the user's
// through it.
func (o *commonOptions) report() (*reporter, Hooks) {
	r := newReporter(o.log)
	var hooks Hooks
	for _, h := range o.hooks {
		hooks = hooks.and(h.via(r.tell)) // each by itself: one may panic
	}
	return r, hooks
}

type processorOptions struct {
	commonOptions
	startDelay       func(job string) time.Duration
	voluntaryTimeout func(job string) time.Duration
	blockOnNoJobs    bool
	stopOnError      bool
	stuck            stuckOptions
	quota            int
	quotaSet         bool
	balancing        *balancing // nil without WithLoadBalancing
	node             NodeInfo
	described        bool // an option says something about the node
}

func (o *processorOptions) validate() error {
	if o.quotaSet && o.quota < 1 {
		return fmt.Errorf("%w: WithJobQuota(%d): must be at least 1", ErrInvalidConfig, o.quota)
	}
	if err := o.stuck.validate(); err != nil {
		return err
	}
	if err := o.node.validate(); err != nil {
		return err
	}
	if o.balancing != nil {
		return o.balancing.validate()
	}
	return nil
}

func (b *balancing) validate() error {
	switch {
	case b.invalid != nil:
		return b.invalid
	case b.settleTime < 0:
		return fmt.Errorf("%w: WithSettleTime(%v): must not be negative", ErrInvalidConfig, b.settleTime)
	case b.gatherTime < 0:
		return fmt.Errorf("%w: WithGatherTime(%v): must not be negative", ErrInvalidConfig, b.gatherTime)
	}
	return nil
}

// durationOf asks an option's function, which may be nil, about a job. It waits
// no longer than until ctx is done: the function may block.
func durationOf(ctx context.Context, option string, f func(job string) time.Duration, job string) (time.Duration, error) {
	if f == nil {
		return 0, nil
	}
	d, err := await(ctx, ask(fmt.Sprintf("%s for job %q: the function", option, job), func() (time.Duration, error) { return f(job), nil }))
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	case d < 0:
		return 0, fmt.Errorf("%w: %s returned %v for job %q: must not be negative", ErrInvalidConfig, option, d, job)
	}
	return d, nil
}

type processorOption func(*processorOptions)

func (f processorOption) applyProcessor(o *processorOptions) { f(o) }

type commonOption func(*commonOptions)

func (f commonOption) applyProcessor(o *processorOptions) { f(&o.commonOptions) }
func (f commonOption) applyConcurrency(o *commonOptions)  { f(o) }

// WithStartDelay makes this node wait before its first campaign for each job, for what
// f returns for the job, counted from Execute, or from AddJob if that comes later. So a
// node can leave some jobs to others that start at the same time. Later campaigns are
// not delayed. f is called once for each job. Zero means no delay; a negative duration,
// or a panic of f, is an error of AddJob or Execute. Default: no delay.
func WithStartDelay(f func(job string) time.Duration) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.startDelay = f })
}

// WithVoluntaryTimeout ends each term of a job after what f returns for it, counted
// from the start of Work: the context of Work is done with cause [ErrTermEnded]. Once
// Work has returned, the job is released and this node campaigns again, behind all
// nodes that wait. So jobs wander from node to node. f is called when a job is added,
// as a check, and then before each campaign. Zero means that the term does not end by
// itself; a negative duration, or a panic of f, is an error of AddJob or Execute.
// Default: terms do not end by themselves.
func WithVoluntaryTimeout(f func(job string) time.Duration) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.voluntaryTimeout = f })
}

// WithBlockOnNoJobs makes Execute wait for a job to be added, or for its context, if
// there is no job when it starts. Default: Execute returns [ErrNoJobs].
func WithBlockOnNoJobs() ProcessorOption {
	return processorOption(func(o *processorOptions) { o.blockOnNoJobs = true })
}

// WithJobQuota lets this node run at most n jobs at once; n is at least 1. A node at
// its quota campaigns for no more jobs until one of its jobs has been released. If it
// has more jobs than its quota, each job pauses for a second after each of its terms,
// so that the others get their turn. If the quotas of all nodes add up to less than the
// number of jobs, some jobs run nowhere. Default: no limit.
func WithJobQuota(n int) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.quota, o.quotaSet = n, true })
}

// WithLoadBalancing spreads the jobs of the app evenly over the nodes that have them:
// the total weights of any two nodes differ by the weight of the heaviest job at most.
// A running job moves only if that is needed for the balance, or if its node drains,
// and as few jobs as possible move. A node campaigns only for the jobs that should run
// on it, and for those that it is the standby of. When a node fails, the others share
// its jobs evenly.
//
// A job that is about to move runs on until its next node is waiting for it. Then the
// context of its Work is done with cause [ErrMoved].
//
// All nodes of an app should have this option. A node without it keeps the jobs that it
// has, and campaigns for every job. Default: the first node in the queue of a job leads
// it.
func WithLoadBalancing(opts ...BalancingOption) ProcessorOption {
	return processorOption(func(o *processorOptions) {
		o.balancing = &balancing{settleTime: 5 * time.Second, gatherTime: time.Second}
		for _, opt := range opts {
			if opt == nil {
				o.invalid = errNilOption
				continue
			}
			opt(o.balancing)
		}
	})
}

// BalancingOption changes what [WithLoadBalancing] does.
type BalancingOption func(*balancing)

// WithMaxMoves lets at most n jobs at a time move away from each node, and at most n to
// each node; n is at least 1. A job has moved when its new node leads it. It should be
// the same on all nodes. Default: an eighth of the jobs that a node runs on average,
// but at least 10.
func WithMaxMoves(n int) BalancingOption {
	return func(b *balancing) {
		b.maxMoves, b.invalid = n, nil
		if n < 1 {
			b.invalid = fmt.Errorf("%w: WithMaxMoves(%d): must be at least 1", ErrInvalidConfig, n)
		}
	}
}

// WithGatherTime makes a node that starts, and finds that nobody leads or waits for any
// job of the app, wait for other nodes: until no node has come or gone for d, but ten
// times d at most. Otherwise the first node would start all jobs, and hand most of them
// over soon after. A node that joins others which are running does not wait. 0 turns it
// off. Default: 1 s.
func WithGatherTime(d time.Duration) BalancingOption {
	return func(b *balancing) { b.gatherTime = d }
}

// WithSettleTime makes jobs move only when no node of the app has come or gone for d,
// so that a node which restarts gets its own jobs back. Urgent moves do not wait: those
// of jobs that run nowhere, and of jobs on a node that drains. Default: 5 s.
func WithSettleTime(d time.Duration) BalancingOption {
	return func(b *balancing) { b.settleTime = d }
}

// WithVersion sets the version of the program that this node runs, at most 128 bytes of
// UTF-8. While nodes of two versions are running, jobs that have to leave a node go to
// the newer version, if one of its nodes can take them: the version whose first node
// was started last. Default: the version and revision that the build was stamped with;
// a node without [WithLoadBalancing] publishes that only if it has this option,
// [WithLabels] or [WithMetadata].
func WithVersion(version string) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.node.Version, o.described = version, true })
}

// WithLabels says what this node is like, for [Job].Prefer and Avoid: at most 16
// labels, with keys and values of at most 128 bytes. A key is not empty, has no "=",
// and no space at either end. Default: none.
func WithLabels(labels map[string]string) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.node.Labels, o.described = maps.Clone(labels), true })
}

// WithMetadata publishes facts about this node for observers, such as the address to
// which to route requests: at most 64 entries, with keys of at most 1024 bytes and
// values likewise, and 16 KiB in all. Observers know them before the node leads anything. Default: none.
func WithMetadata(metadata map[string]string) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.node.Metadata, o.described = maps.Clone(metadata), true })
}

// WithLogger sets the logger for what happens to leaderships, and for what the provider
// and its client report: at Error what stops the processor, at Warn what is lost or
// fails, at Info who leads, at Debug details. The messages are constant; docs/logs.md
// lists them. Above Debug nothing is logged while nothing changes, except for a Work
// that does not stop. The handler is called in the same way as [Hooks]. Default, also
// for nil: Warn and Error go to slog.Default. To log nothing, give a logger with
// slog.DiscardHandler.
func WithLogger(l *slog.Logger) ConcurrencyOption {
	return commonOption(func(o *commonOptions) { o.log = l })
}

// WithHooks calls the functions in h as things happen; see [Hooks]. If it is given more
// than once, all of them are called, in that order. Default: none.
func WithHooks(h Hooks) ConcurrencyOption {
	return commonOption(func(o *commonOptions) { o.hooks = append(o.hooks, h) })
}

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

// WithStartDelay delays the first campaign of each job by what f returns for
// it, counted from Execute, or from AddJob if that comes later; so a node can
// leave some jobs to others that start at the same time. It delays no later
// campaign of the job. f is called once a job; zero means no delay, and a
// negative duration, or a panic, is an error of AddJob or Execute. Default: no
// delay.
func WithStartDelay(f func(job string) time.Duration) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.startDelay = f })
}

// WithVoluntaryTimeout ends each term of a job after what f returns for it,
// counted from the start of Work: the context of Work is done with cause
// [ErrTermEnded], and once Work has returned the job is released and this node
// campaigns again, behind everybody who waits. So jobs wander between nodes. f
// is called when a job is added, as a check, and then before each campaign; zero
// means that the term does not end by itself, and a negative duration, or a
// panic, is an error of AddJob or Execute. Default: terms do not end by
// themselves.
func WithVoluntaryTimeout(f func(job string) time.Duration) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.voluntaryTimeout = f })
}

// WithBlockOnNoJobs makes Execute wait for its context, or for a job to be
// added, when there is no job at its start. By default it returns [ErrNoJobs].
func WithBlockOnNoJobs() ProcessorOption {
	return processorOption(func(o *processorOptions) { o.blockOnNoJobs = true })
}

// WithJobQuota lets this node run at most n jobs at once, n ≥ 1. A node at its
// quota does not campaign for more jobs, and does again when one of its jobs has
// been released. If it has more jobs than its quota, a job pauses for a second
// after each of its terms, so that the others get their turn. A job is left
// without a node when the quotas of all nodes add up to less than the number of
// jobs. Default: no limit.
func WithJobQuota(n int) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.quota, o.quotaSet = n, true })
}

// WithLoadBalancing spreads the jobs of the app evenly over the nodes that have
// them: the weights on any two nodes differ by one heaviest job at most. A
// running job moves only if that is needed for it, or its node drains, and then
// as few as can be. A node campaigns only for the jobs that are to run on it, and
// for those that it is the standby of, so that the load of a node that fails
// falls evenly on the others.
//
// A job that is to move runs on until its next node waits for it; then the
// context of its Work is done with cause [ErrMoved].
//
// All nodes of an app should have it. A node without it keeps what it has, and
// campaigns for every job. Default: whoever is first in the queue of a job leads it.
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

// WithMaxMoves lets at most n jobs move at a time from each node, and as many to
// each, n ≥ 1. A job has moved when its new node leads it. It should be the same on
// all nodes. Default: an eighth of the jobs that a node runs on average, but at least
// 10.
func WithMaxMoves(n int) BalancingOption {
	return func(b *balancing) {
		b.maxMoves, b.invalid = n, nil
		if n < 1 {
			b.invalid = fmt.Errorf("%w: WithMaxMoves(%d): must be at least 1", ErrInvalidConfig, n)
		}
	}
}

// WithGatherTime makes a node that starts, and finds that nobody leads or waits for any job
// of the app, wait for the others: until the nodes have been the same for d, ten
// times d at most. Otherwise the first one would start all jobs, and hand over most
// of them soon after. A node that joins others which run does not wait. 0 turns it
// off. Default: 1 s.
func WithGatherTime(d time.Duration) BalancingOption {
	return func(b *balancing) { b.gatherTime = d }
}

// WithSettleTime makes jobs move only when the nodes of the app have been the
// same for d, so that a restart is not chased. What cannot wait does not: jobs
// that run nowhere, and those of a node that drains. Default: 5 s.
func WithSettleTime(d time.Duration) BalancingOption {
	return func(b *balancing) { b.settleTime = d }
}

// WithVersion tells builds of the program apart. While nodes of two versions are
// live, jobs that have to leave a node go to one of the newer version, if there
// is one: the version whose first node was started last. version has at most 128
// bytes of UTF-8. Default: the version and revision that the build was stamped
// with; a node without WithLoadBalancing tells that to others only if it has this
// option, [WithLabels] or [WithMetadata].
func WithVersion(version string) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.node.Version, o.described = version, true })
}

// WithLabels says what this node is like, for [Job].Prefer and [Job].Avoid: at
// most 16 labels, with keys and values of at most 128 bytes. A key is not empty,
// has no "=" and no space at either end. Default: none.
func WithLabels(labels map[string]string) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.node.Labels, o.described = maps.Clone(labels), true })
}

// WithMetadata tells observers about this node, such as the address to which to
// route requests for its jobs. They know it before the node leads anything, with
// WithLoadBalancing and without. Default: none.
func WithMetadata(metadata map[string]string) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.node.Metadata, o.described = maps.Clone(metadata), true })
}

// WithLogger logs what happens to leadership, and what the provider and its
// client have to say, to l: at Error what stops the processor, at Warn what is
// lost or fails, at Info who leads, at Debug details. But for a Work that does not
// stop, a change of state is one line, and no change is none, above Debug; the
// messages are constant, and docs/logs.md lists them. Its handler is called as
// [Hooks] are. nil means the default: what is logged at Warn and Error goes to
// [slog.Default]. To silence that, give a logger with [slog.DiscardHandler].
func WithLogger(l *slog.Logger) ConcurrencyOption {
	return commonOption(func(o *commonOptions) { o.log = l })
}

// WithHooks calls the functions in h as things happen. Of an option given more
// than once all count, in that order. Default: none.
func WithHooks(h Hooks) ConcurrencyOption {
	return commonOption(func(o *commonOptions) { o.hooks = append(o.hooks, h) })
}

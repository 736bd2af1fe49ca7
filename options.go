package distributed

import (
	"fmt"
	"log/slog"
	"time"
)

// ProcessorOption changes a [LeadershipBasedJobProcessor].
type ProcessorOption interface{ applyProcessor(*processorOptions) }

// ConcurrencyOption changes a [Concurrency].
type ConcurrencyOption interface{ applyConcurrency(*commonOptions) }

// CommonOption is an option of both.
type CommonOption interface {
	ProcessorOption
	ConcurrencyOption
}

type commonOptions struct {
	log   *slog.Logger
	hooks Hooks
}

func defaultCommonOptions() commonOptions {
	return commonOptions{log: slog.New(slog.DiscardHandler)}
}

type processorOptions struct {
	commonOptions
	startDelay       func(job string) time.Duration
	voluntaryTimeout func(job string) time.Duration
	blockOnNoJobs    bool
	quota            int
	quotaSet         bool
}

func (o *processorOptions) validate() error {
	if o.quotaSet && o.quota < 1 {
		return fmt.Errorf("%w: WithJobQuota(%d): must be at least 1", ErrInvalidConfig, o.quota)
	}
	return nil
}

// durationOf asks an option's function, which may be nil, about a job.
func durationOf(option string, f func(job string) time.Duration, job string) (time.Duration, error) {
	if f == nil {
		return 0, nil
	}
	d := f(job)
	if d < 0 {
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
// negative duration is an error of AddJob or Execute. Default: no delay.
func WithStartDelay(f func(job string) time.Duration) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.startDelay = f })
}

// WithVoluntaryTimeout ends each term of a job after what f returns for it,
// counted from the start of Work: the context of Work is done with cause
// [ErrTermEnded], and once Work has returned the job is released and this node
// campaigns again, behind everybody who waits. So jobs wander between nodes. f
// is called when a job is added, as a check, and then once a term; zero means
// that the term does not end by itself, and a negative duration is an error of
// AddJob or Execute. Default: terms do not end by themselves.
func WithVoluntaryTimeout(f func(job string) time.Duration) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.voluntaryTimeout = f })
}

// WithBlockOnNoJobs makes Execute wait for its context, or for a job to be
// added, when there is no job at its start. By default it returns [ErrNoJobs].
func WithBlockOnNoJobs() ProcessorOption {
	return processorOption(func(o *processorOptions) { o.blockOnNoJobs = true })
}

// WithJobQuota lets this node run at most n jobs at once, n ≥ 1. A node at its
// quota does not stand for more jobs, and stands again when one of its jobs has
// been released. If it has more jobs than its quota, a job pauses for a second
// after each of its terms, so that the others get their turn. A job is left
// without a node when the quotas of all nodes add up to less than the number of
// jobs. Default: no limit.
func WithJobQuota(n int) ProcessorOption {
	return processorOption(func(o *processorOptions) { o.quota, o.quotaSet = n, true })
}

// WithLogger logs what happens to leadership, and what the provider and its
// client have to say, to l: at Error what stops the processor, at Warn what is
// lost or fails, at Info who leads, at Debug details. nil means the default:
// nothing is logged anywhere.
func WithLogger(l *slog.Logger) CommonOption {
	return commonOption(func(o *commonOptions) {
		if l != nil {
			o.log = l
		}
	})
}

// WithHooks calls the functions in h as things happen. Default: none.
func WithHooks(h Hooks) CommonOption {
	return commonOption(func(o *commonOptions) { o.hooks = h })
}

package otelmetrics

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/b2552be4/distributed"
)

const scope = "github.com/b2552be4/distributed/otelmetrics"

// New makes the instruments of a node with a meter of provider, and returns the
// hooks that keep them, for one processor or one Concurrency. It does not block.
// It returns an error when the provider refuses an instrument, or when an option
// cannot work. The hooks are safe for concurrent use and do not block.
func New(provider metric.MeterProvider, opts ...Option) (distributed.Hooks, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return distributed.Hooks{}, err
	}
	m, err := newMetrics(provider.Meter(scope), &o)
	if err != nil {
		return distributed.Hooks{}, fmt.Errorf("otelmetrics: %w", err)
	}
	return m.hooks(), nil
}

// Option changes what [New] does.
type Option func(*options)

type options struct {
	jobs       []string
	attributes []attribute.KeyValue
}

// maxJobs bounds the attributes of WithJobs.
const maxJobs = 1000

// WithJobs adds the attribute distributed.job.name for the jobs of these names, at
// most 1,000 without repetition, so that some metrics have a series for each.
// Stay below the cardinality limit of your SDK, 2,000 by default: two of the
// metrics have several series a job. Of an option given more than once all count.
// Default: none.
func WithJobs(names ...string) Option {
	return func(o *options) { o.jobs = append(o.jobs, names...) }
}

// WithAttributes adds attributes to all metrics, such as one for the app when a
// process has several. Of an option given more than once all count. Default: none.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(o *options) { o.attributes = append(o.attributes, attributes...) }
}

func (o *options) validate() error {
	if len(o.jobs) > maxJobs {
		return fmt.Errorf("%w: otelmetrics: WithJobs: %d jobs, at most %d are allowed", distributed.ErrInvalidConfig, len(o.jobs), maxJobs)
	}
	seen := map[string]bool{}
	for _, job := range o.jobs {
		if seen[job] {
			return fmt.Errorf("%w: otelmetrics: WithJobs: %q is there twice", distributed.ErrInvalidConfig, job)
		}
		seen[job] = true
	}
	return nil
}

type metrics struct {
	campaigning, led, running, stuck, leaseHeld metric.Int64UpDownCounter
	campaign, gap, term, work                   metric.Float64Histogram
	storeUp                                     metric.Int64Gauge
	outages, leasesLost, renewFails             metric.Int64Counter
	failures, done                              metric.Int64Counter
	acquisition, renewal, margin                metric.Float64Histogram

	common metric.MeasurementOption
	jobs   map[string]metric.MeasurementOption // of those that are named

	mu   sync.Mutex
	late map[leadership]bool // whose Work is stuck
}

// leadership tells one from another.
type leadership struct {
	job   string
	token int64
}

var (
	gapBuckets     = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	callBuckets    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	marginBuckets  = []float64{.1, .25, .5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 30, 60, 120, 300} // leases live for 1 to 300 s
	waitBuckets    = []float64{.001, .01, .1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}
	workingBuckets = []float64{.1, 1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600}
)

func newMetrics(meter metric.Meter, o *options) (*metrics, error) {
	b := builder{meter: meter}
	m := &metrics{
		campaigning: b.upDown("job.campaigning", "{job}", "Jobs that this node campaigns for."),
		led:         b.upDown("job.led", "{job}", "Jobs that this node leads."),
		running:     b.upDown("job.running", "{job}", "Jobs whose Work runs on this node."),
		stuck:       b.upDown("job.stuck", "{job}", "Jobs whose Work goes on more than 1 s after its context was done."),
		failures:    b.counter("job.failures", "{failure}", "Times that a Work failed or panicked, so that its job paused."),
		done:        b.counter("job.done", "{job}", "Jobs whose Work has finished for good on this node."),
		campaign:    b.histogram("campaign.duration", "From the start of a campaign to leading the job, or to giving up.", waitBuckets),
		gap:         b.histogram("handover.gap", "From seeing that the node before had released a job to leading it.", gapBuckets),
		term:        b.histogram("term.duration", "From leading a job to having lost or released it.", workingBuckets),
		work:        b.histogram("work.duration", "Calls of Work.", workingBuckets),

		storeUp:     b.gauge("store.up", "1", "1 when the last call for the lease worked, 0 when it failed."),
		outages:     b.counter("store.outages", "{outage}", "Times that the store stopped working."),
		leaseHeld:   b.upDown("lease.held", "{lease}", "1 while this node has a lease."),
		leasesLost:  b.counter("lease.losses", "{lease}", "Leases lost without this node's doing."),
		acquisition: b.histogram("lease.acquisition.duration", "From the first attempt to the lease.", waitBuckets),
		renewal:     b.histogram("lease.renewal.duration", "From sending a renewal to its effect.", callBuckets),
		margin:      b.histogram("lease.renewal.margin", "How much longer leadership would have been valid without the renewal.", marginBuckets),
		renewFails:  b.counter("lease.renewal.failures", "{attempt}", "Attempts to renew the lease that failed."),

		common: metric.WithAttributeSet(attribute.NewSet(o.attributes...)),
		jobs:   map[string]metric.MeasurementOption{},
		late:   map[leadership]bool{},
	}
	for _, job := range o.jobs {
		m.jobs[job] = metric.WithAttributeSet(attribute.NewSet(append([]attribute.KeyValue{attribute.String("distributed.job.name", job)}, o.attributes...)...))
	}
	return m, errors.Join(b.errs...)
}

// builder makes instruments, and keeps what went wrong.
type builder struct {
	meter metric.Meter
	errs  []error
}

func (b *builder) upDown(name, unit, description string) metric.Int64UpDownCounter {
	i, err := b.meter.Int64UpDownCounter("distributed."+name, metric.WithUnit(unit), metric.WithDescription(description))
	b.errs = append(b.errs, err)
	return i
}

func (b *builder) counter(name, unit, description string) metric.Int64Counter {
	i, err := b.meter.Int64Counter("distributed."+name, metric.WithUnit(unit), metric.WithDescription(description))
	b.errs = append(b.errs, err)
	return i
}

func (b *builder) gauge(name, unit, description string) metric.Int64Gauge {
	i, err := b.meter.Int64Gauge("distributed."+name, metric.WithUnit(unit), metric.WithDescription(description))
	b.errs = append(b.errs, err)
	return i
}

func (b *builder) histogram(name, description string, buckets []float64) metric.Float64Histogram {
	i, err := b.meter.Float64Histogram("distributed."+name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(buckets...))
	b.errs = append(b.errs, err)
	return i
}

func (m *metrics) hooks() distributed.Hooks {
	ctx := context.Background() // nothing that happens belongs to a request
	return distributed.Hooks{
		Campaigning: func(job string) { m.campaigning.Add(ctx, 1, m.of(job)) },
		Withdrawn: func(job string, waited time.Duration, _ error) {
			m.campaigning.Add(ctx, -1, m.of(job))
			m.campaign.Record(ctx, waited.Seconds(), m.common, notWon)
		},
		Elected: func(job string, _ int64, waited time.Duration) {
			m.campaigning.Add(ctx, -1, m.of(job))
			m.led.Add(ctx, 1, m.of(job))
			m.campaign.Record(ctx, waited.Seconds(), m.common, won)
		},
		HandedOver: func(job string, _ int64, gap time.Duration) { m.gap.Record(ctx, gap.Seconds(), m.of(job)) },
		Lost: func(job string, _ int64, held time.Duration, _ error) {
			m.end(ctx, job, held, "lost")
		},
		Resigned: func(job string, _ int64, held time.Duration, cause error) {
			m.end(ctx, job, held, causeOf(cause))
		},
		WorkStarted: func(job string, _ int64) { m.running.Add(ctx, 1, m.of(job)) },
		WorkReturned: func(job string, token int64, took time.Duration, err error) {
			m.running.Add(ctx, -1, m.of(job))
			m.work.Record(ctx, took.Seconds(), m.of(job), metric.WithAttributes(attribute.String("distributed.work.result", resultOf(err))))
			if m.setStuck(job, token, false) {
				m.stuck.Add(ctx, -1, m.of(job))
			}
		},
		Failed: func(r distributed.JobRecord, _ error) { m.failures.Add(ctx, 1, m.of(r.Job)) },
		Done:   func(job string, _ int64) { m.done.Add(ctx, 1, m.of(job)) },
		Stuck: func(job string, token int64, _ time.Duration) {
			if m.setStuck(job, token, true) {
				m.stuck.Add(ctx, 1, m.of(job))
			}
		},
		LeaseAcquired: func(took time.Duration) {
			m.leaseHeld.Add(ctx, 1, m.common)
			m.acquisition.Record(ctx, took.Seconds(), m.common)
		},
		LeaseRenewed: func(latency, remaining time.Duration) {
			m.renewal.Record(ctx, latency.Seconds(), m.common)
			m.margin.Record(ctx, remaining.Seconds(), m.common)
		},
		LeaseRenewalFailed: func(error) { m.renewFails.Add(ctx, 1, m.common) },
		LeaseLost: func(error) {
			m.leaseHeld.Add(ctx, -1, m.common)
			m.leasesLost.Add(ctx, 1, m.common)
		},
		LeaseReleased: func() { m.leaseHeld.Add(ctx, -1, m.common) },
		StoreDown: func(error) {
			m.storeUp.Record(ctx, 0, m.common)
			m.outages.Add(ctx, 1, m.common)
		},
		StoreUp: func(time.Duration) { m.storeUp.Record(ctx, 1, m.common) },
	}
}

var (
	won    = metric.WithAttributes(attribute.Bool("distributed.campaign.won", true))
	notWon = metric.WithAttributes(attribute.Bool("distributed.campaign.won", false))
)

// of returns the attributes of a job.
func (m *metrics) of(job string) metric.MeasurementOption {
	if named, ok := m.jobs[job]; ok {
		return named
	}
	return m.common
}

func (m *metrics) end(ctx context.Context, job string, held time.Duration, cause string) {
	m.led.Add(ctx, -1, m.of(job))
	m.term.Record(ctx, held.Seconds(), m.of(job), metric.WithAttributes(attribute.String("distributed.term.cause", cause)))
}

// setStuck reports whether that has changed anything.
func (m *metrics) setStuck(job string, token int64, stuck bool) (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := leadership{job, token}
	changed = m.late[key] != stuck
	if stuck {
		m.late[key] = true
	} else {
		delete(m.late, key)
	}
	return changed
}

func causeOf(err error) string {
	switch {
	case errors.Is(err, distributed.ErrTermEnded):
		return "term_ended"
	case errors.Is(err, distributed.ErrDone):
		return "done"
	case errors.Is(err, distributed.ErrMoved):
		return "moved"
	case errors.Is(err, distributed.ErrResigned):
		return "resigned"
	case errors.Is(err, distributed.ErrClosed):
		return "closed"
	}
	return "stopped" // by the context given to Execute, whose cause may be anything, or as a Work failed
}

func resultOf(err error) string {
	switch {
	case err == nil, errors.Is(err, distributed.ErrDone):
		return "ok"
	case errors.As(err, new(*distributed.PanicError)):
		return "panic"
	case errors.Is(err, context.Canceled), errors.Is(err, distributed.ErrLeadershipLost), errors.Is(err, distributed.ErrTermEnded),
		errors.Is(err, distributed.ErrMoved), errors.Is(err, distributed.ErrClosed), errors.Is(err, distributed.ErrResigned):
		return "canceled"
	}
	return "error"
}

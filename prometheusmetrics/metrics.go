package prometheusmetrics

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/b2552be4/distributed"
)

// New registers the metrics of a node with reg, and returns the hooks that keep
// them, for one processor or one Concurrency. It does not block. It returns an
// error, and registers nothing, when reg refuses a metric, such as one of the
// same name, or when an option cannot work. The hooks are safe for concurrent
// use and do not block.
func New(reg prometheus.Registerer, opts ...Option) (distributed.Hooks, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return distributed.Hooks{}, err
	}
	m := newMetrics(o.jobs)
	if err := register(reg, m.collectors()); err != nil {
		return distributed.Hooks{}, fmt.Errorf("prometheusmetrics: %w", err)
	}
	return m.hooks(), nil
}

// register registers all or nothing.
func register(reg prometheus.Registerer, collectors []prometheus.Collector) error {
	for i, c := range collectors {
		if err := reg.Register(c); err != nil {
			for _, done := range collectors[:i] {
				reg.Unregister(done)
			}
			return err
		}
	}
	return nil
}

// Option changes what [New] registers.
type Option func(*options)

type options struct{ jobs []string }

// maxJobs bounds the series of WithJobs.
const maxJobs = 1000

// WithJobs adds metrics with a label job_name for the jobs of these names, at most
// 1,000 without repetition: three series for each on each node, which are there
// from the beginning. Of an option given more than once all count. Default: none.
func WithJobs(names ...string) Option {
	return func(o *options) { o.jobs = append(o.jobs, names...) }
}

func (o *options) validate() error {
	if len(o.jobs) > maxJobs {
		return fmt.Errorf("%w: prometheusmetrics: WithJobs: %d jobs, at most %d are allowed", distributed.ErrInvalidConfig, len(o.jobs), maxJobs)
	}
	seen := map[string]bool{}
	for _, job := range o.jobs {
		if !utf8.ValidString(job) {
			return fmt.Errorf("%w: prometheusmetrics: WithJobs: %q is not valid UTF-8", distributed.ErrInvalidConfig, job)
		}
		if seen[job] {
			return fmt.Errorf("%w: prometheusmetrics: WithJobs: %q is there twice", distributed.ErrInvalidConfig, job)
		}
		seen[job] = true
	}
	return nil
}

type metrics struct {
	campaigning, led, running, stuck                prometheus.Gauge
	terms, withdrawn, failures, done                prometheus.Counter
	ended                                           *prometheus.CounterVec
	campaignDuration, gap, termDuration             prometheus.Histogram
	workDuration                                    *prometheus.HistogramVec
	storeUp, leaseHeld, lastRenewal                 prometheus.Gauge
	outages, leasesAcquired, leasesLost, renewFails prometheus.Counter
	acquisition, renewal, margin                    prometheus.Histogram

	jobLed, jobStuck *prometheus.GaugeVec   // nil without WithJobs
	jobFailures      *prometheus.CounterVec // likewise
	jobs             map[string]bool        // those with series of their own

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

func newMetrics(jobs []string) *metrics {
	m := &metrics{
		campaigning: gauge("jobs_campaigning", "Jobs that this node campaigns for."),
		led:         gauge("jobs_led", "Jobs that this node leads."),
		running:     gauge("jobs_running", "Jobs whose Work runs on this node."),
		stuck:       gauge("jobs_stuck", "Jobs whose Work goes on more than 1 s after its context was done."),

		terms:            counter("terms_total", "Elections won."),
		withdrawn:        counter("campaigns_withdrawn_total", "Campaigns given up before they were won."),
		failures:         counter("failures_total", "Times that a Work failed or panicked, so that its job paused."),
		done:             counter("jobs_done_total", "Jobs whose Work has finished for good on this node."),
		ended:            prometheus.NewCounterVec(prometheus.CounterOpts{Name: "distributed_terms_ended_total", Help: "Leaderships ended, by cause."}, []string{"cause"}),
		campaignDuration: histogram("campaign_duration_seconds", "From the start of a campaign to leading the job.", waitBuckets),
		gap:              histogram("handover_gap_seconds", "From seeing that the node before had released a job to leading it.", gapBuckets),
		termDuration:     histogram("term_duration_seconds", "From leading a job to having lost or released it.", workingBuckets),
		workDuration:     prometheus.NewHistogramVec(histogramOpts("work_duration_seconds", "Calls of Work, by result.", workingBuckets), []string{"result"}),

		storeUp:        gauge("store_up", "1 when the last call for the lease worked, 0 when it failed or there was none."),
		outages:        counter("store_outages_total", "Times that the store stopped working."),
		leaseHeld:      gauge("lease_held", "1 while this node has a lease."),
		leasesAcquired: counter("leases_acquired_total", "Leases acquired."),
		leasesLost:     counter("leases_lost_total", "Leases lost without this node's doing."),
		acquisition:    histogram("lease_acquisition_duration_seconds", "From the first attempt to the lease.", waitBuckets),
		renewal:        histogram("lease_renewal_duration_seconds", "From sending a renewal to its effect.", callBuckets),
		margin:         histogram("lease_renewal_margin_seconds", "How much longer leadership would have been valid without the renewal.", marginBuckets),
		renewFails:     counter("lease_renewals_failed_total", "Attempts to renew the lease that failed."),
		lastRenewal:    gauge("lease_last_renewal_timestamp_seconds", "Unix time of the last renewal or acquisition that worked."),

		jobs: map[string]bool{},
		late: map[leadership]bool{},
	}
	for _, cause := range causes {
		m.ended.WithLabelValues(cause)
	}
	for _, result := range results {
		m.workDuration.WithLabelValues(result)
	}
	m.name(jobs)
	return m
}

// name adds series for jobs.
func (m *metrics) name(jobs []string) {
	if len(jobs) == 0 {
		return
	}
	m.jobLed = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "distributed_job_led", Help: "1 while this node leads the job."}, []string{"job_name"})
	m.jobStuck = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "distributed_job_stuck_seconds", Help: "For how long the Work of the job was late to stop, as last reported."}, []string{"job_name"})
	m.jobFailures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "distributed_job_failures_total", Help: "Times that the Work of the job failed or panicked on this node."}, []string{"job_name"})
	for _, job := range jobs {
		m.jobs[job] = true
		m.jobFailures.WithLabelValues(job)
		m.jobLed.WithLabelValues(job)
		m.jobStuck.WithLabelValues(job)
	}
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "distributed_" + name, Help: help})
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "distributed_" + name, Help: help})
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(histogramOpts(name, help, buckets))
}

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: "distributed_" + name, Help: help, Buckets: buckets}
}

func (m *metrics) collectors() []prometheus.Collector {
	all := []prometheus.Collector{
		m.campaigning, m.led, m.running, m.stuck,
		m.terms, m.withdrawn, m.failures, m.done, m.ended, m.campaignDuration, m.gap, m.termDuration, m.workDuration,
		m.storeUp, m.outages, m.leaseHeld, m.leasesAcquired, m.leasesLost,
		m.acquisition, m.renewal, m.margin, m.renewFails, m.lastRenewal,
	}
	if len(m.jobs) > 0 {
		all = append(all, m.jobLed, m.jobStuck, m.jobFailures)
	}
	return all
}

func (m *metrics) hooks() distributed.Hooks {
	return distributed.Hooks{
		Campaigning: func(string) { m.campaigning.Inc() },
		Withdrawn: func(string, time.Duration, error) {
			m.campaigning.Dec()
			m.withdrawn.Inc()
		},
		Elected: func(job string, _ int64, waited time.Duration) {
			m.campaigning.Dec()
			m.led.Inc()
			m.terms.Inc()
			m.campaignDuration.Observe(waited.Seconds())
			m.setLed(job, 1)
		},
		HandedOver: func(_ string, _ int64, gap time.Duration) { m.gap.Observe(gap.Seconds()) },
		Lost: func(job string, _ int64, held time.Duration, _ error) {
			m.end(job, held, causeLost)
		},
		Resigned: func(job string, _ int64, held time.Duration, cause error) {
			m.end(job, held, causeOf(cause))
		},
		WorkStarted:  func(string, int64) { m.running.Inc() },
		WorkReturned: m.workReturned,
		Failed: func(r distributed.JobRecord, _ error) {
			m.failures.Inc()
			if m.jobs[r.Job] {
				m.jobFailures.WithLabelValues(r.Job).Inc()
			}
		},
		Done:  func(string, int64) { m.done.Inc() },
		Stuck: m.workIsStuck,
		LeaseAcquired: func(took time.Duration) {
			m.leaseHeld.Inc()
			m.leasesAcquired.Inc()
			m.acquisition.Observe(took.Seconds())
			m.lastRenewal.SetToCurrentTime()
		},
		LeaseRenewed: func(latency, remaining time.Duration) {
			m.renewal.Observe(latency.Seconds())
			m.margin.Observe(remaining.Seconds())
			m.lastRenewal.SetToCurrentTime()
		},
		LeaseRenewalFailed: func(error) { m.renewFails.Inc() },
		LeaseLost: func(error) {
			m.leaseHeld.Dec()
			m.leasesLost.Inc()
		},
		LeaseReleased: func() { m.leaseHeld.Dec() },
		StoreDown: func(error) {
			m.storeUp.Set(0)
			m.outages.Inc()
		},
		StoreUp: func(time.Duration) { m.storeUp.Set(1) },
	}
}

func (m *metrics) end(job string, held time.Duration, cause string) {
	m.led.Dec()
	m.ended.WithLabelValues(cause).Inc()
	m.termDuration.Observe(held.Seconds())
	m.setLed(job, 0)
}

func (m *metrics) setLed(job string, led float64) {
	if m.jobs[job] {
		m.jobLed.WithLabelValues(job).Set(led)
	}
}

func (m *metrics) workIsStuck(job string, token int64, since time.Duration) {
	m.mu.Lock()
	if key := (leadership{job, token}); !m.late[key] {
		m.late[key] = true
		m.stuck.Inc()
	}
	m.mu.Unlock()
	if m.jobs[job] {
		m.jobStuck.WithLabelValues(job).Set(since.Seconds())
	}
}

func (m *metrics) workReturned(job string, token int64, took time.Duration, err error) {
	m.running.Dec()
	m.workDuration.WithLabelValues(resultOf(err)).Observe(took.Seconds())
	m.mu.Lock()
	if key := (leadership{job, token}); m.late[key] {
		delete(m.late, key)
		m.stuck.Dec()
	}
	m.mu.Unlock()
	if m.jobs[job] {
		m.jobStuck.WithLabelValues(job).Set(0)
	}
}

const causeLost, causeStopped = "lost", "stopped"

var causes = []string{causeLost, "term_ended", "done", "moved", "resigned", "closed", causeStopped}

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
	return causeStopped // by the context given to Execute, whose cause may be anything, or as a Work failed
}

var results = []string{"ok", "canceled", "error", "panic"}

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

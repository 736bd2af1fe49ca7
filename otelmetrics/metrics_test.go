package otelmetrics_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/otelmetrics"
)

func TestTheOwnersOfEachJobAddUpToOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jobs = 29
		hub := new(distributed.MemoryHub)
		a, b, c := start(t, hub, "a", jobs), start(t, hub, "b", jobs), start(t, hub, "c", jobs)
		nodes := []*node{a, b, c}
		for range 50 {
			time.Sleep(time.Duration(rand.IntN(5000)) * time.Millisecond)
			requireOneOwnerEach(t, nodes, jobs)
		}
		require.Positive(t, sum(nodes, "distributed.term.duration", attribute.String("distributed.term.cause", "term_ended")), "jobs have moved")
		require.Positive(t, sum(nodes, "distributed.handover.gap"))

		a.stop()
		requireOneOwnerEach(t, nodes, jobs)
		scraped := a.scrape()
		for _, name := range []string{"distributed.job.led", "distributed.job.running", "distributed.job.campaigning", "distributed.lease.held"} {
			require.Zero(t, scraped.sum(name), name)
		}

		hub.Refuse("b", errors.New("cut off"))
		time.Sleep(time.Minute)
		requireOneOwnerEach(t, nodes, jobs)
		scraped = b.scrape()
		require.Zero(t, scraped.sum("distributed.store.up"))
		require.Zero(t, scraped.sum("distributed.lease.held"))
		require.Equal(t, 1, scraped.sum("distributed.lease.losses"))
		require.Equal(t, 1, scraped.sum("distributed.store.outages"))
		require.Positive(t, scraped.sum("distributed.lease.renewal.failures"))
		require.Positive(t, scraped.sum("distributed.term.duration", attribute.String("distributed.term.cause", "lost")))
		require.Zero(t, scraped.sum("distributed.job.led"))
		require.Equal(t, jobs, scraped.sum("distributed.job.campaigning"))

		hub.Refuse("b", nil)
		time.Sleep(time.Minute)
		requireOneOwnerEach(t, nodes, jobs)
		require.Equal(t, 1, b.scrape().sum("distributed.store.up"))
		require.Equal(t, 2, b.scrape().sum("distributed.lease.acquisition.duration"))
	})
}

func TestEndsAndResultsAreToldApart(t *testing.T) {
	n := newNode(t)
	for _, cause := range []error{
		distributed.ErrTermEnded, distributed.ErrMoved, distributed.ErrResigned, distributed.ErrClosed, context.Canceled, errors.New("SIGTERM"), distributed.ErrDone,
	} {
		n.hooks.Resigned("x", 1, time.Second, cause)
	}
	for _, err := range []error{
		nil, context.Canceled, fmt.Errorf("stopped: %w", distributed.ErrTermEnded), errors.New("broken"), &distributed.PanicError{Value: "oops"}, distributed.ErrDone,
	} {
		n.hooks.WorkReturned("x", 1, time.Second, err)
	}
	n.hooks.Elected("x", 1, time.Second)
	n.hooks.Withdrawn("x", time.Second, context.Canceled)
	n.hooks.Withdrawn("x", time.Second, context.Canceled)
	scraped := n.scrape()
	for cause, want := range map[string]int{"term_ended": 1, "moved": 1, "resigned": 1, "closed": 1, "stopped": 2, "done": 1, "lost": 0} {
		require.Equal(t, want, scraped.sum("distributed.term.duration", attribute.String("distributed.term.cause", cause)), cause)
	}
	for result, want := range map[string]int{"ok": 2, "canceled": 2, "error": 1, "panic": 1} {
		require.Equal(t, want, scraped.sum("distributed.work.duration", attribute.String("distributed.work.result", result)), result)
	}
	require.Equal(t, 1, scraped.sum("distributed.campaign.duration", attribute.Bool("distributed.campaign.won", true)))
	require.Equal(t, 2, scraped.sum("distributed.campaign.duration", attribute.Bool("distributed.campaign.won", false)))
}

func TestStuckJobsAreCountedUntilTheyReturn(t *testing.T) {
	n := newNode(t)
	n.hooks.WorkStarted("x", 1)
	n.hooks.Stuck("x", 1, time.Second)
	n.hooks.Stuck("x", 1, 2*time.Second)
	require.Equal(t, 1, n.scrape().sum("distributed.job.stuck"))
	n.hooks.WorkReturned("x", 1, time.Minute, nil)
	require.Zero(t, n.scrape().sum("distributed.job.stuck"))
	n.hooks.WorkStarted("x", 2)
	n.hooks.WorkReturned("x", 2, time.Minute, nil)
	require.Zero(t, n.scrape().sum("distributed.job.stuck"))
}

func TestFailuresAreCounted(t *testing.T) {
	n := newNode(t)
	n.hooks.Failed(distributed.JobRecord{Job: "x", Failures: 1}, errors.New("broken"))
	n.hooks.Failed(distributed.JobRecord{Job: "y", Failures: 1}, errors.New("broken"))
	n.hooks.Done("x", 1)
	require.Equal(t, 2, n.scrape().sum("distributed.job.failures"))
	require.Equal(t, 1, n.scrape().sum("distributed.job.done"))
}

func TestTheNumberOfSeriesDoesNotDependOnTheNumberOfJobs(t *testing.T) {
	n := newNode(t, otelmetrics.WithJobs("job-1"), otelmetrics.WithAttributes(attribute.String("app", "shop")))
	for i := range 10_000 {
		job := fmt.Sprintf("job-%d", i)
		err := fmt.Errorf("error %d", i)
		n.hooks.Campaigning(job)
		n.hooks.Elected(job, 1, time.Second)
		n.hooks.HandedOver(job, 1, time.Millisecond)
		n.hooks.WorkStarted(job, 1)
		n.hooks.Stuck(job, 1, time.Second)
		n.hooks.WorkReturned(job, 1, time.Second, err)
		n.hooks.Resigned(job, 1, time.Second, err)
		n.hooks.Withdrawn(job, time.Second, err)
		n.hooks.Lost(job, 1, time.Second, err)
	}
	scraped := n.scrape()
	count := 0
	for _, points := range scraped {
		for _, p := range points {
			count++
			app, _ := p.attributes.Value("app")
			require.Equal(t, "shop", app.AsString())
		}
	}
	// Of 4 + 1 + 2 + 1 metrics with a name or without, the one of terms has two
	// causes, and that of campaigns has two outcomes and no name.
	require.Equal(t, 2*(4+1+2+1)+2, count)
	require.Equal(t, 1, scraped.sum("distributed.handover.gap", attribute.String("distributed.job.name", "job-1")))
	require.Equal(t, 10_000, scraped.sum("distributed.handover.gap"))
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	_, err := otelmetrics.New(noop.NewMeterProvider(), otelmetrics.WithJobs("x"), otelmetrics.WithJobs("x"))
	require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	require.ErrorContains(t, err, `"x" is there twice`)
	_, err = otelmetrics.New(noop.NewMeterProvider(), otelmetrics.WithJobs(names(1001)...))
	require.ErrorContains(t, err, "1001 jobs, at most 1000 are allowed")
	_, err = otelmetrics.New(refusing{})
	require.ErrorContains(t, err, "no gauges here")
}

func TestTheDocumentationListsAllMetrics(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	type instrument struct{ kind, unit string }
	documented := map[string]instrument{}
	for _, line := range regexp.MustCompile(`(?m)^//\t(distributed\.[\w.]+) +(updowncounter|counter|gauge|histogram) +(\S+) `).FindAllStringSubmatch(string(doc), -1) {
		documented[line[1]] = instrument{line[2], line[3]}
	}
	n := newNode(t)
	n.hooks.Campaigning("x")
	n.hooks.Elected("x", 1, 0)
	n.hooks.HandedOver("x", 1, 0)
	n.hooks.WorkStarted("x", 1)
	n.hooks.Stuck("x", 1, 0)
	n.hooks.Failed(distributed.JobRecord{Job: "x"}, errors.New("broken"))
	n.hooks.Done("x", 1)
	n.hooks.WorkReturned("x", 1, 0, nil)
	n.hooks.Lost("x", 1, 0, nil)
	n.hooks.StoreUp(0)
	n.hooks.LeaseAcquired(0)
	n.hooks.LeaseRenewed(0, 0)
	n.hooks.LeaseRenewalFailed(nil)
	n.hooks.StoreDown(nil)
	n.hooks.LeaseLost(nil)
	made := map[string]instrument{}
	for _, m := range n.collect() {
		require.NotEmpty(t, m.Description, m.Name)
		kind := "histogram"
		switch data := m.Data.(type) {
		case metricdata.Gauge[int64]:
			kind = "gauge"
		case metricdata.Sum[int64]:
			kind = "updowncounter"
			if data.IsMonotonic {
				kind = "counter"
			}
		}
		made[m.Name] = instrument{kind, m.Unit}
	}
	require.Equal(t, made, documented)
}

// node is one with metrics of its own.
type node struct {
	t      *testing.T
	hooks  distributed.Hooks
	reader *sdk.ManualReader
	stop   func() // set by start
}

func newNode(t *testing.T, opts ...otelmetrics.Option) *node {
	n := &node{t: t, reader: sdk.NewManualReader()}
	provider := sdk.NewMeterProvider(sdk.WithReader(n.reader))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	hooks, err := otelmetrics.New(provider, opts...)
	require.NoError(t, err)
	n.hooks = hooks
	return n
}

// start runs one that has jobs.
func start(t *testing.T, hub *distributed.MemoryHub, name string, jobs int) *node {
	n := newNode(t, otelmetrics.WithJobs(names(jobs)...))
	work := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	var all []distributed.Job
	for _, job := range names(jobs) {
		all = append(all, distributed.Job{Name: job, Work: work})
	}
	p := distributed.NewLeadershipBasedJobProcessor("app", name, distributed.NewMemoryLeaseProvider(hub), all, distributed.WithHooks(n.hooks),
		distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Duration(1+rand.IntN(60)) * time.Second }))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Execute(ctx); close(done) }()
	n.stop = func() {
		cancel()
		require.NoError(t, <-done)
		synctest.Wait()
	}
	t.Cleanup(n.stop)
	synctest.Wait()
	return n
}

func (n *node) collect() []metricdata.Metrics {
	var all metricdata.ResourceMetrics
	require.NoError(n.t, n.reader.Collect(context.Background(), &all))
	var metrics []metricdata.Metrics
	for _, scope := range all.ScopeMetrics {
		metrics = append(metrics, scope.Metrics...)
	}
	return metrics
}

// series are the data points of metrics by name; of a histogram, the number of
// observations.
type series map[string][]point

type point struct {
	attributes attribute.Set
	value      int
}

func (n *node) scrape() series {
	s := series{}
	for _, m := range n.collect() {
		switch data := m.Data.(type) {
		case metricdata.Gauge[int64]:
			for _, p := range data.DataPoints {
				s[m.Name] = append(s[m.Name], point{p.Attributes, int(p.Value)})
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				s[m.Name] = append(s[m.Name], point{p.Attributes, int(p.Value)})
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				s[m.Name] = append(s[m.Name], point{p.Attributes, int(p.Count)})
			}
		}
	}
	return s
}

// sum adds up what has the attributes.
func (s series) sum(name string, attributes ...attribute.KeyValue) (sum int) {
	for _, p := range s[name] {
		if !slices.ContainsFunc(attributes, func(a attribute.KeyValue) bool {
			v, ok := p.attributes.Value(a.Key)
			return !ok || v != a.Value
		}) {
			sum += p.value
		}
	}
	return sum
}

func sum(nodes []*node, name string, attributes ...attribute.KeyValue) (sum int) {
	synctest.Wait()
	for _, n := range nodes {
		sum += n.scrape().sum(name, attributes...)
	}
	return sum
}

func requireOneOwnerEach(t *testing.T, nodes []*node, jobs int) {
	t.Helper()
	synctest.Wait()
	owners, running := map[string]int{}, 0
	for _, n := range nodes {
		scraped := n.scrape()
		running += scraped.sum("distributed.job.running")
		for _, p := range scraped["distributed.job.led"] {
			job, _ := p.attributes.Value("distributed.job.name")
			owners[job.AsString()] += p.value
		}
	}
	require.Equal(t, jobs, running)
	require.Len(t, owners, jobs)
	for job, n := range owners {
		require.Equal(t, 1, n, job)
	}
}

func names(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("job-%d", i))
	}
	return names
}

// refusing is a provider that has no gauges.
type refusing struct{ noop.MeterProvider }

func (refusing) Meter(string, ...metric.MeterOption) metric.Meter { return gaugeless{} }

type gaugeless struct{ noop.Meter }

func (gaugeless) Int64Gauge(string, ...metric.Int64GaugeOption) (metric.Int64Gauge, error) {
	return nil, errors.New("no gauges here")
}

package prometheusmetrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/prometheusmetrics"
)

// Each node is scraped by itself, as Prometheus does it, at moments when nothing
// is under way.
func TestTheOwnersOfEachJobAddUpToOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 29)
		for _, name := range []string{"a", "b", "c"} {
			s.start(name)
		}
		for range 50 {
			time.Sleep(time.Duration(rand.IntN(5000)) * time.Millisecond)
			s.requireOneOwnerEach()
		}
		require.Positive(t, s.sum("distributed_terms_ended_total", "cause", "term_ended"), "jobs have moved")
		require.Positive(t, s.sum("distributed_handover_gap_seconds"))

		s.stop("a")
		s.requireOneOwnerEach()
		require.Zero(t, s.scrape("a").value("distributed_jobs_led"))
		require.Zero(t, s.scrape("a").value("distributed_jobs_running"))
		require.Zero(t, s.scrape("a").value("distributed_lease_held"))
		require.Positive(t, s.sum("distributed_terms_ended_total", "cause", "stopped"))

		s.hub.Refuse("b", errors.New("cut off"))
		time.Sleep(7 * time.Second)
		require.Zero(t, s.scrape("b").value("distributed_store_up"))
		require.Positive(t, s.scrape("b").value("distributed_lease_renewals_failed_total"))
		time.Sleep(10 * time.Second)
		s.requireOneOwnerEach()
		require.Zero(t, s.scrape("b").value("distributed_jobs_led"))
		require.Equal(t, 1, s.scrape("b").value("distributed_leases_lost_total"))
		require.Positive(t, s.scrape("b").value("distributed_terms_ended_total", "cause", "lost"))
		require.Equal(t, 29, s.scrape("b").value("distributed_jobs_campaigning"))

		s.hub.Refuse("b", nil)
		time.Sleep(time.Minute)
		s.requireOneOwnerEach()
		require.Equal(t, 1, s.scrape("b").value("distributed_store_up"))
		require.Equal(t, 2, s.scrape("b").value("distributed_leases_acquired_total"))
		require.Equal(t, 1, s.scrape("b").value("distributed_store_outages_total"))
		require.InDelta(t, time.Now().Unix(), s.scrape("b").value("distributed_lease_last_renewal_timestamp_seconds"), 3)
	})
}

func TestStuckJobsAreCountedUntilTheyReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 0)
		s.jobs = []string{"stuck"}
		s.work = func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(10 * time.Second)
			return nil
		}
		s.start("a")
		s.hub.Expire("a")
		time.Sleep(5 * time.Second)
		scraped := s.scrape("a")
		require.Equal(t, 1, scraped.value("distributed_jobs_stuck"))
		require.Equal(t, 4, scraped.value("distributed_job_stuck_seconds", "job_name", "stuck"))
		require.Equal(t, 1, scraped.value("distributed_jobs_running"))
		require.Zero(t, scraped.value("distributed_jobs_led"))
		time.Sleep(5 * time.Second)
		scraped = s.scrape("a")
		require.Zero(t, scraped.value("distributed_jobs_stuck"))
		require.Zero(t, scraped.value("distributed_job_stuck_seconds", "job_name", "stuck"))
		require.Equal(t, 1, scraped.value("distributed_jobs_running"), "leads and runs again")
	})
}

func TestEndsAndResultsAreToldApart(t *testing.T) {
	registry := prometheus.NewRegistry()
	hooks, err := prometheusmetrics.New(registry)
	require.NoError(t, err)
	for _, cause := range []error{
		distributed.ErrTermEnded, distributed.ErrMoved, distributed.ErrResigned, distributed.ErrClosed, context.Canceled, errors.New("SIGTERM"), distributed.ErrDone,
	} {
		hooks.Elected("x", 1, 0)
		hooks.Resigned("x", 1, time.Second, cause)
	}
	for _, err := range []error{
		nil, context.Canceled, fmt.Errorf("stopped: %w", distributed.ErrTermEnded), errors.New("broken"), &distributed.PanicError{Value: "oops"}, distributed.ErrDone,
	} {
		hooks.WorkStarted("x", 1)
		hooks.WorkReturned("x", 1, time.Second, err)
	}
	scraped := gather(t, registry)
	for cause, want := range map[string]int{"term_ended": 1, "moved": 1, "resigned": 1, "closed": 1, "stopped": 2, "done": 1, "lost": 0} {
		require.Equal(t, want, scraped.value("distributed_terms_ended_total", "cause", cause), cause)
	}
	for result, want := range map[string]int{"ok": 2, "canceled": 2, "error": 1, "panic": 1} {
		require.Equal(t, want, scraped.value("distributed_work_duration_seconds", "result", result), result)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	hooks, err := prometheusmetrics.New(registry, prometheusmetrics.WithJobs("x"))
	require.NoError(t, err)
	hooks.Failed(distributed.JobRecord{Job: "x", Failures: 1}, errors.New("broken"))
	hooks.Failed(distributed.JobRecord{Job: "y", Failures: 1}, errors.New("broken"))
	hooks.Done("x", 1)
	scraped := gather(t, registry)
	require.Equal(t, 2, scraped.value("distributed_failures_total"))
	require.Equal(t, 1, scraped.value("distributed_job_failures_total", "job_name", "x"))
	require.Equal(t, 1, scraped.value("distributed_jobs_done_total"))
}

func TestTheNumberOfSeriesDoesNotDependOnTheNumberOfJobs(t *testing.T) {
	registry := prometheus.NewRegistry()
	hooks, err := prometheusmetrics.New(registry, prometheusmetrics.WithJobs("job-1", "job-2"))
	require.NoError(t, err)
	before := lines(t, registry)
	for i := range 10_000 {
		job := fmt.Sprintf("job-%d", i)
		hooks.Campaigning(job)
		hooks.Elected(job, 1, time.Second)
		hooks.HandedOver(job, 1, time.Millisecond)
		hooks.WorkStarted(job, 1)
		hooks.Stuck(job, 1, time.Second)
		hooks.Failed(distributed.JobRecord{Job: job}, fmt.Errorf("error %d", i))
		hooks.WorkReturned(job, 1, time.Second, fmt.Errorf("error %d", i))
		hooks.Resigned(job, 1, time.Second, fmt.Errorf("cause %d", i))
		hooks.Campaigning(job)
		hooks.Withdrawn(job, time.Second, fmt.Errorf("cause %d", i))
		hooks.Elected(job, 1, time.Second)
		hooks.Lost(job, 1, time.Second, fmt.Errorf("cause %d", i))
	}
	require.Equal(t, before, lines(t, registry))
	require.Less(t, before, 180)
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := prometheusmetrics.New(registry, prometheusmetrics.WithJobs("x"), prometheusmetrics.WithJobs("x"))
	require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	require.ErrorContains(t, err, `"x" is there twice`)
	_, err = prometheusmetrics.New(registry, prometheusmetrics.WithJobs("\xff"))
	require.ErrorContains(t, err, "not valid UTF-8")
	_, err = prometheusmetrics.New(registry, prometheusmetrics.WithJobs(names(1001)...))
	require.ErrorContains(t, err, "1001 jobs, at most 1000 are allowed")
	require.Zero(t, lines(t, registry))

	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "distributed_store_up", Help: "of somebody else"}))
	_, err = prometheusmetrics.New(registry)
	require.Error(t, err)
	require.Equal(t, 1, lines(t, registry), "all or nothing")
}

func TestSeveralAppsShareARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, app := range []string{"shop", "bank"} {
		_, err := prometheusmetrics.New(prometheus.WrapRegistererWith(prometheus.Labels{"app": app}, registry))
		require.NoError(t, err)
	}
	_, err := prometheusmetrics.New(registry)
	require.Error(t, err)
}

func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	problems, err := testutil.GatherAndLint(all(t))
	require.NoError(t, err)
	require.Empty(t, problems)
}

// Prometheus puts these labels on all that it scrapes, and renames ours.
func TestNoLabelIsOneOfPrometheus(t *testing.T) {
	for name, family := range gather(t, all(t)) {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				require.NotContains(t, []string{"job", "instance"}, label.GetName(), name)
			}
		}
	}
}

func TestTheDocumentationListsAllMetrics(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^//\t(distributed_\w+) +(\w+) `).FindAllStringSubmatch(string(doc), -1) {
		documented[line[1]] = line[2]
	}
	registered := map[string]string{}
	for name, family := range gather(t, all(t)) {
		registered[name] = strings.ToLower(family.GetType().String())
	}
	require.Equal(t, registered, documented)
}

func TestTheDashboardShowsMetricsThatExist(t *testing.T) {
	b, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title, Description string
			Targets            []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &dashboard))
	registered := gather(t, all(t))
	shown := map[string]bool{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			for _, name := range requireSeries(t, registered, target.Expr) {
				shown[name] = true
			}
		}
	}
	for name := range registered {
		require.True(t, shown[name], "%s is on no panel", name)
	}
}

// requireSeries checks that what an expression asks for exists, and returns the
// names of the metrics.
func requireSeries(t *testing.T, registered families, expr string) (names []string) {
	found := regexp.MustCompile(`distributed_\w+`).FindAllString(expr, -1)
	require.NotEmpty(t, found, expr)
	for _, series := range found {
		name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(series, "_bucket"), "_sum"), "_count")
		family := registered[name]
		require.NotNil(t, family, "%s: there is no %s", expr, series)
		require.Equal(t, name != series, family.GetType() == dto.MetricType_HISTOGRAM, "%s: %s is a %s", expr, series, family.GetType())
		names = append(names, name)
	}
	return names
}

func TestAlertsAreAboutMetricsThatExistAndAreExplained(t *testing.T) {
	b, err := os.ReadFile("alerts.yaml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary string }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(b, &rules))
	require.Len(t, rules.Groups, 1)
	var alerts []string
	for _, rule := range rules.Groups[0].Rules {
		requireSeries(t, gather(t, all(t)), rule.Expr)
		require.NotEmpty(t, rule.Annotations.Summary, rule.Alert)
		alerts = append(alerts, rule.Alert)
	}

	guide, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z]\\w+)` \\|").FindAllStringSubmatch(string(guide), -1) {
		if !strings.HasPrefix(row[1], "With") {
			explained = append(explained, row[1])
		}
	}
	require.Equal(t, alerts, explained)
	for _, name := range regexp.MustCompile(`distributed_\w+`).FindAllString(string(guide), -1) {
		require.Contains(t, gather(t, all(t)), name)
	}
}

// service is nodes on a hub, each with a registry of its own.
type service struct {
	t     *testing.T
	hub   *distributed.MemoryHub
	jobs  []string
	work  func(context.Context) error
	nodes map[string]*node
}

type node struct {
	registry *prometheus.Registry
	cancel   context.CancelFunc
	done     chan error
}

func newService(t *testing.T, jobs int) *service {
	work := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	s := &service{t: t, hub: new(distributed.MemoryHub), jobs: names(jobs), work: work, nodes: map[string]*node{}}
	t.Cleanup(func() {
		for name := range s.nodes {
			s.stop(name)
		}
	})
	return s
}

func (s *service) start(name string) {
	registry := prometheus.NewRegistry()
	hooks, err := prometheusmetrics.New(registry, prometheusmetrics.WithJobs(s.jobs...))
	require.NoError(s.t, err)
	var jobs []distributed.Job
	for _, job := range s.jobs {
		jobs = append(jobs, distributed.Job{Name: job, Work: s.work})
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	p := distributed.NewLeadershipBasedJobProcessor("app", name, distributed.NewMemoryLeaseProvider(s.hub), jobs, distributed.WithHooks(hooks),
		distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Duration(1+rand.IntN(60)) * time.Second }))
	n := &node{registry: registry, cancel: cancel, done: make(chan error, 1)}
	s.nodes[name] = n
	go func() { n.done <- p.Execute(ctx) }()
	synctest.Wait()
}

func (s *service) stop(name string) {
	n := s.nodes[name]
	if n.cancel == nil {
		return
	}
	n.cancel()
	require.NoError(s.t, <-n.done)
	n.cancel = nil
	synctest.Wait()
}

func (s *service) scrape(name string) families {
	synctest.Wait()
	return gather(s.t, s.nodes[name].registry)
}

func (s *service) sum(metric string, labels ...string) (sum int) {
	for name := range s.nodes {
		sum += s.scrape(name).value(metric, labels...)
	}
	return sum
}

func (s *service) requireOneOwnerEach() {
	s.t.Helper()
	var led, running int
	owners := map[string]int{}
	for name := range s.nodes {
		scraped := s.scrape(name)
		led += scraped.value("distributed_jobs_led")
		running += scraped.value("distributed_jobs_running")
		for _, job := range s.jobs {
			owners[job] += scraped.value("distributed_job_led", "job_name", job)
		}
	}
	require.Equal(s.t, len(s.jobs), led)
	require.Equal(s.t, len(s.jobs), running)
	for _, job := range s.jobs {
		require.Equal(s.t, 1, owners[job], job)
	}
}

func names(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("job-%d", i))
	}
	return names
}

// all is a registry with every metric.
func all(t *testing.T) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	_, err := prometheusmetrics.New(registry, prometheusmetrics.WithJobs("x"))
	require.NoError(t, err)
	return registry
}

type families map[string]*dto.MetricFamily

// gather scrapes a registry, as text.
func gather(t *testing.T, registry *prometheus.Registry) families {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	scraped, err := parser.TextToMetricFamilies(strings.NewReader(page(t, registry)))
	require.NoError(t, err)
	return scraped
}

func page(t *testing.T, registry *prometheus.Registry) string {
	response := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, response.Code)
	return response.Body.String()
}

// lines counts series.
func lines(t *testing.T, registry *prometheus.Registry) int {
	return len(slices.DeleteFunc(strings.Split(page(t, registry), "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "#")
	}))
}

// value returns the value of a series, which is a whole number in these tests, or
// of a histogram the number of observations.
func (f families) value(name string, label ...string) int {
	for _, m := range f[name].GetMetric() {
		if len(label) == 2 && !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == label[0] && l.GetValue() == label[1]
		}) {
			continue
		}
		switch f[name].GetType() {
		case dto.MetricType_HISTOGRAM:
			return int(m.GetHistogram().GetSampleCount())
		case dto.MetricType_COUNTER:
			return int(m.GetCounter().GetValue())
		default:
			return int(m.GetGauge().GetValue())
		}
	}
	panic(fmt.Sprint("no such series: ", name, label))
}

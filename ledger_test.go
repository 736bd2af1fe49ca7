package distributed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// service is the nodes of the app "app" on one hub, inside a bubble. It records
// every run of every job, and fails the test when a job runs twice at once or
// under a token that is not greater than that of the run before.
type service struct {
	t   *testing.T
	hub *distributed.MemoryHub
	ttl time.Duration // of the leases

	mu      sync.Mutex
	runs    map[string][]*run // by job
	running map[string]int    // by instance
	busiest map[string]int    // by instance: most at once
	frozen  bool              // the test has a Work that does not stop: runs may overlap
}

// run is one call of a Work.
type run struct {
	instance   string
	token      int64
	start, end time.Time // end is zero while it runs
	cause      error     // of the end of its context, if it was done when Work returned
}

// works are the jobs of a node.
type works map[string]func(context.Context) error

func newService(t *testing.T) *service {
	return &service{
		t:       t,
		hub:     new(distributed.MemoryHub),
		ttl:     10 * time.Second,
		runs:    map[string][]*run{},
		running: map[string]int{},
		busiest: map[string]int{},
	}
}

func (s *service) provider() distributed.LeaseProvider {
	return distributed.NewMemoryLeaseProvider(s.hub, distributed.WithLeaseTTL(s.ttl))
}

// execute starts a node and returns when all that follows at once has happened.
func (s *service) execute(instance string, w works, opts ...distributed.ProcessorOption) *executing {
	s.t.Helper()
	n := s.executeAs(s.t.Context(), instance, w, opts...)
	synctest.Wait()
	return n
}

func (s *service) executeAs(ctx context.Context, instance string, w works, opts ...distributed.ProcessorOption) *executing {
	s.t.Helper()
	var jobs []distributed.Job
	for name, work := range w {
		jobs = append(jobs, s.job(instance, name, work))
	}
	return start(s.t, ctx, distributed.NewLeadershipBasedJobProcessor("app", instance, s.provider(), jobs, opts...))
}

// job is one whose runs are recorded.
func (s *service) job(instance, name string, work func(context.Context) error) distributed.Job {
	return distributed.Job{Name: name, Work: func(ctx context.Context) error {
		r := s.begin(instance, name, ctx)
		defer s.finish(r, ctx)
		return work(ctx)
	}}
}

func (s *service) begin(instance, job string, ctx context.Context) *run {
	l, ok := distributed.LeadershipFromContext(ctx)
	if !ok || l.Name() != job {
		s.t.Errorf("the Work of %q does not run under a leadership of it", job)
		l = new(distributed.Leadership)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.lastLocked(job); before != nil {
		if before.end.IsZero() && !s.frozen {
			s.t.Errorf("%q runs on %s and on %s at once", job, before.instance, instance)
		}
		if l.Token() <= before.token {
			s.t.Errorf("%q runs with token %d after %d", job, l.Token(), before.token)
		}
	}
	r := &run{instance: instance, token: l.Token(), start: time.Now()}
	s.runs[job] = append(s.runs[job], r)
	s.running[instance]++
	s.busiest[instance] = max(s.busiest[instance], s.running[instance])
	return r
}

func (s *service) finish(r *run, ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.end, r.cause = time.Now(), context.Cause(ctx)
	s.running[r.instance]--
}

func (s *service) lastLocked(job string) *run {
	if runs := s.runs[job]; len(runs) > 0 {
		return runs[len(runs)-1]
	}
	return nil
}

// history returns the runs of job until now.
func (s *service) history(job string) []run {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var runs []run
	for _, r := range s.runs[job] {
		runs = append(runs, *r)
	}
	return runs
}

// last returns the newest run of job, zero if there was none.
func (s *service) last(job string) run {
	runs := s.history(job)
	if len(runs) == 0 {
		return run{}
	}
	return runs[len(runs)-1]
}

// runner returns the instance that runs job now, or "".
func (s *service) runner(job string) string {
	if r := s.last(job); r.end.IsZero() {
		return r.instance
	}
	return ""
}

// mostOn returns how many jobs an instance has run at once, at most.
func (s *service) mostOn(instance string) int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busiest[instance]
}

// executing is a processor that executes.
type executing struct {
	*distributed.LeadershipBasedJobProcessor
	stop context.CancelCauseFunc

	done chan struct{} // closed when Execute has returned
	err  error
}

// start executes p until the test ends, at the latest.
func start(t *testing.T, ctx context.Context, p *distributed.LeadershipBasedJobProcessor) *executing {
	ctx, stop := context.WithCancelCause(ctx)
	n := &executing{LeadershipBasedJobProcessor: p, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		n.err = p.Execute(ctx)
	}()
	t.Cleanup(func() { stop(errTestOver); <-n.done })
	return n
}

// returned reports whether Execute has returned by now.
func (n *executing) returned() bool {
	synctest.Wait()
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// result waits for Execute to return.
func (n *executing) result() error {
	<-n.done
	return n.err
}

// untilDone is a Work that does what it should.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// stopsAfter is a Work that takes d to stop.
func stopsAfter(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(d)
		return nil
	}
}

// record is what a test notes from several goroutines.
type record[T any] struct {
	mu    sync.Mutex
	notes []T
}

func (r *record[T]) add(note T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, note)
}

// all returns what has been noted by now.
func (r *record[T]) all() []T {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.notes)
}

// journal is what a logger was told.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(p)
}

func (j *journal) logger() distributed.ConcurrencyOption {
	return distributed.WithLogger(slog.New(slog.NewJSONHandler(j, nil)))
}

// with returns the lines with that message, each as the attributes in it.
func (j *journal) with(t *testing.T, message string) []map[string]any {
	t.Helper()
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []map[string]any
	for text := range bytes.Lines(j.lines.Bytes()) {
		line := map[string]any{}
		require.NoError(t, json.Unmarshal(text, &line))
		if line[slog.MessageKey] == message {
			found = append(found, line)
		}
	}
	return found
}

// size returns how much has been logged.
func (j *journal) size() int {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Len()
}

// acquire is a provider made of a function.
type acquire func(context.Context, distributed.LeaseRequest) (distributed.Lease, error)

func (f acquire) AcquireLease(ctx context.Context, req distributed.LeaseRequest) (distributed.Lease, error) {
	return f(ctx, req)
}

func (f acquire) OpenView(context.Context, distributed.LeaseRequest) (distributed.Viewer, error) {
	return nil, errAway
}

var (
	errTestOver = errors.New("the test is over")
	errShutdown = errors.New("shutting down")
	errAway     = errors.New("the store is away")
	errBroken   = errors.New("broken")
)

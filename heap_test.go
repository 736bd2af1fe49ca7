package distributed

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Names that are campaigned for once leave nothing when they are resigned, neither
// here nor in the store. With 1,000,000 names it is the same, and takes half a minute.
func TestNamesThatAreCampaignedForOnceLeaveNothing(t *testing.T) {
	names := 200_000
	if raceDetector {
		names /= 4
	}
	hub := new(MemoryHub)
	c := NewConcurrency("app", "a", NewMemoryLeaseProvider(hub),
		WithLogger(slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))))
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	campaignOnce(t, c, 0, 20_000) // until the hub remembers no more
	before := heap()
	campaignOnce(t, c, 20_000, 20_000+names)
	grown := float64(heap()-before) / float64(names)
	require.Less(t, grown, 64.0, "bytes a name; an entry in a map takes twice as many")

	s := c.lease.lease.(*session)
	require.NoError(t, s.await(t.Context(), func() bool { return len(s.mirror.queues) == 0 }))
	c.mu.Lock()
	require.Empty(t, c.names)
	require.Len(t, c.leases, 1)
	c.mu.Unlock()
	hub.mu.Lock()
	stored := len(hub.documents)
	hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.writer.candidacies)
	require.Empty(t, s.writer.pending)
	for _, d := range s.writer.documents {
		require.Empty(t, d.members)
		require.Zero(t, d.names)
		require.LessOrEqual(t, cap(d.members), 2*maxClaims)
	}
	require.LessOrEqual(t, len(s.writer.documents), 3*atOnce/maxClaims)
	require.LessOrEqual(t, stored, 2+len(s.writer.documents), "the epoch, the node, and its claims")
}

const atOnce = 1000 // campaigns

func campaignOnce(t *testing.T, c *Concurrency, from, to int) {
	var all sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		all.Go(func() {
			for n := range next {
				l, err := c.Campaign(context.Background(), "name-"+strconv.Itoa(n))
				if err == nil {
					err = l.Resign(context.Background())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := from; n < to; n++ {
		next <- n
	}
	close(next)
	all.Wait()
}

// heap returns how many bytes are reachable.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has found to need a finalizer, or was in a pool
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Without load balancing every node campaigns for every job.
func TestAJobThatWaitsForItsTurnHasNoGoroutine(t *testing.T) {
	const jobs = 5000
	provider := NewMemoryLeaseProvider(nil)
	execute := func(instance string) *Concurrency {
		var all []Job
		for i := range jobs {
			all = append(all, Job{Name: "job-" + strconv.Itoa(i), Work: func(ctx context.Context) error { <-ctx.Done(); return nil }})
		}
		p := NewLeadershipBasedJobProcessor("app", instance, provider, all)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Execute(ctx) }()
		t.Cleanup(func() { stop(); require.NoError(t, <-done) })
		return p.concurrency
	}
	queued := func(c *Concurrency, n int) func() bool {
		return func() bool {
			v, ok := c.View()
			return ok && len(v.Jobs) == jobs && !slices.ContainsFunc(v.Jobs, func(j JobView) bool { return len(j.Queue) != n })
		}
	}
	require.Eventually(t, queued(execute("a"), 1), time.Minute, 10*time.Millisecond)
	goroutines := runtime.NumGoroutine()
	require.Eventually(t, queued(execute("b"), 2), time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < goroutines+100 }, time.Minute, 10*time.Millisecond)
}

// A job that a node does not campaign for has no goroutine there.
func TestAJobThatStandsElsewhereHasNoGoroutine(t *testing.T) {
	const jobs = 5000
	_, start := startPair(t, jobs)
	goroutines := runtime.NumGoroutine()
	start("c")
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < goroutines+100 }, time.Minute, 10*time.Millisecond)
}

// It reports what a job takes on a node that neither leads it nor waits for it: when
// that has computed a placement, and when nothing has changed for a while. The store is
// in memory, and what it holds is not counted.
func BenchmarkHeapOfAJobThatStandsElsewhere(b *testing.B) {
	const jobs = 20_000
	pair, start := startPair(b, jobs)
	for b.Loop() {
		busy, rest := heapOfNodes(b, pair...)
		c := start("c")
		busyAll, restAll := heapOfNodes(b, append(pair, c)...)
		b.ReportMetric(float64(busyAll-busy)/jobs, "B/job")
		b.ReportMetric(float64(restAll-rest)/jobs, "rest-B/job")
	}
}

// heapOfNodes returns what is reachable while nodes know their last placements, and when
// they have forgotten them.
func heapOfNodes(t testing.TB, nodes ...*LeadershipBasedJobProcessor) (busy, rest int64) {
	know := func(placed bool) func() bool {
		return func() bool {
			return !slices.ContainsFunc(nodes, func(p *LeadershipBasedJobProcessor) bool {
				p.balancer.mu.Lock()
				defer p.balancer.mu.Unlock()
				return (p.balancer.found.placed != nil) != placed
			})
		}
	}
	require.Eventually(t, know(false), 2*time.Minute, 10*time.Millisecond)
	rest = heap()
	for _, p := range nodes {
		signal(p.balancer.wake)
	}
	require.Eventually(t, know(true), quietTime/2, 10*time.Millisecond)
	busy = heap()
	for range 20 { // while they do what they computed
		busy = min(busy, heap())
	}
	return busy, rest
}

// startPair starts two nodes that have all jobs between them, and returns them and a
// function that starts another one, which drains, and waits until the nodes show it.
func startPair(t testing.TB, jobs int) (pair []*LeadershipBasedJobProcessor, start func(instance string) *LeadershipBasedJobProcessor) {
	hub := new(MemoryHub)
	work := func(ctx context.Context) error { <-ctx.Done(); return nil }
	names := make([]string, jobs)
	for i := range names {
		names[i] = "job-" + strconv.Itoa(i)
	}
	execute := func(instance string) (p *LeadershipBasedJobProcessor) {
		var all []Job
		for _, name := range names {
			all = append(all, Job{Name: name, Work: work})
		}
		p = NewLeadershipBasedJobProcessor("app", instance, NewMemoryLeaseProvider(hub), all,
			WithLoadBalancing(WithGatherTime(0)), WithLogger(slog.New(slog.DiscardHandler)))
		if instance == "c" {
			require.NoError(t, p.Drain(t.Context()))
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = p.Execute(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		return p
	}
	shows := func(p *LeadershipBasedJobProcessor, nodes, candidates int) func() bool {
		return func() bool {
			v, ok := p.View()
			if !ok || len(v.Nodes) != nodes || len(v.Jobs) != jobs {
				return false
			}
			return !slices.ContainsFunc(v.Jobs, func(j JobView) bool { return len(j.Queue) != candidates })
		}
	}
	a := execute("a")
	require.Eventually(t, shows(a, 1, 1), time.Minute, 10*time.Millisecond)
	b := execute("b")
	require.Eventually(t, shows(a, 2, 2), time.Minute, 10*time.Millisecond)
	return []*LeadershipBasedJobProcessor{a, b}, func(instance string) *LeadershipBasedJobProcessor {
		p := execute(instance)
		require.Eventually(t, shows(p, 3, 2), time.Minute, 10*time.Millisecond)
		require.Eventually(t, shows(a, 3, 2), time.Minute, 10*time.Millisecond)
		return p
	}
}

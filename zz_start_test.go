package distributed

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkStartOfManyJobs(b *testing.B) {
	const jobs = 10_000
	var total time.Duration
	for b.Loop() {
		hub := new(MemoryHub)
		var running atomic.Int64
		full := make(chan struct{})
		work := func(ctx context.Context) error {
			if running.Add(1) == jobs {
				close(full)
			}
			<-ctx.Done()
			return nil
		}
		p := NewLeadershipBasedJobProcessor("app", "a", NewMemoryLeaseProvider(hub), nil)
		for i := range jobs {
			if err := p.AddJob(Job{Name: "job-" + strconv.Itoa(i), Work: work}); err != nil {
				b.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		begin := time.Now()
		go func() { done <- p.Execute(ctx) }()
		<-full
		total += time.Since(begin)
		cancel()
		<-done
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N)/jobs, "µs/start")
}

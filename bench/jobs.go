package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/b2552be4/distributed"
)

// manyJobs starts nodes one after the other, so that the first one has all jobs
// and the others wait for them, and then drains the first.
func (b *bench) manyJobs(ctx context.Context) error {
	fleet := newFleet(b)
	defer fleet.stopAll()
	idle := runtime.NumGoroutine()
	watchersBefore, err := b.watchers(ctx)
	if err != nil {
		return err
	}
	fmt.Println("| | time | commits a job |\n|---|---|---|")
	err = b.phase(ctx, fmt.Sprintf("start %d jobs on one node", b.jobs), func() error {
		fleet.start(0)
		return fleet.await(ctx, func() bool { return fleet.running.Load() == int64(b.jobs) })
	})
	for i := 1; i < b.nodes && err == nil; i++ {
		err = b.phase(ctx, fmt.Sprintf("node %d joins the queues", i+1), func() error {
			fleet.start(i)
			return b.awaitCandidates(ctx, fleet.name(b.jobs-1), int64(i+1))
		})
	}
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	goroutines := float64(runtime.NumGoroutine()-idle) / float64(b.jobs*b.nodes)
	open, err := b.watchers(ctx)
	if err != nil {
		return err
	}
	err = b.phase(ctx, "drain the first node, until the others run all", func() error {
		fleet.stop(0)
		return fleet.await(ctx, func() bool { return fleet.running.Load() == int64(b.jobs) && fleet.lastOf(0) == 0 })
	})
	gaps := fleet.gaps()
	fmt.Printf("\nper-job gap at the drain: p50 %v, p99 %v, max %v\n", percentile(gaps, .5), percentile(gaps, .99), percentile(gaps, 1))
	fmt.Printf("goroutines a job and node: %.2f; watchers on the server: %.0f for %d nodes\n", goroutines, open-watchersBefore, b.nodes)
	return err
}

// phase runs f and prints how long it took and what it cost etcd.
func (b *bench) phase(ctx context.Context, name string, f func() error) error {
	before, err := b.commits(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := f(); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := b.commits(ctx)
	fmt.Printf("| %s | %v | %.3f |\n", name, took.Round(time.Millisecond), float64(after-before)/float64(b.jobs))
	return err
}

// watchers returns how many watchers etcd has open, as its metrics say.
func (b *bench) watchers(ctx context.Context) (n float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(b.endpoints[0], "/")+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "etcd_debugging_mvcc_watcher_total "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, cmp.Or(lines.Err(), errors.New("etcd does not say how many watchers it has"))
}

// fleet is nodes in this process whose jobs note when they run.
type fleet struct {
	b       *bench
	wg      sync.WaitGroup
	cancel  []context.CancelFunc
	running atomic.Int64
	changed chan struct{}

	mu    sync.Mutex
	on    []int // node of each job, -1 for none
	ended []time.Time
	gap   []time.Duration
}

func newFleet(b *bench) *fleet {
	f := &fleet{b: b, cancel: make([]context.CancelFunc, b.nodes), changed: make(chan struct{}, 1), on: make([]int, b.jobs), ended: make([]time.Time, b.jobs)}
	for i := range f.on {
		f.on[i] = -1
	}
	return f
}

func (f *fleet) name(job int) string { return fmt.Sprintf("job-%05d", job) }

func (f *fleet) start(node int) {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel[node] = cancel
	p := distributed.NewLeadershipBasedJobProcessor(f.b.app, fmt.Sprint("node-", node), distributed.NewETCDLeaseProvider(f.b.endpoints), nil)
	for job := range f.on {
		err := p.AddJob(distributed.Job{Name: f.name(job), Work: func(ctx context.Context) error {
			f.enter(node, job)
			<-ctx.Done()
			f.leave(job)
			return nil
		}})
		if err != nil {
			panic(err)
		}
	}
	f.wg.Go(func() {
		if err := p.Execute(ctx); err != nil {
			panic(err)
		}
	})
}

func (f *fleet) enter(node, job int) {
	now := time.Now()
	f.mu.Lock()
	if f.on[job] >= 0 {
		panic(fmt.Sprintf("job %d runs on nodes %d and %d", job, f.on[job], node))
	}
	f.on[job] = node
	if !f.ended[job].IsZero() {
		f.gap = append(f.gap, now.Sub(f.ended[job]))
	}
	f.mu.Unlock()
	f.running.Add(1)
	f.notify()
}

func (f *fleet) leave(job int) {
	f.mu.Lock()
	f.on[job], f.ended[job] = -1, time.Now()
	f.mu.Unlock()
	f.running.Add(-1)
	f.notify()
}

func (f *fleet) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fleet) await(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case <-f.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// lastOf returns how many jobs run on node.
func (f *fleet) lastOf(node int) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, on := range f.on {
		if on == node {
			n++
		}
	}
	return n
}

func (f *fleet) gaps() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.gap...)
}

func (f *fleet) stop(node int) { f.cancel[node]() }

func (f *fleet) stopAll() {
	for _, cancel := range f.cancel {
		if cancel != nil {
			cancel()
		}
	}
	f.wg.Wait()
}

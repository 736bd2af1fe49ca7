//go:build unix

package nodetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

const (
	costTTL    = 10 * time.Second // for all stores
	handovers  = 41
	costCrowd  = 1000 // jobs that are started
	costJobs   = 29   // jobs that are held
	costSettle = 5 * time.Second
	costSpan   = 20 * time.Second // for which writes are counted
)

// Costs measures what three nodes on a store cost, for the table in docs/stores.md: it
// is a benchmark that runs once, with -benchtime 1x.
func Costs(b *testing.B, open distributed.OpenStore) {
	for i := range b.N {
		s := &measured{b: b, open: open, app: fmt.Sprintf("costs-%d", i)}
		b.ReportMetric(0, "ns/op") // says nothing
		b.ReportMetric(float64(s.handover().Microseconds())/1000, "handover-ms")
		b.ReportMetric(s.crash().Seconds(), "crash-s")
		b.ReportMetric(s.atRest(), "writes/s")
		b.ReportMetric(s.start().Seconds(), "start-1000-s")
	}
}

// measured is a store, with nodes on it.
type measured struct {
	b      testing.TB
	open   distributed.OpenStore
	app    string
	writes atomic.Int64
}

// provider is that of a node, which is dead from when that is set.
func (m *measured) provider(dead *atomic.Bool) distributed.LeaseProvider {
	return distributed.NewLeaseProvider(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
		s, err := m.open(ctx, req)
		if err != nil {
			return nil, err
		}
		mine := mortal{s, dead, &m.writes}
		if batches, ok := s.(distributed.BatchStore); ok {
			return mortalBatches{mine, batches}, nil
		}
		return mine, nil
	}, distributed.WithLeaseTTL(costTTL))
}

// trio is three nodes that campaign for a job.
func (m *measured) trio(app string) (nodes [3]*distributed.Concurrency, dead [3]*atomic.Bool) {
	for i := range nodes {
		dead[i] = new(atomic.Bool)
		nodes[i] = distributed.NewConcurrency(app, fmt.Sprint("n", i), m.provider(dead[i]))
	}
	return nodes, dead
}

// elected is a node that has come to lead, and when.
type elected struct {
	node int
	at   time.Time
	err  error
}

func campaign(nodes [3]*distributed.Concurrency, i int, to chan<- elected) {
	_, err := nodes[i].Campaign(context.Background(), "job")
	to <- elected{i, time.Now(), err}
}

// handover returns how long it takes, as a rule, from when a node resigns until the
// next leads.
func (m *measured) handover() time.Duration {
	nodes, _ := m.trio(m.app + "-handover")
	leaders := make(chan elected, len(nodes))
	var took []time.Duration
	for i := range nodes {
		go campaign(nodes, i, leaders)
	}
	leader := <-leaders
	for range handovers {
		time.Sleep(200 * time.Millisecond) // the one before waits again
		require.NoError(m.b, leader.err)
		began := time.Now()
		require.NoError(m.b, nodes[leader.node].Resign(context.Background(), "job"))
		next := <-leaders
		took = append(took, next.at.Sub(began))
		go campaign(nodes, leader.node, leaders)
		leader = next
	}
	for _, n := range nodes {
		require.NoError(m.b, n.Close())
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// crash returns how long nobody leads when a node hears and says no more.
func (m *measured) crash() time.Duration {
	nodes, dead := m.trio(m.app + "-crash")
	leaders := make(chan elected, len(nodes))
	for i := range nodes {
		go campaign(nodes, i, leaders)
	}
	leader := <-leaders
	require.NoError(m.b, leader.err)
	time.Sleep(costSettle)
	began := time.Now()
	dead[leader.node].Store(true)
	next := <-leaders
	require.NoError(m.b, next.err)
	dead[leader.node].Store(false)
	for i, n := range nodes {
		if err := n.Close(); i != leader.node { // that was buried, and may say so
			require.NoError(m.b, err)
		}
	}
	return next.at.Sub(began)
}

// atRest returns how many writes a second three nodes make that hold their jobs.
func (m *measured) atRest() (writes float64) {
	m.run("rest", costJobs, func() {
		time.Sleep(costSettle)
		before := m.writes.Load()
		time.Sleep(costSpan)
		writes = float64(m.writes.Load()-before) / costSpan.Seconds()
	})
	return writes
}

// start returns how long it takes until all of many jobs run.
func (m *measured) start() (took time.Duration) {
	began := time.Now()
	m.run("start", costCrowd, func() { took = time.Since(began) })
	return took
}

// run has three nodes run jobs, and calls meanwhile once all of them do.
func (m *measured) run(what string, jobs int, meanwhile func()) {
	ctx, stop := context.WithCancel(context.Background())
	running := make(chan struct{}, jobs)
	var list []distributed.Job
	for i := range jobs {
		list = append(list, distributed.Job{Name: fmt.Sprint("job-", i), Work: func(ctx context.Context) error {
			running <- struct{}{}
			<-ctx.Done()
			return nil
		}})
	}
	var nodes sync.WaitGroup
	for i := range 3 {
		p := distributed.NewLeadershipBasedJobProcessor(m.app+"-"+what, fmt.Sprint("n", i), m.provider(new(atomic.Bool)), list)
		nodes.Go(func() { assert.NoError(m.b, p.Execute(ctx)) })
	}
	for range jobs {
		<-running
	}
	meanwhile()
	go func() {
		for range running { // what begins elsewhere as the first node stops
		}
	}()
	stop()
	nodes.Wait()
	close(running)
}

// mortal is the store of a node that may die: then nothing comes through.
type mortal struct {
	distributed.Store
	dead   *atomic.Bool
	writes *atomic.Int64
}

func (s mortal) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if err := s.pass(ctx, 1); err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, key, value, rev)
}

func (s mortal) Delete(ctx context.Context, key string, rev int64) error {
	if err := s.pass(ctx, 1); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, rev)
}

func (s mortal) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	return s.Store.Follow(ctx, prefix, func(step distributed.Step) {
		if !s.dead.Load() {
			tell(step)
		}
	})
}

func (s mortal) pass(ctx context.Context, writes int) error {
	if s.dead.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	s.writes.Add(int64(writes))
	return nil
}

// mortalBatches is one that writes several documents at once.
type mortalBatches struct {
	mortal
	batches distributed.BatchStore
}

func (s mortalBatches) PutAll(ctx context.Context, writes []distributed.Write) []distributed.WriteResult {
	if err := s.pass(ctx, len(writes)); err != nil {
		return slices.Repeat([]distributed.WriteResult{{Err: err}}, len(writes))
	}
	return s.batches.PutAll(ctx, writes)
}

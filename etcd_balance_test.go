package distributed_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// tally counts what runs where, and notices a job that runs twice.
type tally struct {
	t       *testing.T
	mu      sync.Mutex
	running map[string]string // node by job
	runs    int
}

func (c *tally) jobs(node string, n int) []distributed.Job {
	var jobs []distributed.Job
	for i := range n {
		name := fmt.Sprintf("job-%02d", i)
		jobs = append(jobs, distributed.Job{Name: name, Work: func(ctx context.Context) error {
			c.begin(name, node)
			defer c.end(name)
			<-ctx.Done()
			return nil
		}})
	}
	return jobs
}

func (c *tally) begin(job, node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	assert.Empty(c.t, c.running[job], "%s runs already when %s starts it", job, node)
	c.running[job] = node
	c.runs++
}

func (c *tally) end(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, job)
}

// loads returns the number of jobs by node, and that of runs so far.
func (c *tally) loads() (loads map[string]int, runs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	loads = map[string]int{}
	for _, node := range c.running {
		loads[node]++
	}
	return loads, c.runs
}

func TestETCDNodesBalanceJobsAndShowThem(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	provider := distributed.NewETCDLeaseProvider(cluster.Endpoints())
	c := &tally{t: t, running: map[string]string{}}
	balance := distributed.WithLoadBalancing(distributed.WithSettleTime(300 * time.Millisecond))
	execute := func(node string) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		p := distributed.NewLeadershipBasedJobProcessor("app", node, provider, c.jobs(node, 29), balance,
			distributed.WithMetadata(map[string]string{"address": node + ":80"}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			assert.NoError(t, p.Execute(ctx))
		}()
		stop = func() { cancel(); <-done }
		t.Cleanup(stop)
		return stop
	}
	stops := map[string]func(){}
	for _, node := range []string{"a", "b", "c"} {
		stops[node] = execute(node)
	}
	even := func(nodes int) func() bool {
		return func() bool {
			loads, _ := c.loads()
			if len(loads) != nodes {
				return false
			}
			running := 0
			for _, n := range loads {
				running += n
				if n < 29/nodes || n > 29/nodes+1 {
					return false
				}
			}
			return running == 29
		}
	}
	require.Eventually(t, even(3), patience, 10*time.Millisecond)

	o, err := distributed.Observe(testContext(t), "app", provider)
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	require.Eventually(t, func() bool { // every job has its standby
		return !slices.ContainsFunc(o.View().Jobs, func(j distributed.JobView) bool { return len(j.Queue) != 2 })
	}, patience, 10*time.Millisecond)
	loads, _ := c.loads()
	require.Eventually(t, func() bool { // at first it may guess who came first, until the nodes say so
		seen := map[string]int{}
		for _, l := range o.Leaders() {
			require.Equal(t, l.Instance+":80", l.Metadata["address"])
			seen[l.Instance]++
		}
		return maps.Equal(loads, seen)
	}, patience, 10*time.Millisecond)
	require.Empty(t, o.View().Plan().Moves)

	_, before := c.loads()
	stops["b"]()
	require.Eventually(t, even(2), patience, 10*time.Millisecond)
	_, after := c.loads()
	require.Equal(t, before+loads["b"], after, "only the jobs of the node that stopped have moved")
	require.Eventually(t, func() bool { return len(o.View().Nodes) == 2 }, patience, 10*time.Millisecond)
	stops["a"]()
	stops["c"]()
	require.Equal(t, []string{"app/epoch"}, view(t, cluster).left())
	require.Eventually(t, func() bool { return len(o.Leaders()) == 0 }, patience, 10*time.Millisecond)
}

//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/postgres"
	"github.com/b2552be4/distributed/verify"
)

const (
	nodeRole = "node"
	shortTTL = 1500 * time.Millisecond
	tick     = 20 * time.Millisecond  // how often a job notes that it runs
	silent   = 250 * time.Millisecond // after which its process was frozen
	wake     = 50 * time.Millisecond  // for which a process may go on that was, if the machine does not stand still
)

// nodeConfig is what a node's process is told.
type nodeConfig struct {
	App, Name, URL, Schema, Records string
	TTL                             time.Duration
	Jobs                            []string
}

// runNode is the life of a node's process.
func runNode(config nodeConfig) error {
	process.ExitWhenOrphaned()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	records, err := verify.Open(config.Records, config.Name)
	if err != nil {
		return err
	}
	provider := postgres.NewLeaseProvider(postgres.Config{URL: config.URL, Schema: config.Schema, Poll: poll}, distributed.WithLeaseTTL(config.TTL))
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := distributed.NewLeadershipBasedJobProcessor(config.App, config.Name, provider, nil, distributed.WithLogger(log))
	for _, name := range config.Jobs {
		if err := p.AddJob(distributed.Job{Name: name, Work: func(ctx context.Context) error { return work(ctx, records, name) }}); err != nil {
			return err
		}
	}
	if err := p.Execute(ctx); err != nil {
		return err
	}
	return records.Close()
}

// work notes down that it runs, until ctx is done.
func work(ctx context.Context, records *verify.Writer, job string) error {
	leadership, _ := distributed.LeadershipFromContext(ctx)
	run := records.Begin(job, leadership.Token())
	defer run.End()
	for {
		select {
		case <-time.After(tick):
			run.Tick()
		case <-ctx.Done():
			return nil
		}
	}
}

// world is some nodes, each in a process and with a network of its own.
type world struct {
	t      *testing.T
	stalls *nodetest.StallMeter
	schema string
	app    string
	dir    string
	jobs   []string
	ttl    time.Duration
	nodes  []*node
}

type node struct {
	*process.Process
	name string
	link *link.Link
	log  *os.File
}

// newWorld starts three nodes, of which the first runs all jobs.
func newWorld(t *testing.T, schema, addr string) *world {
	w := emptyWorld(t, schema, shortTTL)
	for range 3 {
		w.add(linkTo(t, addr))
	}
	return w
}

func emptyWorld(t *testing.T, schema string, ttl time.Duration) *world {
	w := &world{t: t, stalls: nodetest.StartStallMeter(t), schema: schema, app: strings.ReplaceAll(t.Name(), "/", "-"), dir: t.TempDir(), jobs: []string{"a", "b", "c", "d", "e"}, ttl: ttl}
	t.Cleanup(w.close)
	return w
}

// add starts a node, whose network l is, and waits until all jobs run.
func (w *world) add(l *link.Link, more ...string) {
	w.t.Helper()
	url := urlOf(strings.Join(append([]string{l.Addr()}, more...), ","))
	name := fmt.Sprintf("node-%d", len(w.nodes))
	log, err := os.Create(filepath.Join(w.dir, name+".log"))
	require.NoError(w.t, err)
	p, err := process.Start(nodeRole, nodeConfig{w.app, name, url, w.schema, filepath.Join(w.dir, name+".jsonl"), w.ttl, w.jobs}, log)
	require.NoError(w.t, err)
	w.nodes = append(w.nodes, &node{p, name, l, log})
	w.awaitRunning()
}

// close also shows what the nodes have said, if something went wrong.
func (w *world) close() {
	for _, n := range w.nodes {
		n.Kill()
		_ = n.log.Close()
		if said, err := os.ReadFile(n.log.Name()); err == nil && w.t.Failed() {
			w.t.Logf("%s:\n%s", n.name, said)
		}
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func (w *world) runs() []verify.Run {
	w.t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.dir, "*.jsonl"))
	require.NoError(w.t, err)
	records, err := verify.ReadFiles(paths...)
	require.NoError(w.t, err)
	runs, err := verify.Runs(records)
	require.NoError(w.t, err)
	return runs
}

// awaitRunning waits until all jobs have run from now on, and returns where.
func (w *world) awaitRunning() (holders map[string]verify.Run) {
	w.t.Helper()
	return w.awaitHolders(func(verify.Run) bool { return true })
}

// awaitElsewhere waits until no job runs under a leadership that n had.
func (w *world) awaitElsewhere(before map[string]verify.Run, n *node) {
	w.t.Helper()
	w.awaitHolders(func(r verify.Run) bool { return r.Node != n.name || r.Token > before[r.Job].Token })
}

func (w *world) awaitHolders(ok func(verify.Run) bool) map[string]verify.Run {
	w.t.Helper()
	from := monotonic()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		holders := map[string]verify.Run{}
		for _, r := range w.runs() {
			if r.End > from && !r.Ended && ok(r) {
				holders[r.Job] = r
			}
		}
		if len(holders) == len(w.jobs) {
			return holders
		}
		require.Less(w.t, time.Now(), deadline, "jobs do not run: %v", holders)
	}
}

// unmoved requires that all jobs run on under the same leadership.
func (w *world) unmoved(before map[string]verify.Run) {
	w.t.Helper()
	for job, r := range w.awaitRunning() {
		require.Equal(w.t, before[job].Token, r.Token, "job %s", job)
	}
}

// say requires that each node has said something in its log.
func (w *world) say(text string) {
	w.t.Helper()
	for _, n := range w.nodes {
		require.Eventually(w.t, func() bool {
			said, err := os.ReadFile(n.log.Name())
			return err == nil && strings.Contains(string(said), text)
		}, time.Minute, 20*time.Millisecond, "%s does not say %q", n.name, text)
	}
}

func (w *world) neverSay(text string) {
	w.t.Helper()
	for _, n := range w.nodes {
		said, err := os.ReadFile(n.log.Name())
		require.NoError(w.t, err)
		require.NotContains(w.t, string(said), text, n.name)
	}
}

// hold requires that all jobs run, and ends the nodes.
func (w *world) hold() {
	w.t.Helper()
	w.awaitRunning()
	w.end()
}

// end ends the nodes, and requires that no job ever ran twice at once.
func (w *world) end() {
	w.t.Helper()
	for _, n := range w.nodes {
		if n.Running() {
			require.NoError(w.t, n.End(20*time.Second), n.name)
		}
	}
	for _, v := range verify.Check(w.runs(), verify.Rules{Silence: silent, Wake: wake + w.stalls.Worst()}).Violations {
		w.t.Error(v)
	}
}

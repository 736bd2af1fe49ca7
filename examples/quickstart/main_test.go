package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
	"github.com/b2552be4/distributed/verify"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdleak.Options()...) }

func TestWholeRun(t *testing.T) {
	t.Parallel()
	code, out, errOut := call(t.Context(), "-for", "4s", "-jobs", "7")
	require.Zero(t, code, out)
	require.Empty(t, errOut, "a run without trouble warns of nothing")
	for _, want := range []string{
		"7 jobs on 3 nodes", "node-1 stops", "node-3 starts again", "all nodes have stopped",
		"OK  no job ran twice at once", "OK  no step was lost or repeated", "-records DIR",
	} {
		require.Contains(t, out, want)
	}
}

func TestRecordsAreKeptToBeCheckedByHand(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "records")
	code, out, _ := call(t.Context(), "-for", "8s", "-jobs", "2", "-nodes", "1", "-records", dir)
	require.Zero(t, code, out)
	require.Contains(t, out, "go -C cmd/distributed run . verify "+filepath.Join(dir, "*.jsonl"))
	records, err := verify.ReadFiles(filepath.Join(dir, "node-1.jsonl"))
	require.NoError(t, err)
	runs, err := verify.Runs(records)
	require.NoError(t, err)
	require.Len(t, runs, 4, "of each job before and after the restart")

	code, _, errOut := call(t.Context(), "-records", dir)
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "file exists")
}

func TestOnAnExistingClusterThatLosesItsLeader(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{Members: 3, UnsafeNoFsync: true})
	var leader *etcdtest.Member
	require.Eventually(t, func() bool { leader = cluster.Leader(); return leader != nil }, time.Minute, 10*time.Millisecond)
	time.AfterFunc(2*time.Second, leader.Kill)
	code, out, _ := call(t.Context(), "-for", "6s", "-jobs", "7", "-nodes", "2", "-etcd", strings.Join(cluster.Endpoints(), ","))
	require.Zero(t, code, out)
	left, err := cluster.Client().Get(t.Context(), "distributed-quickstart/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Empty(t, left.Kvs, "nothing is left behind")
}

func TestOnEtcdThatGoesAwayForGood(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &watcher{all: regexp.MustCompile(`s  [123]{7} `), run: func() {
		cluster.Members()[0].Kill()
		time.Sleep(time.Second) // for the nodes to notice
		interrupt()
	}}
	code := quickstart(ctx, []string{"-for", "1h", "-jobs", "7", "-etcd", cluster.Endpoints()[0]}, out, io.Discard)
	require.Equal(t, 1, code)
	require.Contains(t, out.String(), "cannot read the counters")
	require.Contains(t, out.String(), "FAILED, for the reasons above (1)")
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	watched, warned := &watcher{all: regexp.MustCompile(`s  [123]{29} `), run: interrupt}, new(strings.Builder)
	require.Zero(t, quickstart(ctx, []string{"-for", "1h"}, watched, warned), watched)
	require.Empty(t, warned.String())
	require.Contains(t, watched.String(), "interrupted: all nodes stop")
	require.Contains(t, watched.String(), "OK  no job ran twice at once")

	code, out, errOut := call(ctx)
	require.Equal(t, 1, code)
	require.Empty(t, out)
	require.Contains(t, errOut, "interrupted before anything ran")
}

func TestWrongCalls(t *testing.T) {
	code, out, errOut := call(t.Context(), "-jobs", "0")
	require.Equal(t, 2, code)
	require.Empty(t, out)
	require.Equal(t, "quickstart: -jobs 0: must be from 1 to 1000\nThe flag -h explains the flags.\n", errOut)

	code, out, errOut = call(t.Context(), "-h")
	require.Zero(t, code)
	require.Empty(t, errOut)
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len(line), 90, line)
	}
	require.Contains(t, out, "-jobs number")
}

func TestNoEtcdThere(t *testing.T) {
	t.Parallel()
	code, _, errOut := call(t.Context(), "-etcd", "http://127.0.0.1:1")
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "no answer from the etcd at http://127.0.0.1:1")
}

// A check that cannot fail proves nothing: here everybody leads everything.
func TestFindsTheFaultsOfABrokenProvider(t *testing.T) {
	t.Parallel()
	code, out := playOn(t, func() distributed.LeaseProvider { return &brokenProvider{} })
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "ran twice at once")
	require.Contains(t, out, "FAILED")
}

func TestFailsWhenAJobNeverRuns(t *testing.T) {
	t.Parallel()
	hub := &distributed.MemoryHub{}
	code, out := playOn(t, func() distributed.LeaseProvider {
		hub.Refuse("", context.DeadlineExceeded)
		return distributed.NewMemoryLeaseProvider(hub)
	})
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "3 jobs never ran")
}

// watcher keeps what is written, and does something when all jobs run.
type watcher struct {
	strings.Builder
	all  *regexp.Regexp // matches the line that says so
	once sync.Once
	run  func()
}

func (w *watcher) Write(line []byte) (int, error) {
	if w.all.Match(line) {
		w.once.Do(func() { go w.run() })
	}
	return w.Builder.Write(line)
}

// call runs the quickstart as a user does.
func call(ctx context.Context, args ...string) (code int, out, errOut string) {
	var o, e strings.Builder
	code = quickstart(ctx, args, &o, &e)
	return code, o.String(), e.String()
}

// playOn runs three jobs on two nodes with other providers.
func playOn(t *testing.T, provide func() distributed.LeaseProvider) (code int, out string) {
	t.Helper()
	st, err := openStore(t.Context(), nil)
	require.NoError(t, err)
	defer st.Close()
	var o strings.Builder
	s := newScene(config{run: 3 * time.Second, jobs: 3, nodes: 2}, st, play.Records{Dir: t.TempDir()}, &o, io.Discard)
	for _, n := range s.nodes {
		n.provide = provide
	}
	return s.judge(t.Context(), &o), o.String()
}

// brokenProvider gives everybody every leadership at once.
type brokenProvider struct{ token atomic.Int64 }

func (p *brokenProvider) AcquireLease(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
	return p, nil
}

func (p *brokenProvider) OpenView(context.Context, distributed.LeaseRequest) (distributed.Viewer, error) {
	return nil, errors.ErrUnsupported
}

func (p *brokenProvider) Announce(context.Context, distributed.NodeInfo) error { return nil }

func (p *brokenProvider) View() (*distributed.View, <-chan struct{}, error) {
	return new(distributed.View), make(chan struct{}), nil
}

func (p *brokenProvider) Silence() map[string]time.Duration { return nil }

func (p *brokenProvider) Election(string) distributed.Election { return p }

func (p *brokenProvider) Close(context.Context) error { return nil }

func (p *brokenProvider) Campaign(_ context.Context, decided func(int64, error), _ context.CancelCauseFunc) {
	decided(p.token.Add(1), nil)
}

func (p *brokenProvider) Gap() (time.Duration, bool) { return 0, false }

func (p *brokenProvider) Recorded(string) (distributed.JobRecord, time.Duration, <-chan struct{}) {
	return distributed.JobRecord{}, 0, nil
}

func (p *brokenProvider) Orders() ([]distributed.Order, <-chan struct{}) { return nil, nil }

func (p *brokenProvider) Record(context.Context, distributed.JobRecord) error { return nil }

func (p *brokenProvider) Save(context.Context, []byte) error { return nil }

func (p *brokenProvider) Saved(context.Context) ([]byte, error) { return nil, nil }

func (p *brokenProvider) Valid() bool { return true }

func (p *brokenProvider) Resign(context.Context) error { return nil }

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is an app with nodes, and the command.
type fleet struct {
	t         *testing.T
	endpoints []string
	observer  *distributed.Observer
	gone      string // the node that was stopped last
}

func newFleet(t *testing.T, cluster *etcdtest.Cluster) *fleet {
	f := &fleet{t: t, endpoints: cluster.Endpoints()}
	var err error
	f.observer, err = distributed.Observe(t.Context(), "shop", distributed.NewETCDLeaseProvider(f.endpoints))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.observer.Close()) })
	return f
}

func (f *fleet) start(name string, jobs int, opts ...distributed.ProcessorOption) (stop func()) {
	p := distributed.NewLeadershipBasedJobProcessor("shop", name, distributed.NewETCDLeaseProvider(f.endpoints), nil, opts...)
	for i := range jobs {
		require.NoError(f.t, p.AddJob(distributed.Job{Name: fmt.Sprint("job-", i), Work: func(ctx context.Context) error { <-ctx.Done(); return nil }}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Execute(ctx) }()
	for leaders := range f.observer.Updates(f.t.Context()) { // until what was there before is gone, and all is led
		there := slices.ContainsFunc(f.observer.View().Nodes, func(n distributed.NodeView) bool { return n.Instance == name })
		if there && len(leaders) >= jobs && !slices.ContainsFunc(leaders, func(l distributed.Leader) bool { return l.Instance == f.gone }) {
			break
		}
	}
	return func() { cancel(); assert.NoError(f.t, <-ended); f.gone = name }
}

func (f *fleet) run(args ...string) (code int, out, errs string) {
	var o, e strings.Builder
	args = append([]string{"-store", "etcd://" + strings.TrimPrefix(f.endpoints[0], "http://"), "-app", "shop"}, args...)
	code = run(f.t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestLooking(t *testing.T) {
	f := newFleet(t, etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true}))
	code, _, errs := f.run("nodes")
	require.Equal(t, exitNo, code)
	require.Contains(t, errs, `there is nothing of the app "shop"`)

	stop := f.start("a", 2, distributed.WithLoadBalancing(), distributed.WithMetadata(map[string]string{"address": "10.0.0.7"}))
	code, out, errs := f.run("nodes")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^a +\w{16} +runs +2 +0 .* address=10.0.0.7$`, out)
	code, out, _ = f.run("jobs")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^job-1 +led +a +\d+ +- +-$`, out)
	code, out, errs = f.run("jobs", "--node", "b", "-o", "json")
	require.Equal(t, exitNo, code)
	require.Empty(t, out)
	require.JSONEq(t, `{"error": "there is no node \"b\""}`, errs)
	code, out, _ = f.run("jobs", "-o", "json")
	require.Zero(t, code)
	var jobs []jobLine
	require.NoError(t, json.Unmarshal([]byte(out), &jobs))
	require.Len(t, jobs, 2)
	code, out, _ = f.run("explain", "job-0")
	require.Zero(t, code)
	require.Contains(t, out, "job-0 runs on a")
	code, _, errs = f.run("explain", "job-7")
	require.Equal(t, exitNo, code)
	require.Equal(t, "distributed: no node has the job \"job-7\"\n", errs)
	code, out, _ = f.run("plan")
	require.Zero(t, code)
	require.Contains(t, out, "0 to move, 0 that no node can take")
	code, out, _ = f.run("__complete", "explain", "")
	require.Zero(t, code)
	require.Contains(t, out, "job-0\njob-1\n")
	stop()

	stop = f.start("plain", 1)
	code, out, _ = f.run("explain", "job-0")
	require.Zero(t, code)
	require.Equal(t, "job-0 runs on plain: its nodes do not balance, and the first to claim it leads\n", out)
	code, out, _ = f.run("explain", "job-0", "-o", "json")
	require.Zero(t, code)
	require.JSONEq(t, `{"job": "job-0", "runs": "plain", "belongs": "plain", "standby": "", "reason": "its nodes do not balance, and the first to claim it leads"}`, out)
	code, _, errs = f.run("plan")
	require.Equal(t, exitNo, code)
	require.Contains(t, errs, "no node balances")
	code, out, errs = f.run("plan", "--output=json")
	require.Equal(t, exitNo, code)
	require.Empty(t, out)
	require.JSONEq(t, `{"error": "no node balances: each job runs where it was first claimed"}`, errs)
	code, _, errs = f.run("watch")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "needs a terminal")
	stop()
}

func TestWrongCallsSayWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"jobs":                                                    "say where the store is",
		"jobs -store etcd://127.0.0.1:1":                          "say which app",
		"jobs -store etcd://x -app a":                             "must have a host and a port",
		"jobs -store etcd://127.0.0.1:1 -app a/b":                 "must not contain",
		"jobs -store etcd://127.0.0.1:1 -app a -o x":              "must be table or json",
		"jobs -store etcd://127.0.0.1:1 -app a -timeout 2s":       "connection refused",
		"jobs -store etcd://127.0.0.1:1 -app a -user me":          "no password",
		"jobs -store etcd://127.0.0.1:1 -app a -cacert none":      "--cacert",
		"jobs -store etcd://127.0.0.1:1 -app a -cert none -key x": "--cert and --key",
		"jobs -store etcd://127.0.0.1:1 -app a -timeout 0s":       "must be above 0",
		"jobs -nonsense":                                          "unknown",
		"nonsense":                                                "unknown command",
		"help nonsense":                                           "unknown command",
		"pause --all a":                                           "--all takes no job",
		"pause":                                                   "say which JOB, or --all",
		"resume a b":                                              "accepts 1 arg",
		"explain -store etcd://127.0.0.1:1 -app a":                "accepts 1 arg",
	} {
		var out, errs strings.Builder
		require.Equal(t, exitFailed, run(t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errs), args)
		require.Contains(t, errs.String(), want, args)
		require.Empty(t, out.String(), args)

		errs.Reset()
		require.Equal(t, exitFailed, run(t.Context(), append([]string{"-o", "json"}, strings.Fields(strings.ReplaceAll(args, "-o x", "-timeout x"))...), strings.NewReader(""), &out, &errs), args)
		var told struct{ Error string }
		require.NoError(t, json.Unmarshal([]byte(errs.String()), &told), errs.String())
		require.NotEmpty(t, told.Error)
	}
}

func TestHelpIsGivenOnWhatThereIs(t *testing.T) {
	for _, args := range []string{"help", "help pause", "pause --help", "help completion bash"} {
		var out, errs strings.Builder
		require.Zero(t, run(t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errs), args)
		require.Contains(t, out.String(), "Usage:", args)
	}
}

func TestAJobThatIsDoneIsNotPaused(t *testing.T) {
	jobs := jobsOf(&distributed.View{
		Orders:  []distributed.Order{{Kind: distributed.OrderPause, By: "ann"}},
		Records: []distributed.JobRecord{{Job: "migration", Done: true}},
	})
	require.Equal(t, "done", jobs[0].State)
}

func TestTLSAndPasswordOfTheStore(t *testing.T) {
	user, password, err := (&conn{user: "me:secret"}).login()
	require.NoError(t, err)
	require.Equal(t, []string{"me", "secret"}, []string{user, password})
	secure, err := new(conn).tls(true)
	require.NoError(t, err)
	require.NotNil(t, secure)
	plainly, err := new(conn).tls(false)
	require.NoError(t, err)
	require.Nil(t, plainly)
}

func TestWatchSaysThatANodeFellSilent(t *testing.T) {
	s := &screen{last: map[string]distributed.Leader{"x": {Node: "1", Instance: "a"}, "y": {Node: "2", Instance: "b"}}}
	view := &distributed.View{Buried: map[string]string{"1": "a"}}
	s.moved(distributed.Leader{Job: "x", Node: "3", Instance: "c"}, view, time.Now())
	s.moved(distributed.Leader{Job: "y", Node: "3", Instance: "c"}, view, time.Now())
	require.Contains(t, s.moves[1], "x: a, which fell silent, -> c")
	require.Contains(t, s.moves[0], "y: b -> c")
}

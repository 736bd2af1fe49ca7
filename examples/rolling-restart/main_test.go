//go:build unix

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/examples/internal/demo/demotest"
	"github.com/b2552be4/distributed/verify"
)

func TestMain(m *testing.M) { demotest.Main(m) }

func TestARound(t *testing.T) {
	t.Parallel()
	code, out := demotest.Start(t, rollingRestart(), "-rounds", "1", "-pause", "100ms").End()
	require.Zero(t, code, out)
	for _, want := range []string{
		"All jobs run.", "node-1 stops.", "node-2 has stopped.", "node-3 starts again.", "The jobs are even again.",
		"All nodes have stopped.", "OK  no job ran twice at once", "runs of 29 jobs", "-records DIR",
	} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "ended by itself")
}

func TestButtons(t *testing.T) {
	t.Parallel()
	run := demotest.Start(t, rollingRestart(), "-pause", "1h") // so that nobody else restarts anything
	run.PressAll("shop")
	code, out := run.Interrupt()
	require.Zero(t, code, out)
	for _, want := range []string{
		"node-4 starts.", "node-1 is frozen.", "node-2 is cut off from etcd.", "node-3 is killed.", "node-1 wakes up.",
		"node-2 reaches etcd again.", "node-3 starts again.", "node-4 stops.", "Interrupted", "OK  no job ran twice at once", "runs of 29 jobs",
	} {
		require.Contains(t, out, want)
	}
}

func TestButtonsRefuseWhatCannotBe(t *testing.T) {
	t.Parallel()
	run := demotest.Start(t, rollingRestart(), "-pause", "1h")
	run.AwaitEven("shop", "node-1", "node-2", "node-3")
	for path, want := range map[string]int{
		"nodes/node-1/resume":  http.StatusConflict,
		"nodes/node-1/heal":    http.StatusConflict,
		"nodes/node-1/explode": http.StatusNotFound,
		"nodes/node-9/kill":    http.StatusNotFound,
		"status/shop/":         http.StatusMethodNotAllowed,
	} {
		require.Equal(t, want, run.Post(path, run.URL), path)
	}
	require.Equal(t, http.StatusForbidden, run.Post("nodes/node-1/kill", "http://evil.example"), "a page from elsewhere")
	resp, err := http.Get(run.URL + "nodes/node-1/kill")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, "following a link")
	for range 6 {
		run.Press("nodes")
	}
	require.Equal(t, http.StatusConflict, run.Post("nodes", run.URL), "nine nodes are enough")
	require.Equal(t, 9, strings.Count(run.Get(""), `class="node"`))
	code, out := run.Interrupt()
	require.Zero(t, code, out)
}

// A check that cannot fail proves nothing: here a record says that a job ran on
// another node meanwhile.
func TestFindsAJobThatRanTwice(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "records")
	run := demotest.Start(t, rollingRestart(), "-pause", "1h", "-records", dir)
	run.AwaitEven("shop", "node-1", "node-2", "node-3")
	for _, node := range []string{"node-1", "node-2"} {
		liar, err := verify.Open(filepath.Join(dir, "shop-"+node+".jsonl"), node)
		require.NoError(t, err)
		liar.Begin("job-01", 1<<40).End()
		require.NoError(t, liar.Close())
	}
	code, out := run.Interrupt()
	require.Equal(t, 1, code, out)
	require.Contains(t, out, `job "job-01" ran twice at once`)
	require.Contains(t, out, "FAILED")
	require.Contains(t, out, "go -C cmd/distributed run . verify "+filepath.Join(dir, "*.jsonl"))
}

func TestSurvivesAKillFromAShell(t *testing.T) {
	t.Parallel()
	run := demotest.Start(t, rollingRestart(), "-pause", "1h")
	run.AwaitEven("shop", "node-1", "node-2", "node-3")
	require.NoError(t, syscall.Kill(run.PID("shop", "node-2"), syscall.SIGKILL))
	run.Says("node-2", "down")
	run.Await("two nodes run all jobs", func() bool {
		loads := run.Loads("shop")
		return loads["node-1"]+loads["node-3"] == 29
	})
	code, out := run.Interrupt()
	require.Zero(t, code, out)
	require.Contains(t, out, "node-2 has been killed by somebody else.")
}

func TestWrongCalls(t *testing.T) {
	var out, errOut strings.Builder
	require.Zero(t, rollingRestart().Run(t.Context(), []string{"-h"}, &out, &errOut))
	for line := range strings.Lines(out.String()) {
		require.LessOrEqual(t, len(line), 100, line)
	}
	require.Contains(t, out.String(), "-rounds number")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for args, want := range map[string]string{
		"-for -1s":          "-for -1s: must not be negative",
		"-pause -1s":        "-pause -1s: must not be negative",
		"-rounds -1":        "invalid value",
		"-etcd https://a:1": "no https",
		"-etcd nowhere":     "must be URLs",
		"now":               `unexpected argument "now"`,
		"-records " + file:  "file exists",
	} {
		errOut.Reset()
		require.NotZero(t, rollingRestart().Run(t.Context(), strings.Fields(args), &out, &errOut), args)
		require.Contains(t, errOut.String(), want)
	}
}

//go:build unix

// Package demotest runs a demo as its tests need it: with real processes, and
// somebody who looks at the page and presses its buttons.
package demotest

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/examples/internal/demo"
	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
)

// Main is a TestMain: it makes the process a node if that is what it is to be, or
// else runs the tests, and fails if they leave a goroutine behind.
func Main(m *testing.M) {
	demo.RunRole()
	// The tests mostly wait, so more of them run at a time than there are cores.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, append(etcdleak.Options(),
		goleak.IgnoreTopFunction("github.com/b2552be4/distributed/internal/process.spawnAll"))...) // it lives as long as the process
}

// patience is how long a test waits for what must happen sooner or later.
const patience = time.Minute

// Run is a demo that runs.
type Run struct {
	t         *testing.T
	URL       string // of its page
	interrupt context.CancelFunc
	out       output
	code      chan int
	pids      map[int]bool // of all processes seen
}

// output is what a demo has printed so far.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var address = regexp.MustCompile(`http://\S+/`)

// Start runs a demo, and returns when it serves its page.
func Start(t *testing.T, d *demo.Demo, args ...string) *Run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{t: t, interrupt: cancel, code: make(chan int, 1), pids: map[int]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.code <- d.Run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), &r.out, &r.out)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Log(r.out.String())
		}
	})
	r.Await("the page", func() bool {
		r.URL = address.FindString(r.out.String())
		return r.URL != "" || len(r.code) > 0
	})
	require.NotEmpty(t, r.URL, "the demo has ended at once")
	return r
}

// Await waits until something is true.
func (r *Run) Await(what string, come func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for looks := time.NewTicker(20 * time.Millisecond); !come(); {
		select {
		case <-looks.C:
		case <-deadline:
			require.FailNow(r.t, "never came: "+what)
		}
	}
}

// End waits until the demo has ended, and returns its exit code and output. None of
// its processes is left then.
func (r *Run) End() (code int, out string) {
	r.t.Helper()
	select {
	case code = <-r.code:
	case <-time.After(patience):
		require.FailNow(r.t, "the demo does not end")
	}
	for pid := range r.pids {
		require.ErrorIs(r.t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d is gone", pid)
	}
	return code, r.out.String()
}

// Interrupt is Ctrl-C, and End.
func (r *Run) Interrupt() (code int, out string) {
	r.t.Helper()
	r.interrupt()
	return r.End()
}

// Jobs is what the status page says of an app.
type Jobs struct {
	Nodes []struct {
		ID, Instance string
		Gone         bool
		Metadata     map[string]string
	}
	Jobs []struct{ Name, Node, State string }
}

// Jobs asks the status page of an app.
func (r *Run) Jobs(app string) (jobs Jobs) {
	r.t.Helper()
	require.NoError(r.t, json.Unmarshal([]byte(r.Get("status/"+app+"/jobs")), &jobs))
	for _, n := range jobs.Nodes {
		if pid, err := strconv.Atoi(n.Metadata["pid"]); err == nil { // it has not said yet
			r.pids[pid] = true
		}
	}
	return jobs
}

// PID returns the process ID that a node tells, or 0 if it is not there.
func (r *Run) PID(app, node string) int {
	for _, n := range r.Jobs(app).Nodes {
		if n.Instance == node && !n.Gone {
			pid, _ := strconv.Atoi(n.Metadata["pid"])
			return pid
		}
	}
	return 0
}

// Loads returns how many jobs run on each node that is there.
func (r *Run) Loads(app string) map[string]int {
	jobs := r.Jobs(app)
	loads, instances := map[string]int{}, map[string]string{}
	for _, n := range jobs.Nodes {
		instances[n.ID] = n.Instance
		if !n.Gone {
			loads[n.Instance] += 0
		}
	}
	for _, j := range jobs.Jobs {
		if j.State == "running" {
			loads[instances[j.Node]]++
		}
	}
	return loads
}

// AwaitEven waits until all 29 jobs run, evenly on these nodes.
func (r *Run) AwaitEven(app string, nodes ...string) {
	r.t.Helper()
	r.Await("even", func() bool {
		loads := r.Loads(app)
		all := slices.Collect(maps.Values(loads))
		return slices.Equal(slices.Sorted(maps.Keys(loads)), nodes) && total(loads) == 29 && slices.Max(all)-slices.Min(all) <= 1
	})
}

// AwaitOn waits until all 29 jobs run on these nodes, and none elsewhere.
func (r *Run) AwaitOn(app string, nodes ...string) {
	r.t.Helper()
	r.Await("all jobs on these nodes", func() bool {
		loads, there := r.Loads(app), 0
		for _, n := range nodes {
			there += loads[n]
		}
		return there == 29
	})
}

// AwaitAll waits until all 29 jobs run.
func (r *Run) AwaitAll(app string) {
	r.t.Helper()
	r.Await("all jobs run", func() bool { return total(r.Loads(app)) == 29 })
}

func total(loads map[string]int) (n int) {
	for _, jobs := range loads {
		n += jobs
	}
	return n
}

// Get gets a page.
func (r *Run) Get(path string) string {
	r.t.Helper()
	resp, err := http.Get(r.URL + path)
	require.NoError(r.t, err)
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	require.Equal(r.t, http.StatusOK, resp.StatusCode, "%s: %s", path, body)
	return string(body)
}

// Says waits until the card of a node says what state it is in.
func (r *Run) Says(node, state string) {
	r.t.Helper()
	r.Await(node+" is "+state, func() bool {
		return strings.Contains(r.Get(""), `<h2>`+node+` <span class="state">`+state+`</span>`)
	})
}

// Press presses a button, as a browser does without script.
func (r *Run) Press(path string) {
	r.t.Helper()
	require.Equal(r.t, http.StatusOK, r.Post(path, r.URL), path)
}

// Post posts a form from a page, and returns the status of what comes of it.
func (r *Run) Post(path, from string) (status int) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.URL+path, nil)
	require.NoError(r.t, err)
	req.Header.Set("Origin", strings.TrimSuffix(from, "/"))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	require.NoError(r.t, resp.Body.Close())
	return resp.StatusCode
}

// PressAll presses every button of three nodes on which all jobs run, and waits for
// what comes of it in an app that is balanced. It leaves four nodes that are well.
func (r *Run) PressAll(app string) {
	r.t.Helper()
	r.AwaitEven(app, "node-1", "node-2", "node-3")
	r.Press("nodes")
	four := []string{"node-1", "node-2", "node-3", "node-4"}
	r.AwaitEven(app, four...)

	r.Press("nodes/node-1/pause")
	r.Press("nodes/node-2/cut")
	r.Says("node-1", "frozen")
	r.Says("node-2", "cut off")
	r.AwaitOn(app, "node-3", "node-4")
	r.Press("nodes/node-1/resume")
	r.Press("nodes/node-2/heal")
	r.AwaitEven(app, four...)

	killed, restarted := r.PID(app, "node-3"), r.PID(app, "node-4")
	r.Press("nodes/node-3/kill")
	r.Press("nodes/node-4/restart")
	r.awaitOther(app, "node-3", killed)
	r.awaitOther(app, "node-4", restarted)
	r.AwaitEven(app, four...)
	for _, node := range four {
		r.Says(node, "up")
	}
}

// awaitOther waits until another process is a node.
func (r *Run) awaitOther(app, node string, before int) {
	r.t.Helper()
	r.Await("another process", func() bool {
		pid := r.PID(app, node)
		return pid != 0 && pid != before
	})
}

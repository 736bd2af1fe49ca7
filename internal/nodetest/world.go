//go:build unix

package nodetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

const (
	// patience is how long a test waits for what must happen sooner or later.
	patience = time.Minute

	// silence is after how long without a sign of life a process is taken to have been
	// frozen, by us or by the machine; wake, how soon it must have stopped then, if the
	// machine does not stand still.
	silence = 250 * time.Millisecond
	wake    = 50 * time.Millisecond
)

// World is some nodes that share jobs.
type World struct {
	t       *testing.T
	stalls  *StallMeter
	dir     string
	config  config
	servers int
	Nodes   []*Node
}

// Node is a node process, and its links to the servers.
type Node struct {
	*process.Process
	Links []*link.Link

	name string
	log  *os.File
}

// Start starts three nodes with a few jobs, and returns when the first of them runs
// all, and the others have come. servers are the addresses of the store's, of which each
// node has another one first. The test's TestMain calls [RunRole].
func Start(t *testing.T, servers []string, ttl time.Duration) *World {
	w := &World{t: t, stalls: StartStallMeter(t), dir: t.TempDir(), servers: len(servers)}
	w.config = config{App: strings.ReplaceAll(t.Name(), "/", "."), TTL: ttl, Jobs: []string{"a", "b", "c"}}
	t.Cleanup(w.destroy)
	for i := range 3 {
		n := &Node{name: fmt.Sprintf("n%d", i)}
		for k := range servers {
			l, err := link.New(servers[(i+k)%len(servers)])
			require.NoError(t, err)
			n.Links = append(n.Links, l)
		}
		w.Nodes = append(w.Nodes, n)
	}
	w.Start(w.Nodes[0])
	w.AwaitRunning()
	w.Start(w.Nodes[1])
	w.Start(w.Nodes[2])
	return w
}

// Start starts a node, and returns when it has a lease.
func (w *World) Start(n *Node) {
	var err error
	if n.log == nil {
		n.log, err = os.Create(filepath.Join(w.dir, n.name+".log"))
		require.NoError(w.t, err)
	}
	c := w.config
	c.Name, c.Records, c.Come, c.Servers = n.name, w.records(), filepath.Join(w.dir, n.name+".come"), nil
	for _, l := range n.Links {
		c.Servers = append(c.Servers, l.Addr())
	}
	_ = os.Remove(c.Come) // the first time it is not there
	n.Process, err = process.Start(role, c, n.log)
	require.NoError(w.t, err)
	w.await(n.name+" has a lease", func() bool {
		_, err := os.Stat(c.Come)
		return err == nil
	})
}

func (w *World) records() string { return filepath.Join(w.dir, "runs.jsonl") }

func (w *World) destroy() {
	for _, n := range w.Nodes {
		if n.Process != nil {
			n.Kill()
			_ = n.log.Close()
		}
		for _, l := range n.Links {
			l.Close()
		}
		if log, err := os.ReadFile(filepath.Join(w.dir, n.name+".log")); err == nil && w.t.Failed() {
			w.t.Logf("%s:\n%s", n.name, log[max(0, len(log)-8000):])
		}
	}
}

// Holders is who ran each job last.
type Holders map[string]verify.Run

// Holders returns who runs each job, or ran it last.
func (w *World) Holders() Holders {
	last := Holders{}
	for _, r := range w.runs() {
		if r.Start >= last[r.Job].Start {
			last[r.Job] = r
		}
	}
	return last
}

func (w *World) runs() []verify.Run {
	records, err := verify.ReadFiles(w.records())
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(w.t, err)
	runs, err := verify.Runs(records)
	require.NoError(w.t, err)
	return runs
}

// Leader returns the node that runs the first job.
func (w *World) Leader() *Node {
	holder := w.Holders()[w.config.Jobs[0]].Node
	for _, n := range w.Nodes {
		if n.name == holder {
			return n
		}
	}
	require.FailNow(w.t, "nobody runs the first job")
	return nil
}

// AwaitRunning waits until all jobs run.
func (w *World) AwaitRunning() { w.AwaitTaken(nil) }

// AwaitTaken waits until all jobs run, and none as it did.
func (w *World) AwaitTaken(from Holders) {
	before := w.Holders()
	w.await("all jobs run, elsewhere", func() bool {
		now := w.Holders()
		for _, job := range w.config.Jobs {
			r, ok := now[job]
			if !ok || r.Ended || r.Token == from[job].Token || r.End == before[job].End { // that it ran before says nothing
				return false
			}
		}
		return true
	})
}

// AwaitEnded waits until none of the runs goes on.
func (w *World) AwaitEnded(runs Holders) {
	w.await("all jobs have ended", func() bool {
		for _, r := range w.runs() {
			if runs[r.Job].Token == r.Token && runs[r.Job].Process == r.Process && !r.Ended {
				return false
			}
		}
		return true
	})
}

// Logs returns what all nodes have logged so far.
func (w *World) Logs() string {
	var all strings.Builder
	for _, n := range w.Nodes {
		b, err := os.ReadFile(filepath.Join(w.dir, n.name+".log"))
		require.NoError(w.t, err)
		all.Write(b)
	}
	return all.String()
}

// Unmoved requires that all jobs run as they did.
func (w *World) Unmoved(from Holders) {
	w.AwaitRunning()
	for job, r := range w.Holders() {
		require.Equal(w.t, from[job].Token, r.Token, "job %s has moved", job)
	}
}

func (w *World) await(what string, condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		require.True(w.t, time.Now().Before(deadline), "waited in vain: %s", what)
	}
}

// Hold ends all nodes, and requires that no job ran twice at once. Violations of
// another kind may be passed over: tokens begin anew with another history.
func (w *World) Hold(but ...verify.Kind) {
	for _, n := range w.Nodes {
		if n.Process != nil && n.Running() {
			require.NoError(w.t, n.End(30*time.Second), n.name)
		}
	}
	report := verify.Check(w.runs(), verify.Rules{Silence: silence, Wake: wake + w.stalls.Worst()})
	for _, v := range report.Violations {
		require.Contains(w.t, but, v.Kind, v.String())
	}
	var longest time.Duration
	for _, g := range report.Gaps {
		longest = max(longest, g.Length())
	}
	w.t.Logf("%d runs, none at the same time as another of its job; longest gap %v", report.Runs, longest.Round(time.Millisecond))
}

// Each does something to all links of a node.
func (n *Node) Each(do func(*link.Link)) {
	for _, l := range n.Links {
		do(l)
	}
}

//go:build unix

package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

const (
	// patience is how long a test waits for what must happen sooner or later.
	patience = 40 * time.Second

	// silence is after how long without a tick a process is taken to have been
	// frozen, by us or by the machine. It is at least five ticks.
	silence = 250 * time.Millisecond

	// wake is how soon a process that was frozen must have stopped.
	wake = 50 * time.Millisecond

	// together is within which time all jobs of a node must be told to stop.
	together = 50 * time.Millisecond

	drift = 0.02 // the library's default
)

// options say what a world consists of.
type options struct {
	nodes  int // 3 if zero
	jobs   int // 1 if zero
	ttl    time.Duration
	leases int
	linger time.Duration
	term   time.Duration
	naive  bool
	block  string // what of the user's blocks for ever: "log" or "hooks"
	lively bool   // jobs fail, are prepared, and save

	balance bool
	tick    time.Duration // how often a job says that it runs, 5 ms if zero

	auth bool // each node has a user of its own, see authenticate
}

// world is a number of nodes on an etcd cluster, with a link between each node
// and each member, and all that is needed to judge them.
type world struct {
	options
	t        *testing.T
	ctx      context.Context
	dir      string
	app      string
	cluster  *Cluster
	register *Register
	history  *history
	stalls   *nodetest.StallMeter
	jobNames []string
	nodes    []*node
	began    time.Duration
	operated time.Duration // how long what an operator does has taken
}

// node is a node process and its links.
type node struct {
	*process.Process
	name  string
	links []*link.Link // by member
	log   *os.File
	life  int // how often it was started

	crashes  []time.Duration // when it was killed
	password string          // if etcd asks for one
}

// crash kills the node while it works.
func (n *node) crash() {
	n.crashes = append(n.crashes, monotonic())
	n.Kill()
}

func newCluster(t *testing.T, members int, change func(*memberConfig)) *Cluster {
	c, err := startCluster(t.Context(), t.TempDir(), members, change)
	require.NoError(t, err)
	t.Cleanup(c.close)
	return c
}

func newWorld(t *testing.T, cluster *Cluster, o options) *world {
	if o.nodes == 0 {
		o.nodes = 3
	}
	o.jobs, o.leases = max(o.jobs, 1), max(o.leases, 1)
	if o.ttl == 0 {
		o.ttl = 2 * time.Second
	}
	if o.tick == 0 {
		o.tick = 5 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	t.Cleanup(cancel)
	w := &world{options: o, t: t, ctx: ctx, dir: t.TempDir(), app: appOf(t), cluster: cluster, stalls: nodetest.StartStallMeter(t)}
	for i := range o.jobs {
		w.jobNames = append(w.jobNames, fmt.Sprintf("job-%d", i))
	}
	var err error
	w.register, err = startRegister()
	require.NoError(t, err)
	t.Cleanup(w.register.close)
	w.history = follow(cluster.client, w.app)
	t.Cleanup(w.history.close)
	t.Cleanup(w.destroy)
	for i := range o.nodes {
		n := &node{name: nodeName(i), password: secret}
		w.nodes = append(w.nodes, n)
		for _, m := range cluster.members {
			l, err := link.New(m.config.Client)
			require.NoError(t, err)
			n.links = append(n.links, l)
		}
	}
	return w
}

// appOf returns the name of the app of a test.
func appOf(t *testing.T) string { return strings.ReplaceAll(t.Name(), "/", ".") }

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }

// destroy leaves nothing behind, and shows the logs of a test that failed.
func (w *world) destroy() {
	for _, n := range w.nodes {
		if n.Process != nil {
			n.Kill()
			_ = n.log.Close()
		}
		for _, l := range n.links {
			l.Close()
		}
	}
	if !w.t.Failed() {
		return
	}
	for _, n := range w.nodes {
		w.show(filepath.Join(w.dir, n.name+".log"))
	}
	for _, m := range w.cluster.members {
		w.show(m.config.Dir + ".log")
	}
}

// show prints the end of a log.
func (w *world) show(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	w.t.Logf("%s:\n%s", filepath.Base(path), bytes.Join(lines[max(0, len(lines)-40):], []byte("\n")))
}

// start starts node i, and the whole world with the first of them.
func (w *world) start(i int) *node {
	n := w.nodes[i]
	var err error
	if n.log == nil {
		n.log, err = os.Create(filepath.Join(w.dir, n.name+".log"))
		require.NoError(w.t, err)
	}
	config := nodeConfig{
		Naive: w.naive, Block: w.block, App: w.app, Name: n.name, TTL: w.ttl, Jobs: w.jobNames, Leases: w.leases, Linger: w.linger, Term: w.term, Balance: w.balance, Tick: w.tick, Lively: w.lively,
		Records: w.records(), Register: w.register.listener.Addr().String(),
	}
	if config.ClockRate = "1.015"; i == 0 {
		config.ClockRate = "0.985"
	}
	if w.auth {
		config.Username, config.Password = n.name, n.password
	}
	for _, l := range n.links {
		config.Endpoints = append(config.Endpoints, l.Addr())
	}
	n.Process, err = process.Start(nodeRole, config, n.log)
	require.NoError(w.t, err)
	n.life++
	w.await(n.name+" has come", func() bool { return w.register.came(n.name) == n.life })
	return n
}

func (w *world) records() string { return filepath.Join(w.dir, "runs.jsonl") }

// startAll starts all nodes, the first one alone, so that it runs all jobs.
func (w *world) startAll() (leader *node) {
	leader = w.start(0)
	w.awaitRunning()
	for i := range w.nodes[1:] {
		w.start(i + 1)
	}
	candidates := len(w.nodes)
	if w.balance {
		candidates = min(candidates, 2)
	}
	w.awaitCandidates(candidates)
	w.began = monotonic()
	return leader
}

// allJobs returns the jobs of all leases.
func (w *world) allJobs() []string {
	var out []string
	for _, job := range w.jobNames {
		for i := range w.leases {
			out = append(out, jobOf(job, i))
		}
	}
	return out
}

// awaitRunning waits until every job has written within the last moments.
func (w *world) awaitRunning() {
	w.await("all jobs run", func() bool {
		return !slices.ContainsFunc(w.allJobs(), func(job string) bool {
			last, ok := w.register.holder(job)
			return !ok || monotonic()-last.at > 20*w.tick
		})
	})
}

// awaitTaken waits until every job runs, and none on n as it was.
func (w *world) awaitTaken(from map[string]written) {
	w.t.Helper()
	asked := monotonic()
	defer func() {
		if w.t.Failed() {
			w.showRuns(from, asked)
		}
	}()
	w.await("all jobs run elsewhere", func() bool {
		return !slices.ContainsFunc(w.allJobs(), func(job string) bool {
			last, ok := w.register.holder(job)
			return !ok || last.run() == from[job].run() || monotonic()-last.at > 20*w.tick
		})
	})
}

// holders returns who runs each job.
func (w *world) holders() map[string]written {
	out := map[string]written{}
	for _, job := range w.allJobs() {
		out[job], _ = w.register.holder(job)
	}
	return out
}

// heldBy returns the jobs that n runs: after a fault the others may run elsewhere.
func (w *world) heldBy(n *node) map[string]written {
	out := w.holders()
	for job, last := range out {
		if last.node != n.name {
			delete(out, job)
		}
	}
	return out
}

// holder returns the node that runs the first job.
func (w *world) holder() *node {
	last, _ := w.register.holder(w.jobNames[0])
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.name == last.node })
	require.GreaterOrEqual(w.t, i, 0, "somebody runs the first job")
	return w.nodes[i]
}

// awaitCandidates waits until n candidates wait for every job.
func (w *world) awaitCandidates(n int) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d candidates for every job", n), func() (all bool) {
		if w.naive {
			return len(w.naiveCandidates()) >= n*len(w.jobNames)
		}
		w.history.look(func(p *picture) {
			all = !slices.ContainsFunc(w.allJobs(), func(job string) bool { return p.candidates(job) < n })
		})
		return all
	})
}

// naiveCandidates returns the keys of candidates in etcd's own elections.
func (w *world) naiveCandidates() (keys []string) {
	w.history.look(func(p *picture) {
		for key := range p.values {
			if strings.Contains(key, "/leader/") {
				keys = append(keys, key)
			}
		}
	})
	return keys
}

func (w *world) await(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(w.t, "waited in vain: "+what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// each does something to all links of a node.
func (n *node) each(do func(*link.Link)) {
	for _, l := range n.links {
		do(l)
	}
}

// eachBut does something to the links of a node to all members but one.
func (n *node) eachBut(c *Cluster, member *Member, do func(*link.Link)) {
	for _, l := range n.links {
		if l != n.linkTo(c, member) {
			do(l)
		}
	}
}

func (n *node) linkTo(c *Cluster, m *Member) *link.Link { return n.links[slices.Index(c.members, m)] }

// gapAfterLoss is the bound for a job whose node is lost without a word: the
// TTL, the drift, and one second for the rest.
func (w *world) gapAfterLoss() time.Duration {
	return w.ttl + time.Duration(drift*float64(w.ttl)) + time.Second
}

// silentFor is the bound for how long a node goes on that hears nothing more from
// etcd: its validity, by a clock that may be slow, less the grace.
func (w *world) silentFor() time.Duration { return w.ttl - w.ttl/5 }

// slack is how long after the Work of a node that hears nothing more has returned
// another may begin: the grace that Work has left, and what is allowed for clocks.
func (w *world) slack() time.Duration {
	return w.ttl/5 - w.linger + time.Duration(2*drift*float64(w.ttl))
}

// verdict is what the oracles found.
type verdict struct {
	report         verify.Report
	runs           []verify.Run
	stale, wrong   []string
	contradictions []string
	longest        time.Duration // gap, the last one included if it has not ended
}

// end ends the world, and reads what the jobs have written down. Nodes that run must
// end when they are asked to.
func (w *world) end() (verify.Report, []verify.Run) {
	w.t.Helper()
	ends := make(chan error, len(w.nodes))
	for _, n := range w.nodes {
		go func() {
			var err error
			if n.Process != nil && n.Running() {
				if err = n.End(15 * time.Second); err != nil {
					err = fmt.Errorf("%s: %w", n.name, err)
				}
			}
			ends <- err
		}()
	}
	for range w.nodes {
		require.NoError(w.t, <-ends)
	}
	records, err := verify.ReadFiles(w.records())
	require.NoError(w.t, err)
	runs, err := verify.Runs(records)
	require.NoError(w.t, err)
	rules := verify.Rules{Silence: max(silence, 5*w.tick), Wake: wake}
	report := verify.Check(runs, rules)
	rules.Wake = w.wake() // which would make gaps longer than they are
	report.Violations = verify.Check(runs, rules).Violations
	return report, runs
}

// wake is how soon a process that was frozen must have stopped on a machine that may
// stand still meanwhile.
func (w *world) wake() time.Duration { return wake + w.stalls.Worst() }

// judge ends the world and asks the oracles.
func (w *world) judge() verdict {
	w.t.Helper()
	until := monotonic()
	var v verdict
	v.report, v.runs = w.end()
	v.stale, v.wrong = w.register.verdict()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	_, err := w.history.all(ctx, w.cluster.client)
	require.NoError(w.t, err)
	v.contradictions = w.history.contradictions(v.runs)
	v.longest = w.longestGap(v, until)
	return v
}

// longestGap looks from the start of the world to until.
func (w *world) longestGap(v verdict, until time.Duration) time.Duration {
	var longest time.Duration
	for _, g := range v.report.Gaps {
		if g.To > w.began && g.From < until {
			longest = max(longest, min(g.To, until)-w.ranUntil(g))
		}
	}
	for _, job := range w.allJobs() {
		var last time.Duration
		for _, r := range v.runs {
			if r.Job == job {
				last = max(last, r.End)
			}
		}
		longest = max(longest, until-last)
	}
	return longest
}

// ranUntil returns when a gap began. A job that never said that it stops ran
// until its node crashed, even if it had not come to say so for a while: a
// thousand jobs of one process wait for one another to tell the register.
func (w *world) ranUntil(g verify.Gap) time.Duration {
	if g.Before.Ended || g.Before.Told {
		return g.From
	}
	for _, n := range w.nodes {
		for _, at := range n.crashes {
			if n.name == g.Before.Node && at > g.From && at < g.To {
				return at
			}
		}
	}
	return g.From
}

// hold requires that the guarantee held, and that no gap was longer than bound.
// Only a process that was frozen, or stood still with the machine for longer than the
// slack, may have tried to write with a stale token.
func (w *world) hold(bound time.Duration, frozen bool) verdict {
	w.t.Helper()
	v := w.judge()
	stall := w.stalls.Worst()
	w.t.Logf("%d runs of %d jobs, longest gap %v (bound %v, machine late by %v), %d stale writes refused",
		v.report.Runs, v.report.Jobs, v.longest.Round(time.Millisecond), bound, stall.Round(time.Millisecond), len(v.stale))
	require.Empty(w.t, violations(v), "O1")
	require.Empty(w.t, v.wrong, "O2")
	if !frozen && stall <= w.slack() {
		require.Empty(w.t, v.stale, "O2: stale writes, and nobody was frozen")
	}
	require.Empty(w.t, v.contradictions, "O3")
	require.LessOrEqual(w.t, v.longest, bound+stall, "O4")
	return v
}

func violations(v verdict) []string {
	var out []string
	for _, x := range v.report.Violations {
		out = append(out, x.String())
	}
	return out
}

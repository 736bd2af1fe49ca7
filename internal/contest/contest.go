//go:build unix

// Package contest measures how a job moves from node to node when something happens to
// the node that runs it, with several ways of electing a leader on one server, in one
// run. Each way has three nodes, in processes and with a network of their own.
package contest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

// Tick is how often a job says that it runs.
const Tick = 20 * time.Millisecond

// Contender is a way of electing who runs a job.
type Contender struct {
	Name string

	// Run is a node of it. It calls running every Tick while the job runs here.
	Run func(ctx context.Context, n Node, running func()) error
}

// Node is what a node's process is told.
type Node struct {
	Name   string
	Server string // what Contest.Reach has returned

	Records string
}

// RunRole makes this process a node, or what more says, if its parent wants that. main
// calls it first thing.
func RunRole(contenders []Contender, more map[string]process.Role) {
	roles := map[string]process.Role{}
	maps.Copy(roles, more)
	for _, c := range contenders {
		roles[c.Name] = process.RoleOf(func(n Node) error { return run(n, c) })
	}
	process.RunRole(roles)
}

func run(n Node, c Contender) error {
	process.ExitWhenOrphaned()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	records, err := verify.Open(n.Records, n.Name)
	if err != nil {
		return err
	}
	var active *verify.Active
	err = c.Run(ctx, n, func() {
		if active == nil {
			active = records.Begin("job", 0)
		}
		active.Tick()
	})
	return errors.Join(err, records.Close())
}

// Contest is what contenders are measured on.
type Contest struct {
	Server string // host:port

	// Reach returns what a node is told so that it reaches the server at addr.
	Reach func(addr, node string) string

	// End ends a node's connections on the server, as TCP or an operator does it at
	// last. With nil that is not tried.
	End func(node string) error
}

// Run has all contenders go through all troubles at the same time, which takes some
// minutes, and returns a table.
func (c Contest) Run(contenders []Contender) (table string, err error) {
	dir, err := os.MkdirTemp("", "contest")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var wg sync.WaitGroup
	errs := make([]error, len(contenders))
	lines := make([]string, len(contenders))
	for i, who := range contenders {
		wg.Go(func() {
			var err error
			if lines[i], err = c.measure(who.Name, filepath.Join(dir, who.Name)); err != nil {
				errs[i] = fmt.Errorf("%s: %w", who.Name, err)
			}
		})
	}
	wg.Wait()
	return "| | how it moved | ran nowhere | ran twice |\n|---|---|---:|---:|\n" + strings.Join(lines, ""), errors.Join(errs...)
}

// trouble is what happens to the node that runs the job.
type trouble struct {
	name  string
	times int
	do    func(f *fleet, leader *node) error
	gone  bool // the node's process has ended
	ends  bool // its connections end on the server
}

var troubles = []trouble{
	{"the node stops in order", 5, func(_ *fleet, n *node) error { return n.End(30 * time.Second) }, true, false},
	{"the process is killed", 3, func(_ *fleet, n *node) error { n.Kill(); return nil }, true, false},
	{"the machine is gone", 1, func(_ *fleet, n *node) error { n.cutOff(); n.Kill(); return nil }, true, false},
	{"cut off", 3, func(_ *fleet, n *node) error { n.cutOff(); return nil }, false, false},
	{"cut off, and the server ends its connections", 3, func(f *fleet, n *node) error { n.cutOff(); return f.contest.End(n.name) }, false, true},
}

const (
	patience  = time.Minute      // for the job to run again
	aftermath = 15 * time.Second // for which one may run that should not
)

// outcome is what came of a trouble.
type outcome struct {
	least, most time.Duration // in which the job ran nowhere
	twice       time.Duration // in which it ran twice, at most
	never       bool          // it did not run again
}

func (o outcome) String() string {
	if o.never {
		return fmt.Sprintf("more than %v | 0", patience)
	}
	return fmt.Sprintf("%.2f to %.2f s | %.2f s", o.least.Seconds(), o.most.Seconds(), o.twice.Seconds())
}

// measure returns a contender's lines of the table.
func (c Contest) measure(contender, dir string) (lines string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	f := &fleet{contest: c, contender: contender, dir: dir}
	defer func() {
		for _, n := range f.nodes {
			n.close()
		}
	}()
	for _, t := range troubles {
		if t.ends && c.End == nil {
			continue
		}
		var o outcome
		for range t.times {
			for len(f.nodes) < 3 {
				if err := f.add(); err != nil {
					return lines, err
				}
			}
			if err := f.suffer(t, &o); err != nil {
				return lines, fmt.Errorf("%s: %w", t.name, err)
			}
		}
		lines += fmt.Sprintf("| %s | %s, %d times | %v |\n", contender, t.name, t.times, o)
	}
	return lines, nil
}

// fleet is the nodes of a contender.
type fleet struct {
	contest        Contest
	contender, dir string
	started        int
	nodes          []*node
}

type node struct {
	*process.Process
	name string
	link *link.Link
}

func (n *node) cutOff() { n.link.HoldUp(); n.link.HoldDown() }

func (n *node) close() {
	n.Kill()
	n.link.Close()
}

func (f *fleet) add() error {
	l, err := link.New(f.contest.Server)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(f.contender, " ", "-"), f.started)
	f.started++
	p, err := process.Start(f.contender, Node{name, f.contest.Reach(l.Addr(), name), filepath.Join(f.dir, name+".jsonl")}, io.Discard)
	if err != nil {
		return err
	}
	f.nodes = append(f.nodes, &node{p, name, l})
	return nil
}

// suffer lets trouble come over the node that runs the job, and looks what comes of it.
// That node is not used again.
func (f *fleet) suffer(t trouble, o *outcome) error {
	i, err := f.leader()
	if err != nil {
		return err
	}
	leader := f.nodes[i]
	time.Sleep(time.Second)
	troubled := f.lastTick(leader)
	if err := t.do(f, leader); err != nil {
		return err
	}
	f.nodes = slices.Delete(f.nodes, i, i+1)
	defer leader.close()
	next, ok := f.successor(troubled)
	if !ok {
		o.never = true
		if f.contest.End == nil {
			return nil
		}
		return f.contest.End(leader.name)
	}
	if !t.gone {
		time.Sleep(aftermath)
	}
	before := time.Duration(0)
	for _, at := range f.ticks(leader) {
		if at <= next {
			before = at
		}
	}
	gap := next - before
	if o.least == 0 || gap < o.least {
		o.least = gap
	}
	o.most = max(o.most, gap)
	o.twice = max(o.twice, f.lastTick(leader)-next)
	return nil
}

// leader waits until one of the nodes runs the job, and returns which.
func (f *fleet) leader() (int, error) {
	before := make([]time.Duration, len(f.nodes))
	for i, n := range f.nodes {
		before[i] = f.lastTick(n)
	}
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for i, n := range f.nodes {
			if f.lastTick(n) > before[i] {
				return i, nil
			}
		}
	}
	return 0, errors.New("the job does not run")
}

// successor waits until one of the nodes has run the job, and returns since when.
func (f *fleet) successor(after time.Duration) (first time.Duration, ok bool) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, n := range f.nodes {
			for _, at := range f.ticks(n) {
				if at > after && (first == 0 || at < first) {
					first = at
				}
			}
		}
		if first != 0 {
			return first, true
		}
	}
	return 0, false
}

// ticks returns when a node ran the job, by the clock that all of them share.
func (f *fleet) ticks(n *node) (all []time.Duration) {
	records, err := verify.ReadFiles(filepath.Join(f.dir, n.name+".jsonl"))
	if err != nil {
		return nil // it has not begun yet
	}
	for _, r := range records {
		all = append(all, time.Duration(r.Mono))
	}
	return all
}

func (f *fleet) lastTick(n *node) time.Duration {
	all := f.ticks(n)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1]
}

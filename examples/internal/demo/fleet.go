//go:build unix

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

const (
	maxNodes   = 9
	endTimeout = 30 * time.Second        // of a node that is to stop in order
	downtime   = 1200 * time.Millisecond // from the end of a node to its next start, at most
)

// fleet is all nodes. Its methods are safe for concurrent use.
type fleet struct {
	config   nodeConfig // but for Name and Endpoints
	etcd     []string   // addresses
	say      func(format string, args ...any)
	downtime time.Duration // between the end of a node and its next start
	report   func()        // where the jobs are

	ctx     context.Context // done when all are to stop
	cancel  context.CancelFunc
	actions sync.WaitGroup // under way
	watches sync.WaitGroup // on processes
	stopped sync.Once

	mu      sync.Mutex
	nodes   []*node
	frozen  bool // a node has been, at some time
	trouble error
}

// node is a node as its parent sees it. fleet.mu guards what changes.
type node struct {
	name  string
	links []*link.Link
	log   *os.File

	process     *process.Process
	state       state
	paused, cut bool
}

type state string

const (
	up       state = "up"
	stopping state = "stopping"
	down     state = "down"
)

var (
	errNoNode = errors.New("there is no such node")
	errNotNow = errors.New("not possible at the moment")
)

func newFleet(d *Demo, store *play.Store, records play.Records, jobs []string, say func(string, ...any), report func()) (*fleet, error) {
	f := &fleet{say: say, report: report, downtime: min(d.config.pause, downtime), config: nodeConfig{Apps: d.Apps, Jobs: jobs, Namespace: store.Prefix, Records: records.Dir}}
	for _, endpoint := range store.Endpoints {
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, err
		}
		f.etcd = append(f.etcd, u.Host)
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

// add starts another node.
func (f *fleet) add() (*node, error) {
	f.mu.Lock()
	n := &node{name: fmt.Sprintf("node-%d", len(f.nodes)+1), state: down}
	full := len(f.nodes) == maxNodes || f.ctx.Err() != nil
	if !full {
		f.nodes = append(f.nodes, n)
	}
	f.mu.Unlock()
	if full {
		return nil, errNotNow
	}
	f.say("%s starts.", n.name)
	return n, f.prepare(n)
}

// prepare makes what a node keeps for all its lives, and starts the first.
func (f *fleet) prepare(n *node) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.log, err = os.Create(filepath.Join(f.config.Records, n.name+".log")); err != nil {
		return err
	}
	for _, app := range f.config.Apps {
		runs, err := verify.Open(play.Records{Dir: f.config.Records}.File(recordOf(app, n.name)), n.name)
		if err != nil {
			return err
		}
		_ = runs.Close() // it is there, even if the node never gets to write it
	}
	for _, address := range f.etcd {
		l, err := link.New(address)
		if err != nil {
			return err
		}
		n.links = append(n.links, l)
	}
	return f.start(n)
}

// start starts the process of a node that is down, unless all are to stop. f.mu
// is held.
func (f *fleet) start(n *node) (err error) {
	if f.ctx.Err() != nil {
		return errNotNow
	}
	config := f.config
	config.Name = n.name
	for _, l := range n.links {
		config.Endpoints = append(config.Endpoints, l.Addr())
	}
	p, err := process.Start(nodeRole, config, n.log)
	if err != nil {
		return err
	}
	n.process, n.state, n.paused = p, up, false
	f.watches.Go(func() { f.watch(n, p) })
	return nil
}

// watch waits for a process to end, and starts another if nobody here ended it.
func (f *fleet) watch(n *node, p *process.Process) {
	<-p.Done()
	f.mu.Lock()
	unasked := n.process == p && n.state == up && f.ctx.Err() == nil
	if unasked {
		n.state = down
	}
	f.mu.Unlock()
	if unasked {
		f.mourn(n, p.Err())
		f.revive(n, leaseTTL+f.downtime) // others take over before
	}
}

// mourn takes down how a process ended. Somebody may have killed it from a shell.
func (f *fleet) mourn(n *node, err error) {
	if killedBy(err) == syscall.SIGKILL {
		f.say("%s has been killed by somebody else.", n.name)
		return
	}
	f.fail(n, fmt.Errorf("has ended by itself: %w", err))
}

// revive starts a node again after a while, unless all are to stop.
func (f *fleet) revive(n *node, after time.Duration) {
	if !play.Sleep(f.ctx, after) {
		return
	}
	f.report()
	f.mu.Lock()
	err := f.start(n)
	f.mu.Unlock()
	switch {
	case err == nil:
		f.say("%s starts again.", n.name)
	case f.ctx.Err() == nil:
		f.fail(n, err)
	}
}

// fail takes down what should not have happened to a node.
func (f *fleet) fail(n *node, err error) {
	f.say("%s: %v.", n.name, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = errors.Join(f.trouble, fmt.Errorf("%s: %w", n.name, err))
}

// stop ends all nodes in order, those that are frozen or cut off as well. A second
// stop does nothing.
func (f *fleet) stop() { f.stopped.Do(f.stopAll) }

func (f *fleet) stopAll() {
	f.cancel()
	f.actions.Wait()
	var wg sync.WaitGroup
	for _, n := range f.list() {
		n.heal()
		if n.state != up {
			continue
		}
		n.process.Resume()
		wg.Go(func() {
			f.end(&n)
		})
	}
	wg.Wait()
	f.watches.Wait()
	for _, n := range f.list() {
		for _, l := range n.links {
			l.Close()
		}
		if n.log != nil {
			_ = n.log.Close()
		}
	}
}

// end ends a process in order.
func (f *fleet) end(n *node) {
	err := n.process.End(endTimeout)
	if killedBy(err) == syscall.SIGTERM { // it had not begun yet
		return
	}
	if err != nil {
		f.fail(n, err)
	}
}

// killedBy returns the signal that a process ended by, or -1 if it was none.
func killedBy(err error) syscall.Signal {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return status.Signal()
		}
	}
	return -1
}

func (n *node) heal() {
	for _, l := range n.links {
		l.Heal()
	}
}

// list returns the nodes as they are now.
func (f *fleet) list() []node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var nodes []node
	for _, n := range f.nodes {
		nodes = append(nodes, *n)
	}
	return nodes
}

// was reports whether any node was frozen, and what has gone wrong.
func (f *fleet) was() (frozen bool, trouble error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.frozen, f.trouble
}

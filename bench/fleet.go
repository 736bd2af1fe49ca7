//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// fleet is an app with all its nodes in this process. Its jobs note when they
// begin and end.
type fleet struct {
	fleetSpec
	app   string
	names []string
	nodes []*node
	conns conns // of the nodes

	mu      sync.Mutex
	on      []int // by job, the node that runs it, -1 for none
	busy    []int // by node, how many jobs it runs
	running int   // jobs
	left    []time.Time
	gaps    []time.Duration
	filled  time.Time // when the last of the jobs began
	twice   error     // a job ran on two nodes at once
	lost    int       // leases
	starts  int       // of work

	full chan struct{} // capacity 1: all jobs run
}

// node is one life of a node, from its start until it has stopped.
type node struct {
	processor *distributed.LeadershipBasedJobProcessor // of ours
	stop      context.CancelFunc
	ended     chan struct{} // closed at the end; err is set before
	err       error
}

func newFleet(spec fleetSpec) *fleet {
	f := &fleet{
		fleetSpec: spec, app: newApp(), names: jobNames(spec.Jobs), nodes: make([]*node, spec.Nodes),
		on: make([]int, spec.Jobs), busy: make([]int, spec.Nodes), left: make([]time.Time, spec.Jobs),
		gaps: make([]time.Duration, 0, spec.Nodes*spec.Jobs),
		full: make(chan struct{}, 1),
	}
	for i := range f.on {
		f.on[i] = -1
	}
	return f
}

func jobNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("job-%05d", i)
	}
	return names
}

// start starts node i.
func (f *fleet) start(i int) { f.startWith(i, func(*distributed.LeadershipBasedJobProcessor) {}) }

// startWith starts node i when prepare has returned, if it is of ours.
func (f *fleet) startWith(i int, prepare func(*distributed.LeadershipBasedJobProcessor)) {
	ctx, stop := context.WithCancel(context.Background())
	n := &node{stop: stop, ended: make(chan struct{})}
	f.nodes[i] = n
	m := &member{
		endpoints: f.Endpoints, app: f.app, instance: fmt.Sprint("node-", i), ttl: fleetTTL, jobs: f.names,
		lost: f.lose, balanced: f.Scale, dial: f.conns.dial,
		work: func(ctx context.Context, job int) {
			f.enter(i, job)
			<-ctx.Done()
			f.leave(i, job)
		},
	}
	made := make(chan struct{})
	m.made = func(p *distributed.LeadershipBasedJobProcessor) {
		prepare(p)
		n.processor = p
		close(made)
	}
	go func() {
		defer close(n.ended)
		n.err = m.run(ctx, f.By)
	}()
	if f.By == byOurs {
		<-made
	}
}

// stopped waits until node i, which was told to stop, has done so.
func (f *fleet) stopped(ctx context.Context, i int) error {
	select {
	case <-f.nodes[i].ended:
		return f.nodes[i].err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fleet) stopAll() (err error) {
	for _, n := range f.nodes {
		if n != nil {
			n.stop()
		}
	}
	for _, n := range f.nodes {
		if n != nil {
			<-n.ended
			err = errors.Join(err, n.err)
		}
	}
	return errors.Join(err, f.twice)
}

func (f *fleet) enter(node, job int) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on[job] >= 0 {
		f.twice = fmt.Errorf("job %d runs on nodes %d and %d", job, f.on[job], node)
	}
	f.on[job] = node
	f.busy[node]++
	f.running++
	f.starts++
	if !f.left[job].IsZero() {
		f.gaps = append(f.gaps, now.Sub(f.left[job]))
	}
	f.filled = now
	if f.running == f.Jobs {
		select {
		case f.full <- struct{}{}:
		default:
		}
	}
}

func (f *fleet) lose(error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost++
}

func (f *fleet) leave(node, job int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on[job] = -1
	f.busy[node]--
	f.running--
	f.left[job] = time.Now()
}

// allRun blocks until all jobs run, none of them on node not, and returns when
// the last of them began.
func (f *fleet) allRun(ctx context.Context, not int) (time.Time, error) {
	for {
		select {
		case <-f.full:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for all jobs to run: %w", ctx.Err())
		}
		f.mu.Lock()
		done, at := f.running == f.Jobs && (not < 0 || f.busy[not] == 0), f.filled
		f.mu.Unlock()
		if done {
			return at, nil
		}
	}
}

// lastLeft returns when the last Work returned.
func (f *fleet) lastLeft() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.MaxFunc(f.left, time.Time.Compare)
}

// takeGaps returns how long each job had no runner, each time it moved since the
// last call.
func (f *fleet) takeGaps() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	gaps := f.gaps
	f.gaps = make([]time.Duration, 0, f.Nodes*f.Jobs)
	return gaps
}

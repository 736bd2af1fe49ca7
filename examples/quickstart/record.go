package main

import (
	"slices"
	"sync"
	"time"
)

// recorder writes down what the jobs do, all on one monotonic clock. It is safe
// for concurrent use.
type recorder struct {
	began   time.Time
	changed chan struct{} // woken when a run begins or ends

	mu      sync.Mutex
	runs    []run
	open    map[int]bool // indices of runs that have not ended
	steps   []step
	certain int // of the steps
}

func newRecorder() *recorder {
	return &recorder{began: time.Now(), changed: make(chan struct{}, 1), open: map[int]bool{}}
}

// now returns the time since the recorder was made.
func (r *recorder) now() time.Duration { return time.Since(r.began) }

// begin records that a run begins; the caller calls end when it is over.
func (r *recorder) begin(job, node string, token int64) (end func()) {
	defer r.wake()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.runs)
	r.runs = append(r.runs, run{job: job, node: node, token: token, start: r.now()})
	r.open[i] = true
	return func() { r.end(i) }
}

func (r *recorder) end(i int) {
	defer r.wake()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[i].end = r.now()
	delete(r.open, i)
}

// step records a step of a counter.
func (r *recorder) step(s step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, s)
	if !s.uncertain {
		r.certain++
	}
}

// running returns the nodes that run each job at this moment, and how many steps
// are certain so far.
func (r *recorder) running() (nodes map[string][]string, steps int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes = map[string][]string{}
	for i := range r.open {
		nodes[r.runs[i].job] = append(nodes[r.runs[i].job], r.runs[i].node)
	}
	return nodes, r.certain
}

// history returns what has been recorded about jobs. A run that has not ended
// goes on until now.
func (r *recorder) history(jobs []string) history {
	r.mu.Lock()
	defer r.mu.Unlock()
	runs := slices.Clone(r.runs)
	for i := range r.open {
		runs[i].end = r.now()
	}
	return history{jobs: jobs, runs: runs, steps: slices.Clone(r.steps)}
}

func (r *recorder) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

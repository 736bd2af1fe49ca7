package main

import (
	"slices"
	"sync"
	"time"
)

// board is where the jobs say what they do right now, for the display, and how
// they count. It is safe for concurrent use.
type board struct {
	began   time.Time
	changed chan struct{} // woken when a run begins or ends

	mu      sync.Mutex
	running map[string][]string // the nodes that run a job: more than one is one too many
	steps   map[string]steps    // of each job; to be read when all nodes have stopped
	made    int                 // of all steps, those that are certain
}

func newBoard() *board {
	return &board{began: time.Now(), changed: make(chan struct{}, 1), running: map[string][]string{}, steps: map[string]steps{}}
}

// show shows that node runs job, until hide is called.
func (b *board) show(job, node string) (hide func()) {
	b.change(func() { b.running[job] = append(b.running[job], node) })
	return func() {
		b.change(func() {
			i := slices.Index(b.running[job], node)
			b.running[job] = slices.Delete(b.running[job], i, i+1)
		})
	}
}

func (b *board) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// nodesOf returns the nodes that run job right now.
func (b *board) nodesOf(job string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.running[job])
}

// certain returns how many steps all jobs have made for certain.
func (b *board) certain() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.made
}

// step takes down a step of the job's counter. An uncertain one may or may not
// have reached etcd: its maker was stopped before it had the answer.
func (b *board) step(job string, number int64, certain bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.steps[job]
	if !ok {
		s = steps{made: map[int64]int{}, maybe: map[int64]bool{}}
		b.steps[job] = s
	}
	if !certain {
		s.maybe[number] = true
		return
	}
	s.made[number]++
	b.made++
}

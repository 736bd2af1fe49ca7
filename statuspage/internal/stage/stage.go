// Package stage plays apps to an observer, for tests of what is shown of them:
// nodes and jobs are what the test says, however many.
package stage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// Stage is a provider for [distributed.Observe], and the viewer that it opens.
// All methods are safe for concurrent use.
type Stage struct {
	mu       sync.Mutex
	view     *distributed.View
	shown    bool // somebody has view, which must not change any more
	outdated chan struct{}
	heard    map[string]time.Time // by node; now for those that are not in it
	closed   bool
	token    int64
}

// New returns a stage with nodes node-1, node-2, ... and jobs job-00001, ..., each
// of which is led by one node in turn, with the next as standby.
func New(nodes, jobs int) *Stage {
	s := &Stage{view: new(distributed.View), outdated: make(chan struct{}), heard: map[string]time.Time{}}
	s.Update(func(v *distributed.View) {
		for i := range nodes {
			v.Nodes = append(v.Nodes, Node(i+1))
		}
		for i := range jobs {
			v.Jobs = append(v.Jobs, distributed.JobView{Name: Job(i + 1)})
		}
	})
	for i := range jobs {
		s.play(&s.view.Jobs[i], ID(i%nodes+1), ID((i+1)%nodes+1))
	}
	return s
}

// Node is a node, and ID and Job are names, by number from 1 on.
func Node(n int) distributed.NodeView {
	return distributed.NodeView{ID: ID(n), Instance: fmt.Sprintf("node-%d", n), NodeInfo: distributed.NodeInfo{
		Version: "v1.4.2 3f2a91c07b55",
		Started: time.Now().Add(-time.Hour),
		Labels:  map[string]string{"zone": fmt.Sprintf("eu-%d", n%3+1)},
	}}
}

// ID is the ID of a node.
func ID(n int) string { return fmt.Sprintf("%08d", n) }

// Job is the name of a job.
func Job(n int) string { return fmt.Sprintf("job-%05d", n) }

// Update changes what there is to see.
func (s *Stage) Update(f func(v *distributed.View)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &distributed.View{Nodes: slices.Clone(s.view.Nodes), Jobs: slices.Clone(s.view.Jobs), Records: s.view.Records, Orders: s.view.Orders, Buried: maps.Clone(s.view.Buried), Unreadable: s.view.Unreadable}
	f(v)
	slices.SortFunc(v.Nodes, func(a, b distributed.NodeView) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(v.Jobs, func(a, b distributed.JobView) int { return cmp.Compare(a.Name, b.Name) })
	s.view, s.shown = v, false
	close(s.outdated)
	s.outdated = make(chan struct{})
}

// Lead makes nodes, by ID, the queue of a job; none at all means that nobody has
// it, and none but the first that nobody leads it any more.
func (s *Stage) Lead(job string, nodes ...string) {
	s.Update(func(v *distributed.View) {
		i := slices.IndexFunc(v.Jobs, func(j distributed.JobView) bool { return j.Name == job })
		if i < 0 {
			i = len(v.Jobs)
			v.Jobs = append(v.Jobs, distributed.JobView{Name: job})
		}
		s.play(&v.Jobs[i], nodes...)
		if len(nodes) == 0 {
			v.Jobs = slices.Delete(v.Jobs, i, i+1)
		}
	})
}

// Move hands a job to the node with that ID, for each job given.
func (s *Stage) Move(node string, jobs ...string) {
	s.Update(func(v *distributed.View) {
		for i := range v.Jobs {
			if slices.Contains(jobs, v.Jobs[i].Name) {
				s.play(&v.Jobs[i], node)
			}
		}
	})
}

// Play makes nodes the queue of the job with that index, among many. As with a real app,
// the list of all jobs is only made anew for whoever looks.
func (s *Stage) Play(job int, nodes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown {
		s.view, s.shown = &distributed.View{Nodes: s.view.Nodes, Jobs: slices.Clone(s.view.Jobs)}, false
	}
	s.play(&s.view.Jobs[job], nodes...)
	close(s.outdated)
	s.outdated = make(chan struct{})
}

func (s *Stage) play(j *distributed.JobView, nodes ...string) {
	j.Led, j.Queue = len(nodes) > 0, nil
	for _, n := range nodes {
		s.token++
		j.Queue = append(j.Queue, distributed.CandidateView{Node: n, Token: s.token})
	}
}

// Leave takes a node away, and what it led with it.
func (s *Stage) Leave(id string) {
	s.Update(func(v *distributed.View) {
		v.Nodes = slices.DeleteFunc(v.Nodes, func(n distributed.NodeView) bool { return n.ID == id })
		v.Jobs = slices.DeleteFunc(v.Jobs, func(j distributed.JobView) bool { return j.Queue[0].Node == id })
	})
}

// Bury takes a node away likewise, as others have not heard of it for too long.
func (s *Stage) Bury(id string) {
	s.Leave(id)
	s.Update(func(v *distributed.View) {
		if v.Buried == nil {
			v.Buried = map[string]string{}
		}
		v.Buried[id] = id
	})
}

// Silence implements [distributed.Viewer].
func (s *Stage) Silence() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	silence := map[string]time.Duration{}
	for _, n := range s.view.Nodes {
		if at, ok := s.heard[n.ID]; ok {
			silence[n.ID] = time.Since(at)
		} else {
			silence[n.ID] = 200 * time.Millisecond
		}
	}
	return silence
}

// Hush makes a node be heard of no more since d ago.
func (s *Stage) Hush(id string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[id] = time.Now().Add(-d)
}

// AcquireLease implements [distributed.LeaseProvider]: nobody can take part.
func (s *Stage) AcquireLease(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
	return nil, fmt.Errorf("%w: this is a stage", distributed.ErrPermanent)
}

// OpenView implements [distributed.LeaseProvider].
func (s *Stage) OpenView(context.Context, distributed.LeaseRequest) (distributed.Viewer, error) {
	return s, nil
}

// Age implements [distributed.Viewer].
func (s *Stage) Age() time.Duration { return 0 }

// View implements [distributed.Viewer].
func (s *Stage) View() (*distributed.View, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, distributed.ErrClosed
	}
	s.shown = true
	return s.view, s.outdated, nil
}

// Close implements [distributed.Viewer].
func (s *Stage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

//go:build unix

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/statuspage"
)

// show is an app as the parent, which is none of its nodes, sees it.
type show struct {
	App
	observer *distributed.Observer
	operator *distributed.Operator
	page     *statuspage.Page
	loop     sync.WaitGroup
	changed  func()

	mu      sync.Mutex
	leaders map[string]string // instances by job; of jobs that nobody leads, the last
	tally   Tally
	frozen  bool // the tally does not change any more
}

// Tally is how the jobs of an app are spread over its nodes.
type Tally struct {
	Running     int // jobs
	Loads       []load
	Least, Most int // jobs on a node
	Moves       int // so far
}

type load struct {
	Node string
	Jobs int
}

// Apart is by how many jobs the nodes differ.
func (t Tally) Apart() int { return t.Most - t.Least }

// String says how many jobs run on which node.
func (t Tally) String() string {
	var words []string
	for _, l := range t.Loads {
		words = append(words, fmt.Sprintf("%s %d", l.Node, l.Jobs))
	}
	return strings.Join(words, ", ")
}

// openShow returns when the app can be seen.
func openShow(ctx context.Context, app App, store *play.Store, changed func()) (*show, error) {
	provider := distributed.NewETCDLeaseProvider(store.Endpoints, distributed.WithNamespace(store.Prefix))
	observer, err := distributed.Observe(ctx, app.Name, provider)
	if err != nil {
		return nil, err
	}
	operator, err := distributed.NewOperator(ctx, app.Name, provider)
	if err != nil {
		return nil, errors.Join(err, observer.Close())
	}
	s := &show{App: app, observer: observer, operator: operator, changed: changed, leaders: map[string]string{}}
	who := func(*http.Request) string { return "operator" } // there is nobody else on this machine
	s.page = statuspage.New(observer, statuspage.WithTitle(app.Title), statuspage.WithSilence(leaseTTL), statuspage.WithOperator(operator, who))
	s.loop.Go(func() {
		for view := range observer.Views(context.Background()) { // until the observer is closed
			s.take(view)
		}
	})
	return s, nil
}

// take counts.
func (s *show) take(view *distributed.View) {
	s.mu.Lock()
	if !s.frozen {
		s.tally = s.count(view)
	}
	s.mu.Unlock()
	s.changed()
}

func (s *show) count(view *distributed.View) Tally {
	t := Tally{Moves: s.tally.Moves}
	at := map[string]int{} // index of loads, by node ID
	for i, n := range view.Nodes {
		t.Loads = append(t.Loads, load{Node: n.Instance})
		at[n.ID] = i
	}
	for _, job := range view.Jobs {
		if !job.Led {
			continue
		}
		i, ok := at[job.Queue[0].Node]
		if !ok {
			continue
		}
		t.Running++
		t.Loads[i].Jobs++
		before, now := s.leaders[job.Name], t.Loads[i].Node
		if before != "" && before != now {
			t.Moves++
		}
		s.leaders[job.Name] = now
	}
	sortLoads(t.Loads)
	for i, l := range t.Loads {
		if i == 0 || l.Jobs < t.Least {
			t.Least = l.Jobs
		}
		t.Most = max(t.Most, l.Jobs)
	}
	return t
}

func (s *show) current() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally
}

func (s *show) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = true
}

func (s *show) close() {
	_ = s.page.Close()
	_ = s.operator.Close()
	_ = s.observer.Close()
	s.loop.Wait()
}

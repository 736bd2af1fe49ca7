// Package leadergocron has a gocron scheduler run its tasks on one node only, the one
// that leads a job.
package leadergocron

import (
	"context"
	"errors"
	"sync"

	"github.com/b2552be4/distributed"
)

// Elector is a gocron.Elector, for gocron.WithDistributedElector. The zero value leads
// nothing until its Work is run. All methods are safe for concurrent use.
type Elector struct {
	mu    sync.Mutex
	term  *distributed.Leadership // nil while this node does not lead
	tasks sync.WaitGroup          // under way; nobody is added while term is nil
}

var errNotLeading = errors.New("leadergocron: another node leads")

// IsLeader implements gocron.Elector.
func (e *Elector) IsLeader(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == nil || !e.term.Valid() {
		return errNotLeading
	}
	return nil
}

// Work is the Work of the job whose leader runs the tasks. It returns when ctx is done
// and no Task is running any more.
func (e *Elector) Work(ctx context.Context) error {
	l, ok := distributed.LeadershipFromContext(ctx)
	if !ok {
		return errNotLeading
	}
	e.set(l)
	<-ctx.Done()
	e.set(nil)
	e.tasks.Wait()
	return ctx.Err()
}

func (e *Elector) set(l *distributed.Leadership) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.term = l
}

// Task wraps f for gocron.NewTask. It runs f while this node leads; the context of f is
// done when the leadership ends, and Work waits for f. A function that is given to
// gocron without Task may still be running when another node leads.
func (e *Elector) Task(f func(ctx context.Context) error) func() error {
	return func() error {
		e.mu.Lock()
		l := e.term
		if l == nil || !l.Valid() {
			e.mu.Unlock()
			return errNotLeading
		}
		e.tasks.Add(1)
		e.mu.Unlock()
		defer e.tasks.Done()
		return f(l.Context())
	}
}

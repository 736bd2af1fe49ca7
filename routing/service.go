package routing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// service is a job that is served here, under one leadership.
type service struct {
	leadership *distributed.Leadership
	handler    http.Handler
	ctx        context.Context // of its requests
	requests   sync.WaitGroup  // under way; nobody is added once it is not in the router's map
}

// Serve is for the Work of a job. Until ctx is done, handler answers the requests for
// the job that ctx belongs to: those that arrive at this node, and those that other
// nodes forward to it.
//
// It blocks until ctx is done, and then until handler has returned from all requests.
// Requests that take longer than [WithWait] are aborted; all of them at once, if
// leadership was lost: their contexts are done, their bodies and connections return
// errors, and their clients see a broken connection. So Serve returns whatever clients
// do; but it waits, for as long as it takes, for a handler that waits for something
// else and ignores its context.
//
// It then returns nil. If ctx is not that of a Work or a leadership, it returns an
// error that wraps [distributed.ErrInvalidConfig] at once.
func (r *Router) Serve(ctx context.Context, handler http.Handler) error {
	l, ok := distributed.LeadershipFromContext(ctx)
	switch {
	case r.observer == nil:
		return errNotMade
	case !ok:
		return fmt.Errorf("%w: routing: ctx belongs to no leadership", distributed.ErrInvalidConfig)
	case handler == nil:
		return fmt.Errorf("%w: routing: the handler of %q is nil", distributed.ErrInvalidConfig, l.Name())
	}
	serving, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil) // what a handler has hijacked may be left
	s := &service{leadership: l, handler: handler, ctx: serving}
	r.begin(s)
	<-ctx.Done()
	r.end(s)
	s.finish(context.Cause(ctx), r.wait, end)
	return nil
}

// finish waits until no request is under way. It calls end when those that are have
// had their time, or nobody may serve them here any more.
func (s *service) finish(cause error, wait time.Duration, end func(error)) {
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		s.requests.Wait()
	}()
	late := time.After(wait)
	look := time.NewTicker(lookPace) // ctx is done already: it does not tell that leadership is lost
	defer look.Stop()
	for over := errors.Is(cause, distributed.ErrLeadershipLost); !over; {
		select {
		case <-idle:
			return
		case <-late:
			over = true
		case <-look.C:
			if !s.leadership.Valid() {
				cause, over = errNotValid, true
			}
		}
	}
	end(cause)
	<-idle
}

// lookPace is how often a service that ends looks whether leadership has been lost.
const lookPace = 10 * time.Millisecond

// over returns why nothing may be served under the leadership any more, or nil.
func (s *service) over() error {
	switch {
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case !s.leadership.Valid():
		return errNotValid
	}
	return nil
}

var errNotValid = fmt.Errorf("%w: it is not valid any more", distributed.ErrLeadershipLost)

func (r *Router) begin(s *service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.served[s.leadership.Name()] = s
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Router) end(s *service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served[s.leadership.Name()] == s {
		delete(r.served, s.leadership.Name())
	}
}

// serveHere serves the request if this node leads the job right now, under token or a
// later one.
func (r *Router) serveHere(w http.ResponseWriter, req *http.Request, job string, token int64) bool {
	s := r.enter(job, token)
	if s == nil {
		return false
	}
	defer s.requests.Done()
	s.serve(w, req)
	return true
}

// enter returns what serves the job, with one request more under way.
func (r *Router) enter(job string, token int64) *service {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.served[job]
	if s == nil || s.leadership.Token() < token || !s.leadership.Valid() {
		return nil
	}
	s.requests.Add(1)
	return s
}

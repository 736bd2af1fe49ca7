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

// Serve is for the Work of a job. It has handler answer the requests for the job that
// ctx belongs to, those that come to this node and those that others pass on to it. It
// blocks until ctx is done, and then until no request is under way any more, whose
// contexts are done after a while ([WithWait]), or at once if leadership was lost. It
// returns nil then; and at once an error that wraps [distributed.ErrInvalidConfig] if
// ctx is not that of a Work or a leadership.
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
	defer end(nil)
	s := &service{leadership: l, handler: handler, ctx: serving}
	r.begin(s)
	<-ctx.Done()
	r.end(s)
	cause := context.Cause(ctx)
	if errors.Is(cause, distributed.ErrLeadershipLost) {
		end(cause)
	}
	defer time.AfterFunc(r.wait, func() { end(cause) }).Stop()
	s.requests.Wait()
	return nil
}

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
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	s.handler.ServeHTTP(w, req.WithContext(ctx))
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

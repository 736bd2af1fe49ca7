package routing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// Router is the [http.Handler] that New returns. All methods are safe for
// concurrent use. There is nothing to close.
type Router struct {
	observer  *distributed.Observer
	jobOf     func(*http.Request) string
	wait      time.Duration
	metadata  string
	transport http.RoundTripper

	mu      sync.Mutex
	served  map[string]*service // by job
	changed chan struct{}       // closed, and replaced, when there is another one in it
}

// New returns a router for the app of observer, which must stay open as long as the
// router is used. jobOf returns the name of the job that a request is for; for "" the
// answer is 404 Not Found. It is called for each request, concurrently. New does not
// block; it returns an error that wraps [distributed.ErrInvalidConfig] for wrong
// arguments.
func New(observer *distributed.Observer, jobOf func(*http.Request) string, opts ...Option) (*Router, error) {
	r := &Router{
		observer: observer, jobOf: jobOf, wait: time.Second, metadata: "address", transport: http.DefaultTransport,
		served: map[string]*service{}, changed: make(chan struct{}),
	}
	for _, o := range opts {
		if o == nil {
			return nil, fmt.Errorf("%w: routing: an option is nil", distributed.ErrInvalidConfig)
		}
		o(r)
	}
	switch {
	case observer == nil:
		return nil, fmt.Errorf("%w: routing: observer is nil", distributed.ErrInvalidConfig)
	case jobOf == nil:
		return nil, fmt.Errorf("%w: routing: jobOf is nil", distributed.ErrInvalidConfig)
	case r.wait < 0 || r.wait > maxWait:
		return nil, fmt.Errorf("%w: routing: WithWait is %v: must be from 0 to %v", distributed.ErrInvalidConfig, r.wait, maxWait)
	case r.metadata == "":
		return nil, fmt.Errorf("%w: routing: WithAddress is empty", distributed.ErrInvalidConfig)
	case r.transport == nil:
		return nil, fmt.Errorf("%w: routing: WithTransport is nil", distributed.ErrInvalidConfig)
	}
	return r, nil
}

const maxWait = time.Minute

// ServeHTTP answers a request if its job is served here, and forwards it to the node
// that leads the job if not; see the package documentation. If no node serves the job
// in time, it answers 503 Service Unavailable, with Retry-After.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.observer == nil {
		http.Error(w, errNotMade.Error(), http.StatusServiceUnavailable)
		return
	}
	job := r.jobOf(req)
	if job == "" {
		http.NotFound(w, req)
		return
	}
	if token, ok := r.passedOn(req, job); ok {
		r.servePassedOn(w, req, job, token)
		return
	}
	r.route(w, req, job)
}

// routeHeader marks a request that has been passed on, with the app, the job and the
// token of the leadership that it is meant for; and an answer that says that there is
// none such.
const routeHeader = "Distributed-Route"

func (r *Router) routeTo(job string, token int64) string {
	return r.routesTo(job) + strconv.FormatInt(token, 10)
}

func (r *Router) routesTo(job string) string {
	return url.QueryEscape(r.observer.App()) + "/" + url.QueryEscape(job) + "/"
}

func stale(route string) string { return "stale " + route }

// passedOn reports whether the request was passed on for job, and for which token.
// What else there is under the header is no route here: it is somebody else's, or
// a client's idea.
func (r *Router) passedOn(req *http.Request, job string) (token int64, ok bool) {
	for _, route := range req.Header[routeHeader] {
		if text, ours := strings.CutPrefix(route, r.routesTo(job)); ours {
			if t, err := strconv.ParseInt(text, 10, 64); err == nil {
				token, ok = t, true
			}
		}
	}
	return token, ok
}

// servePassedOn serves what another router has passed on, or says that its route is
// stale.
func (r *Router) servePassedOn(w http.ResponseWriter, req *http.Request, job string, token int64) {
	if r.serveHere(w, req, job, token) {
		return
	}
	if req.ContentLength != 0 {
		answerEarly(w.Header(), req)
	}
	w.Header().Set(routeHeader, stale(r.routeTo(job, token)))
	http.Error(w, fmt.Sprintf("%s is not led here under token %d", job, token), http.StatusMisdirectedRequest)
}

// route has the request answered. If it was sent and the connection broke, and it may be
// repeated, it waits for the next node as long as for the first.
func (r *Router) route(w http.ResponseWriter, req *http.Request, job string) {
	req = req.WithContext(req.Context()) // the server may change its own while the body is read
	b := &body{from: req.Body}
	defer func() { _ = b.stop() }()
	why := r.find(w, req, job, b)
	for errors.Is(why, errTryAgain) && errors.Is(why, errBroke) {
		why = r.find(w, req, job, b)
	}
	switch {
	case why == nil:
	case errors.Is(why, errNobody), errors.Is(why, errTryAgain):
		giveUp(w, job, cmp.Or(b.broke, why))
	default:
		badGateway(w, job, why)
	}
}

// find finds who serves job, for as long as a request may wait, and has the request
// answered. It returns what pass does, or errNobody.
func (r *Router) find(w http.ResponseWriter, req *http.Request, job string, b *body) error {
	deadline := time.Now().Add(r.wait)
	ctx, cancel := context.WithDeadline(req.Context(), deadline)
	defer cancel()
	why := errNobody
	for pace := time.Millisecond; ; pace = min(2*pace, maxPace) {
		changed := r.change()
		if r.serveHere(w, req, job, 0) {
			return nil
		}
		leader, err := r.observer.Await(ctx, job)
		if err != nil {
			return why
		}
		why = r.pass(deadline, w, req, leader, b)
		if ctx.Err() != nil || !errors.Is(why, errTryAgain) || errors.Is(why, errBroke) {
			return why
		}
		select {
		case <-changed:
		case <-time.After(pace):
		case <-ctx.Done():
			return why
		}
	}
}

// giveUp answers a request whose time is up.
func giveUp(w http.ResponseWriter, job string, why error) {
	if errors.Is(why, errBroke) {
		badGateway(w, job, why)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, fmt.Sprintf("%s: %v", job, why), http.StatusServiceUnavailable)
}

func badGateway(w http.ResponseWriter, job string, why error) {
	http.Error(w, fmt.Sprintf("%s: %v", job, why), http.StatusBadGateway)
}

// maxPace is how long a request that was refused sleeps at most before it is sent
// again: a node that leads may not serve yet, and nobody tells when it does.
const maxPace = 20 * time.Millisecond

func (r *Router) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Option changes a [Router]. Of an option given twice the last counts.
type Option func(*Router)

// WithWait sets how long a request waits for a node that serves its job, and how long a
// request that is being served may go on when its job is about to move: 0 to 1 min. With
// 0 a request is sent to the node that is known to lead, once, and waits for none. A node
// that is known has a second to accept the connection, even if that is longer. Default:
// 1 s.
func WithWait(d time.Duration) Option { return func(r *Router) { r.wait = d } }

// WithAddress sets which key of a node's metadata ([distributed.WithMetadata]) holds
// the URL to forward requests to, such as http://10.0.0.7:8080. A path in that URL is
// put before the path of the request. Default: address.
func WithAddress(key string) Option { return func(r *Router) { r.metadata = key } }

// WithTransport sets what sends requests to other nodes, such as a transport with TLS,
// or one that keeps more than two idle connections for each node. It must report to
// net/http/httptrace when it has a connection, as every [http.Transport] does. Default:
// [http.DefaultTransport].
func WithTransport(t http.RoundTripper) Option { return func(r *Router) { r.transport = t } }

var (
	errNotMade  = errors.New("routing: this Router was not made by New")
	errNobody   = errors.New("nobody leads it just now")
	errRefused  = errors.New("it does not serve it")
	errTryAgain = errors.New("to be sent again")
	errBroke    = errors.New("the connection broke")
)

// allowsRepetition reports whether a request may be sent again though it may have had
// its effect (RFC 9110, 9.2.2).
func allowsRepetition(method string) bool {
	switch cmp.Or(method, http.MethodGet) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

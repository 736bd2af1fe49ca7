package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/b2552be4/distributed"
)

// pass passes the request on to the leader, which has to be connected before ctx is
// done. It returns nil if the request was answered, errTryAgain if it may be sent
// again, and any other error if not.
func (r *Router) pass(ctx context.Context, w http.ResponseWriter, req *http.Request, leader distributed.Leader, b *body) error {
	target, err := url.Parse(leader.Metadata[r.metadata])
	if err != nil || target.Host == "" {
		return fmt.Errorf("%s leads %s, and has no URL in its metadata %q", leader.Instance, leader.Job, r.metadata)
	}
	attempt, cancel := context.WithCancel(req.Context())
	defer cancel()
	connected := context.AfterFunc(ctx, cancel)
	defer connected()
	var failure error
	route := r.routeTo(leader.Job, leader.Token)
	proxy := httputil.ReverseProxy{
		Transport: r.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.SetXForwarded()
			p.Out.Header.Add(routeHeader, route) // beside those of other jobs: routers that disagree find their own, and end it
			b.attach(p.Out)
		},
		ModifyResponse: func(answer *http.Response) error {
			if answer.StatusCode == http.StatusMisdirectedRequest && answer.Header.Get(routeHeader) == stale(route) {
				return errRefused
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
	}
	var connections atomic.Int64 // a transport may send what can be repeated more than once
	passed := req.WithContext(httptrace.WithClientTrace(attempt, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			connected()
			connections.Add(1)
		},
	}))
	passed.Body = http.NoBody // the proxy closes it; see attach
	proxy.ServeHTTP(w, passed)
	if failure == nil {
		return nil
	}
	again := b.detach() && req.Context().Err() == nil
	if errors.Is(failure, errRefused) || neverSent(failure) || ctx.Err() != nil && attempt.Err() != nil || b.failed != nil {
		failure = fmt.Errorf("%s did not take it: %w", leader.Instance, failure)
	} else {
		b.sent += max(1, int(connections.Load()))
		failure = fmt.Errorf("sent to %s, attempt %d, and %w: %w", leader.Instance, b.sent, errBroke, failure)
		again, b.broke = again && allowsRepetition(req.Method) && b.sent < maxSent, failure
	}
	if again {
		return fmt.Errorf("%w: %w", errTryAgain, failure)
	}
	return failure
}

// maxSent is how often a request that may be repeated is sent until its connection does
// not break: it may be what breaks the node.
const maxSent = 3

// neverSent reports whether there was not even a connection.
func neverSent(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

// body is that of a request, which may have to be sent again.
type body struct {
	from   *http.Request
	opened bool   // start has been read
	start  []byte // what is kept
	failed error  // why start could not be read
	sent   int    // how often it was sent and the connection broke
	broke  error  // how, the last time
	more   bool   // there is more, which can be sent once

	mu      sync.Mutex
	begun   bool // some of that has been read
	attempt int  // counts
}

// maxRepeated is how much of a body is kept to be sent again.
const maxRepeated = 1 << 20

func newBody(req *http.Request) *body { return &body{from: req} }

// attach gives the body to what is sent. It is read only now: a request that is
// served here reads it as it comes.
func (b *body) attach(out *http.Request) {
	b.open()
	out.ContentLength = b.from.ContentLength
	switch {
	case b.failed != nil:
		out.Body = io.NopCloser(failing{b.failed})
	case len(b.start) == 0:
		out.Body = http.NoBody
	case b.more:
		out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b.start), &rest{b, b.attempt}))
	default:
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.start)), nil }
		out.Body = io.NopCloser(bytes.NewReader(b.start))
	}
}

func (b *body) open() {
	if b.opened || b.from.Body == nil || b.from.Body == http.NoBody {
		return
	}
	b.opened = true
	b.start, b.failed = io.ReadAll(io.LimitReader(b.from.Body, maxRepeated))
	b.more = len(b.start) == maxRepeated
}

// detach keeps what was sent from reading on, and reports whether the body can be
// sent again.
func (b *body) detach() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempt++
	return !b.begun && b.failed == nil
}

// rest is what comes behind the part of a body that is kept. A transport may go on
// reading for a while after it has failed.
type rest struct {
	*body
	of int // the attempt whose it is
}

func (r *rest) Read(p []byte) (int, error) {
	r.mu.Lock()
	over := r.attempt != r.of
	r.begun = r.begun || !over
	r.mu.Unlock()
	if over {
		return 0, errTryAgain
	}
	return r.from.Body.Read(p)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

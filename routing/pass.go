package routing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/b2552be4/distributed"
)

// pass passes the request on to the leader, which has to be connected by deadline, or
// within minConnect. It returns nil if the request was answered, errTryAgain if it may
// be sent again, and any other error if not.
func (r *Router) pass(deadline time.Time, w http.ResponseWriter, req *http.Request, leader distributed.Leader, b *body) error {
	target, err := url.Parse(leader.Metadata[r.metadata])
	if err != nil || target.Host == "" {
		return fmt.Errorf("%s leads %s, and has no URL in its metadata %q", leader.Instance, leader.Job, r.metadata)
	}
	attempt, cancel := context.WithCancel(req.Context())
	defer cancel()
	late := time.AfterFunc(max(time.Until(deadline), minConnect), cancel)
	defer late.Stop()
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
		},
		ModifyResponse: func(answer *http.Response) error {
			if answer.StatusCode == http.StatusMisdirectedRequest && answer.Header.Get(routeHeader) == stale(route) {
				return errRefused
			}
			if b.unread() {
				answerEarly(answer.Header, req)
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
	}
	var connections atomic.Int64 // a transport may send what can be repeated more than once
	passed := req.WithContext(httptrace.WithClientTrace(attempt, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			late.Stop()
			connections.Add(1)
		},
	}))
	passed.Body, passed.GetBody = b.again(), b.getAgain
	passed.Trailer = nil // a read that is still under way may be filling it; the proxy would copy it before it is full anyway
	proxy.ServeHTTP(w, passed)
	if failure == nil {
		return nil
	}
	gone := b.stop()
	again := gone == nil && req.Context().Err() == nil
	tooLate := attempt.Err() != nil && connections.Load() == 0
	if errors.Is(failure, errRefused) || neverSent(failure) || tooLate || errors.Is(failure, gone) {
		failure = fmt.Errorf("%s did not take it: %w", leader.Instance, failure)
	} else {
		b.sent += max(1, int(connections.Load()))
		failure = fmt.Errorf("sent to %s, attempt %d, and %w: %w", leader.Instance, b.sent, errBroke, failure)
		again, b.broke = again && allowsRepetition(req.Method) && b.sent < maxSent, failure
	}
	if again {
		req.Body = b.again() // it may be served here next
		return fmt.Errorf("%w: %w", errTryAgain, failure)
	}
	return failure
}

// maxSent is how often a request that may be repeated is sent until its connection does
// not break: it may be what breaks the node.
const maxSent = 3

// minConnect is how long a node that is known has at least to be connected, however
// short a time a request may wait.
const minConnect = time.Second

// answerEarly has an answer sent before all of the request has come. A server of HTTP/1
// would first read the rest, and so wait for a client that may wait for the answer; it
// does not if it closes the connection. (With EnableFullDuplex it does not either, but
// cannot use the connection again if its handler has left something: Go 1.26 panics.)
func answerEarly(answer http.Header, req *http.Request) {
	if req.ProtoMajor == 1 {
		answer.Set("Connection", "close")
	}
}

// neverSent reports whether there was not even a connection.
func neverSent(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

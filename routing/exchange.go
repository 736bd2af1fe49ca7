package routing

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// exchange is the answer to a request that is served here. It is broken off with its
// service: a client that sends nothing, or reads nothing, must not keep the job.
type exchange struct {
	http.ResponseWriter
	service *service
	mu      sync.Mutex // of deadlines
}

// serve has the handler answer a request, until it returns.
func (s *service) serve(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithCancelCause(requestContext{req.Context(), s.ctx})
	defer cancel(nil)
	x := &exchange{ResponseWriter: w, service: s}
	broken := make(chan struct{})
	keep := context.AfterFunc(s.ctx, func() {
		defer close(broken)
		cancel(context.Cause(s.ctx))
		x.breakOff()
	})
	defer func() {
		if !keep() {
			<-broken // the connection may carry another request from now on
		}
	}()
	served := req.WithContext(ctx)
	if req.Header[routeHeader] != nil { // it says nothing to a handler, and means nothing to whom that may call
		served.Header = req.Header.Clone()
		served.Header.Del(routeHeader)
	}
	if req.Body != nil && req.Body != http.NoBody {
		served.Body = &requestBody{req.Body, s}
	}
	s.handler.ServeHTTP(x, served)
	if s.over() != nil && req.Context().Value(http.ServerContextKey) != nil {
		panic(http.ErrAbortHandler) // nobody shall take for an answer what there is of it
	}
}

// breakOff wakes up a handler that reads or writes. A ResponseWriter of somebody's who
// hides the deadlines makes it wait for the client; see the package's doc.
func (x *exchange) breakOff() {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := http.NewResponseController(x.ResponseWriter)
	_, _ = c.SetReadDeadline(longAgo), c.SetWriteDeadline(longAgo)
}

var longAgo = time.Unix(1, 0)

func (x *exchange) SetReadDeadline(t time.Time) error {
	return x.control(func(c *http.ResponseController) error { return c.SetReadDeadline(t) })
}

func (x *exchange) SetWriteDeadline(t time.Time) error {
	return x.control(func(c *http.ResponseController) error { return c.SetWriteDeadline(t) })
}

// control lets a handler set a deadline, but not undo breakOff.
func (x *exchange) control(set func(*http.ResponseController) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.service.over(); err != nil {
		return err
	}
	return set(http.NewResponseController(x.ResponseWriter))
}

func (x *exchange) WriteHeader(status int) {
	if x.service.over() == nil {
		x.ResponseWriter.WriteHeader(status)
	}
}

func (x *exchange) Write(p []byte) (int, error) {
	if err := x.service.over(); err != nil {
		return 0, err
	}
	return x.ResponseWriter.Write(p)
}

func (x *exchange) Flush() { _ = x.FlushError() } // a Flusher has nowhere to report to

func (x *exchange) FlushError() error {
	if err := x.service.over(); err != nil {
		return err
	}
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Hijack gives the handler a connection that is closed with the service, also if the
// handler has returned by then.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	keep := context.AfterFunc(x.service.ctx, func() { _ = conn.Close() }) // which the handler hears of
	return &hijacked{conn, keep}, buffered, nil
}

// hijacked is a connection that a handler has taken over.
type hijacked struct {
	net.Conn
	keep func() bool // from being closed with the service
}

func (c *hijacked) Close() error {
	c.keep()
	return c.Conn.Close()
}

// CloseWrite is what a proxy asks for.
func (c *hijacked) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// requestBody gives a handler nothing that has come after the end of the service.
type requestBody struct {
	io.ReadCloser
	service *service
}

func (b *requestBody) Read(p []byte) (int, error) {
	if err := b.service.over(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if over := b.service.over(); over != nil {
		return 0, over
	}
	return n, err
}

// requestContext is that of a request, and belongs to the leadership that it is served
// under.
type requestContext struct {
	context.Context
	service context.Context
}

func (c requestContext) Value(key any) any {
	if l, ok := c.service.Value(key).(*distributed.Leadership); ok {
		return l
	}
	return c.Context.Value(key)
}

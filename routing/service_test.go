package routing_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/routing"
)

// soon waits for what happens at once, unless a client can prevent it.
func soon[T any](t *testing.T, what <-chan T) T {
	t.Helper()
	select {
	case v := <-what:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("it has not happened")
		panic("unreachable")
	}
}

// dial sends a request by hand.
func dial(t *testing.T, url, request string) net.Conn {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	return conn
}

const bodiless = "POST /job-0 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" // not to be repeated

// stalls are handlers that wait for their clients. Each says when it does, and how that
// ended.
var stalls = map[string]struct {
	request string
	wait    func(w http.ResponseWriter, r *http.Request, waiting func()) error
}{
	"in the body": {"POST /job-0 HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("x", 2<<20), func(_ http.ResponseWriter, r *http.Request, waiting func()) error {
		waiting()
		_, err := io.ReadAll(r.Body)
		return err
	}},
	"in the answer": {bodiless, func(w http.ResponseWriter, _ *http.Request, waiting func()) error {
		for i := 0; ; i++ {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
			if i == 0 {
				waiting()
			}
		}
	}},
	"in a hijacked connection": {bodiless, func(w http.ResponseWriter, _ *http.Request, waiting func()) error {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		waiting()
		_, err = buffered.ReadByte()
		return err
	}},
}

func TestAClientThatStallsDoesNotKeepAJob(t *testing.T) {
	for name, stall := range stalls {
		for _, end := range []string{"lost", "moved", "moved, and passed on"} {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				wait := 20 * time.Millisecond
				if end == "lost" {
					wait = time.Minute
				}
				f := newFleet(t, 1)
				waiting, ended := make(chan struct{}), make(chan error, 1)
				a := f.start("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ended <- stall.wait(w, r, func() { close(waiting) })
				}), routing.WithWait(wait))
				a.serves(t)
				url := a.server.URL
				if end == "moved, and passed on" {
					front, _ := f.front(routing.WithWait(time.Minute))
					entry := httptest.NewServer(front)
					defer entry.Close()
					url = entry.URL
				}
				client := dial(t, url, stall.request)
				defer client.Close()
				soon(t, waiting)
				if end == "lost" {
					f.hub.Expire("a")
				} else {
					go a.stop()
				}
				require.Error(t, soon(t, ended))
				soon(t, a.returned)
			})
		}
	}
}

func TestAStreamThatStallsDoesNotKeepAJob(t *testing.T) {
	f := newFleet(t, 1)
	waiting, ended := make(chan struct{}), make(chan error, 1)
	a := f.start("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(waiting)
		_, err := io.ReadAll(r.Body)
		ended <- err
	}), routing.WithWait(time.Minute))
	a.serves(t)
	entry := httptest.NewUnstartedServer(a.router)
	entry.EnableHTTP2 = true
	entry.StartTLS()
	defer entry.Close()
	body, client := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		answer, err := entry.Client().Post(entry.URL+"/job-0", "text/plain", body)
		if err == nil {
			err = answer.Body.Close()
		}
		answered <- err
	}()
	soon(t, waiting)
	f.hub.Expire("a")
	require.ErrorIs(t, soon(t, ended), distributed.ErrLeadershipLost)
	soon(t, a.returned)
	require.NoError(t, client.Close())
	require.Error(t, soon(t, answered), "it is not told 200")
}

// TestNothingIsReadOrWrittenAfterALoss by a handler that does not stop, whatever its
// client does.
func TestNothingIsReadOrWrittenAfterALoss(t *testing.T) {
	f := newFleet(t, 1)
	serving, gone, sent, ended := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan []error, 1)
	a := f.start("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(serving)
		<-r.Context().Done()
		close(gone)
		<-sent
		n, read := io.ReadAll(r.Body)
		assert.Empty(t, n)
		w.WriteHeader(http.StatusAccepted)
		_, wrote := fmt.Fprint(w, "done")
		c := http.NewResponseController(w)
		ended <- []error{read, wrote, c.Flush(), c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}), context.Cause(r.Context())}
	}))
	a.serves(t)
	client := dial(t, a.server.URL, "POST /job-0 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
	defer client.Close()
	soon(t, serving)
	f.hub.Expire("a")
	soon(t, gone)
	_, err := io.WriteString(client, "xyz")
	require.NoError(t, err)
	close(sent)
	for i, err := range soon(t, ended) {
		require.ErrorIs(t, err, distributed.ErrLeadershipLost, i)
	}
	_, err = http.ReadResponse(bufio.NewReader(client), nil)
	require.Error(t, err, "it is not told 200")
}

// late is a body that has all there is to read, when it is let go.
type late struct{ reading, letGo chan struct{} }

func (b late) Read(p []byte) (int, error) {
	close(b.reading)
	<-b.letGo
	return len(p), nil
}

// TestWhatHasComeWhenLeadershipIsLostIsNotRead either.
func TestWhatHasComeWhenLeadershipIsLostIsNotRead(t *testing.T) {
	f := newFleet(t, 1)
	body := late{make(chan struct{}), make(chan struct{})}
	gone, ended := make(chan struct{}), make(chan error, 1)
	a := f.start("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(gone) })
		n, err := r.Body.Read(make([]byte, 3))
		assert.Zero(t, n)
		ended <- err
	}))
	a.serves(t)
	go a.router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/job-0", body))
	soon(t, body.reading)
	f.hub.Expire("a")
	soon(t, gone)
	close(body.letGo)
	require.ErrorIs(t, soon(t, ended), distributed.ErrLeadershipLost)
}

// TestAnUnfinishedAnswerIsNotTakenForWhole though the ResponseWriter hides deadlines.
func TestAnUnfinishedAnswerIsNotTakenForWhole(t *testing.T) {
	f := newFleet(t, 1)
	serving := make(chan struct{})
	a := f.start("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "some")
		close(serving)
		<-r.Context().Done()
		fmt.Fprint(w, "more")
	}))
	a.serves(t)
	entry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.router.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	}))
	defer entry.Close()
	client := dial(t, entry.URL, bodiless)
	defer client.Close()
	soon(t, serving)
	f.hub.Expire("a")
	_, err := http.ReadResponse(bufio.NewReader(client), nil)
	require.Error(t, err)
}

// TestALossDuringAMoveEndsRequests though the job has been told to move before.
func TestALossDuringAMoveEndsRequests(t *testing.T) {
	f := newFleet(t, 1)
	serving, moving, cause := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	a := f.start("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		l, _ := distributed.LeadershipFromContext(r.Context())
		close(serving)
		<-l.Context().Done()
		close(moving)
		<-r.Context().Done()
		cause <- context.Cause(r.Context())
	}), routing.WithWait(time.Minute))
	a.serves(t)
	client := dial(t, a.server.URL, bodiless)
	defer client.Close()
	soon(t, serving)
	go a.stop()
	soon(t, moving)
	f.hub.Expire("a")
	require.ErrorIs(t, soon(t, cause), distributed.ErrLeadershipLost)
	soon(t, a.returned)
}

// TestAHijackedConnectionEndsWithTheService if its handler has left it to others.
func TestAHijackedConnectionEndsWithTheService(t *testing.T) {
	f := newFleet(t, 1)
	ended := make(chan error, 1)
	a := f.start("a", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		_, err = io.WriteString(conn, "hello")
		assert.NoError(t, err)
		assert.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
		go func() {
			defer conn.Close()
			_, err := buffered.ReadByte()
			ended <- err
		}()
	}))
	a.serves(t)
	client := dial(t, a.server.URL, bodiless)
	defer client.Close()
	said, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "hello", string(said))
	a.stop()
	require.ErrorIs(t, soon(t, ended), net.ErrClosed)
}

// TestARequestBelongsToItsLeadership and keeps what else it carries.
func TestARequestBelongsToItsLeadership(t *testing.T) {
	type key struct{}
	f := newFleet(t, 1)
	a := f.start("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l, ok := distributed.LeadershipFromContext(r.Context())
		fmt.Fprint(w, ok && l.Valid() && l.Token() > 0, " ", l.Name(), " ", r.Context().Value(key{}))
	}))
	a.serves(t)
	served := func(ctx context.Context) string {
		w := httptest.NewRecorder()
		a.router.ServeHTTP(w, httptest.NewRequestWithContext(context.WithValue(ctx, key{}, "kept"), http.MethodGet, "/job-0", nil))
		return w.Body.String()
	}
	require.Equal(t, "true job-0 kept", served(t.Context()))

	other := distributed.NewConcurrency("other", "a", distributed.NewMemoryLeaseProvider(f.hub))
	defer other.Close()
	outer, err := other.Campaign(t.Context(), "outer")
	require.NoError(t, err)
	require.Equal(t, "true job-0 kept", served(outer.Context()), "a handler may call the router of another app")
}

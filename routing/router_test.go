package routing_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/routing"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

// fleet is some nodes of an app, each with a server of its own.
type fleet struct {
	t    *testing.T
	hub  *distributed.MemoryHub
	jobs int
}

type node struct {
	name     string
	observer *distributed.Observer
	router   *routing.Router
	server   *httptest.Server
	stop     func()

	returned chan struct{} // has something whenever Serve has returned
}

func newFleet(t *testing.T, jobs int) *fleet {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &fleet{t, new(distributed.MemoryHub), jobs}
}

func jobOf(r *http.Request) string { return strings.Trim(r.URL.Path, "/") }

// front is a router in a process that runs no jobs.
func (f *fleet) front(opts ...routing.Option) (*routing.Router, *distributed.Observer) {
	observer, err := distributed.Observe(f.t.Context(), "app", distributed.NewMemoryLeaseProvider(f.hub))
	require.NoError(f.t, err)
	f.t.Cleanup(func() { assert.NoError(f.t, observer.Close()) })
	router, err := routing.New(observer, jobOf, opts...)
	require.NoError(f.t, err)
	return router, observer
}

// start starts a node whose jobs are served by handler.
func (f *fleet) start(name string, handler http.Handler, opts ...routing.Option) *node {
	n := &node{name: name, returned: make(chan struct{}, 1)}
	n.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.router.ServeHTTP(w, r) }))
	processor := distributed.NewLeadershipBasedJobProcessor("app", name, distributed.NewMemoryLeaseProvider(f.hub), nil,
		distributed.WithMetadata(map[string]string{"address": n.server.URL}),
		distributed.WithLoadBalancing(distributed.WithSettleTime(10*time.Millisecond)))
	observer, err := processor.Observe(f.t.Context())
	require.NoError(f.t, err)
	n.observer = observer
	n.router, err = routing.New(observer, jobOf, opts...)
	require.NoError(f.t, err)
	for i := range f.jobs {
		require.NoError(f.t, processor.AddJob(distributed.Job{Name: fmt.Sprint("job-", i), Work: func(ctx context.Context) error {
			err := n.router.Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodHead { // see probe
					handler.ServeHTTP(w, r)
				}
			}))
			select {
			case n.returned <- struct{}{}:
			default:
			}
			return err
		}}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	executed := make(chan error, 1)
	go func() { executed <- processor.Execute(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(f.t, <-executed)
		n.server.Close() // waits for what is under way
		assert.NoError(f.t, observer.Close())
	})
	f.t.Cleanup(n.stop)
	return n
}

// serves waits until requests for job-0 are answered here.
func (n *node) serves(t *testing.T) {
	require.Eventually(t, func() bool { return n.probe(t) == http.StatusOK }, time.Minute, time.Millisecond)
}

func (n *node) probe(t *testing.T) int {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/job-0", nil)
	r.Header.Set("Distributed-Route", "app/job-0/0")
	w := httptest.NewRecorder()
	n.router.ServeHTTP(w, r)
	return w.Code
}

func says(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %d", s, len(b))
	})
}

func ask(ctx context.Context, url, method string, body []byte) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	return do(req)
}

func do(req *http.Request) (int, string, error) {
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), err
}

func TestARollingRestartUnderLoadCostsNoErrors(t *testing.T) {
	f := newFleet(t, 12)
	front, observer := f.front(routing.WithWait(10 * time.Second)) // a second does on a machine that is not busy
	entry := httptest.NewServer(front)
	defer entry.Close()
	nodes := make([]*node, 3)
	for i := range nodes {
		nodes[i] = f.start(fmt.Sprint("node-", i), says("done"))
	}
	for i := range f.jobs {
		_, err := observer.Await(t.Context(), fmt.Sprint("job-", i))
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var answered, failed atomic.Int64
	for client := range 6 {
		clients.Go(func() {
			for i := client; ctx.Err() == nil; i++ {
				status, body, err := ask(context.Background(), fmt.Sprintf("%s/job-%d", entry.URL, i%f.jobs), http.MethodGet, nil)
				if err != nil || status != http.StatusOK {
					failed.Add(1)
					t.Log(status, body, err)
				}
				answered.Add(1)
			}
		})
	}
	for round := range 2 {
		for i := range nodes {
			name := nodes[i].name
			nodes[i].stop()
			nodes[i] = f.start(name, says("done"))
			was := answered.Load()
			for leaders := range observer.Updates(t.Context()) { // until the new one runs its part
				led := 0
				for _, l := range leaders {
					if l.Instance == name {
						led++
					}
				}
				if led >= f.jobs/len(nodes) {
					break
				}
			}
			t.Logf("round %d, %s: %d answered", round, name, answered.Load()-was)
		}
	}
	cancel()
	clients.Wait()
	require.Zero(t, failed.Load(), "of %d", answered.Load())
	require.Positive(t, answered.Load())
	t.Logf("%d requests, %d errors", answered.Load(), failed.Load())
}

func TestARequestWaitsForALeader(t *testing.T) {
	f := newFleet(t, 1)
	front, observer := f.front(routing.WithWait(time.Minute))
	entry := httptest.NewServer(front)
	defer entry.Close()
	answer := make(chan string, 1)
	go func() {
		_, body, err := ask(context.Background(), entry.URL+"/job-0", http.MethodPost, []byte("some"))
		answer <- fmt.Sprint(body, err)
	}()
	f.start("a", says("a"))
	require.Equal(t, "a 4<nil>", <-answer)
	l, ok := observer.Locate("job-0")
	require.True(t, ok)
	require.Equal(t, "a", l.Instance)
}

func TestARequestThatNobodyServesIsToldSoInTime(t *testing.T) {
	f := newFleet(t, 1)
	front, _ := f.front(routing.WithWait(time.Millisecond))
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))

	w = httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	require.Equal(t, http.StatusNotFound, w.Code, "it is for no job")
}

func TestWhatWasPassedOnIsNotPassedOnAgain(t *testing.T) {
	f := newFleet(t, 1)
	a := f.start("a", says("a"))
	front, observer := f.front(routing.WithWait(time.Minute))
	l, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	get := func(h http.Handler, token int64) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil)
		r.Header.Set("Distributed-Route", fmt.Sprint("app/job-0/", token))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusMisdirectedRequest, get(front, l.Token), "it runs elsewhere")
	require.Equal(t, http.StatusMisdirectedRequest, get(a.router, l.Token+1), "meant for a later leadership")
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil))
	require.Equal(t, "a 0", w.Body.String())
	require.Equal(t, http.StatusOK, get(a.router, l.Token))
	require.Equal(t, http.StatusOK, get(a.router, l.Token-1), "the route is old, and right")
}

// TestAMoveLetsRequestsEnd shows that Serve returns only when they have.
func TestAMoveLetsRequestsEnd(t *testing.T) {
	f := newFleet(t, 1)
	began, goOn := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-goOn
		fmt.Fprint(w, context.Cause(r.Context()))
	})
	a := f.start("a", slow, routing.WithWait(time.Minute))
	front, _ := f.front(routing.WithWait(time.Minute))
	answer := make(chan string, 1)
	go func() {
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/job-0", nil))
		answer <- w.Body.String()
	}()
	<-began
	stopped := make(chan struct{})
	go func() { defer close(stopped); a.stop() }()
	require.Eventually(t, func() bool { return a.probe(t) == http.StatusMisdirectedRequest }, time.Minute, time.Millisecond)
	f.start("b", says("b"))
	next := make(chan string, 1)
	go func() {
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/job-0", nil))
		next <- w.Body.String()
	}()
	select {
	case <-stopped:
		t.Fatal("Serve has returned before its request")
	case got := <-next:
		t.Fatal("answered beside another: ", got)
	default:
	}
	close(goOn)
	require.Equal(t, "<nil>", <-answer)
	<-stopped
	require.Equal(t, "b 0", <-next)
}

func TestALossEndsRequests(t *testing.T) {
	f := newFleet(t, 1)
	began := make(chan struct{})
	cause := make(chan error, 1)
	var once sync.Once
	a := f.start("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			close(began)
			<-r.Context().Done()
			cause <- context.Cause(r.Context())
		})
	}), routing.WithWait(time.Minute))
	go a.router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/job-0", nil))
	<-began
	f.hub.Expire("a")
	require.ErrorIs(t, <-cause, distributed.ErrLeadershipLost)
}

// refuser refuses a number of requests as a node would that does not serve the job, but
// reads them first.
type refuser struct {
	refusals atomic.Int64
	bodies   chan int
}

func (s *refuser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	case s.refusals.Add(-1) >= 0:
		refuse(w, r)
	default:
		s.bodies <- len(b)
	}
}

// leads has a node lead job that serves nothing, until stop is called.
func (f *fleet) leads(job, address string) (stop func()) {
	processor := distributed.NewLeadershipBasedJobProcessor("app", "other", distributed.NewMemoryLeaseProvider(f.hub),
		[]distributed.Job{{Name: job, Work: func(ctx context.Context) error { <-ctx.Done(); return nil }}},
		distributed.WithMetadata(map[string]string{"address": address}))
	ctx, cancel := context.WithCancel(context.Background())
	executed := make(chan error, 1)
	go func() { executed <- processor.Execute(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); assert.NoError(f.t, <-executed) })
	f.t.Cleanup(stop)
	return stop
}

func TestARefusedRequestIsSentAgainWithItsBody(t *testing.T) {
	f := newFleet(t, 0)
	other := &refuser{bodies: make(chan int, 1)}
	server := httptest.NewServer(other)
	defer server.Close()
	f.leads("job-0", server.URL)
	front, _ := f.front(routing.WithWait(time.Minute))
	entry := httptest.NewServer(front)
	defer entry.Close()
	post := func(body io.Reader) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, entry.URL+"/job-0", body)
		require.NoError(t, err)
		status, text, err := do(req)
		require.NoError(t, err)
		return status, text
	}
	for _, size := range []int{0, 1, 1<<20 - 1, 1 << 20} {
		for _, body := range []io.Reader{bytes.NewReader(make([]byte, size)), io.MultiReader(bytes.NewReader(make([]byte, size)))} { // with a length, and without
			other.refusals.Store(3)
			status, text := post(body)
			require.Equal(t, http.StatusOK, status, text)
			require.Equal(t, size, <-other.bodies)
		}
	}
	other.refusals.Store(1)
	status, text := post(bytes.NewReader(make([]byte, 1<<20+1)))
	require.Equal(t, http.StatusBadGateway, status, text)

	status, text = post(bytes.NewReader(make([]byte, 5<<20)))
	require.Equal(t, http.StatusOK, status, text)
	require.Equal(t, 5<<20, <-other.bodies)
}

// breaker takes a request and breaks the connection, some times.
type breaker struct{ times, seen atomic.Int64 }

func (s *breaker) ServeHTTP(http.ResponseWriter, *http.Request) {
	s.seen.Add(1)
	if s.times.Add(-1) >= 0 {
		panic(http.ErrAbortHandler)
	}
}

func TestWhatMayHaveHadItsEffectIsRepeatedOnlyIfItMayBe(t *testing.T) {
	f := newFleet(t, 0)
	other := new(breaker)
	server := httptest.NewServer(other)
	defer server.Close()
	f.leads("job-0", server.URL)
	front, _ := f.front(routing.WithWait(time.Minute), routing.WithTransport(&http.Transport{DisableKeepAlives: true}))
	entry := httptest.NewServer(front)
	defer entry.Close()
	other.times.Store(2)
	status, _, err := ask(t.Context(), entry.URL+"/job-0", http.MethodPut, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 3, other.seen.Load())

	other.times.Store(1)
	status, body, err := ask(t.Context(), entry.URL+"/job-0", http.MethodPost, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, status, body)
	require.EqualValues(t, 4, other.seen.Load())
	require.Contains(t, body, "sent to other, attempt 1, and the connection broke: ")
}

func TestARequestThatBreaksConnectionsIsNotSentForLong(t *testing.T) {
	f := newFleet(t, 0)
	other := new(breaker)
	server := httptest.NewServer(other)
	defer server.Close()
	f.leads("job-0", server.URL)
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	front, _ := f.front(routing.WithWait(time.Minute), routing.WithTransport(transport))
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		other.times.Store(0) // the connection is kept: the transport itself sends a GET on another if it breaks
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/job-0", nil))
		require.Equal(t, http.StatusOK, w.Code)

		other.times.Store(1000)
		other.seen.Store(0)
		w = httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/job-0", nil))
		require.Equal(t, http.StatusBadGateway, w.Code, w.Body)
		require.Contains(t, w.Body.String(), "sent to other, attempt 3, and the connection broke: ")
		require.EqualValues(t, 3, other.seen.Load(), method)
	}
}

// TestWhatBrokeIsNotCalledUnavailable when nobody leads the job after that.
func TestWhatBrokeIsNotCalledUnavailable(t *testing.T) {
	f := newFleet(t, 0)
	leave := make(chan func(), 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		(<-leave)()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	stop := f.leads("job-0", server.URL)
	front, observer := f.front(routing.WithWait(5 * time.Second))
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	leave <- func() {
		stop()
		for leaders := range observer.Updates(t.Context()) {
			if len(leaders) == 0 {
				break
			}
		}
	}
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil))
	require.Equal(t, http.StatusBadGateway, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "the connection broke")
}

func TestANodeThatIsAwayIsTriedForAsLongAsARequestMayWait(t *testing.T) {
	f := newFleet(t, 0)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	f.leads("job-0", server.URL)
	front, observer := f.front(routing.WithWait(30 * time.Millisecond))
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/job-0", strings.NewReader("x")))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "other did not take it")
}

// deaf is a transport that gets no connection until the request is given up.
type deaf struct{}

func (deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestANodeThatDoesNotConnectIsGivenUpInTime(t *testing.T) {
	f := newFleet(t, 0)
	f.leads("job-0", "http://192.0.2.1")
	front, observer := f.front(routing.WithWait(30*time.Millisecond), routing.WithTransport(deaf{}))
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

func TestANodeWithoutAnAddressIsAnErrorThatSaysSo(t *testing.T) {
	f := newFleet(t, 0)
	f.leads("job-0", "")
	front, observer := f.front()
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil))
	require.Equal(t, http.StatusBadGateway, w.Code)
	require.Contains(t, w.Body.String(), `other leads job-0, and has no URL in its metadata "address"`)
}

func TestWrongArguments(t *testing.T) {
	f := newFleet(t, 0)
	_, observer := f.front()
	for name, err := range map[string]error{
		"observer is nil":  second(routing.New(nil, jobOf)),
		"jobOf is nil":     second(routing.New(observer, nil)),
		"an option is nil": second(routing.New(observer, jobOf, nil)),
		"WithWait is -1ns": second(routing.New(observer, jobOf, routing.WithWait(-1))),
		"WithAddress":      second(routing.New(observer, jobOf, routing.WithAddress(""))),
		"WithTransport":    second(routing.New(observer, jobOf, routing.WithTransport(nil))),
	} {
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, name)
	}
	r, err := routing.New(observer, jobOf)
	require.NoError(t, err)
	require.ErrorIs(t, r.Serve(t.Context(), says("")), distributed.ErrInvalidConfig)
	require.Error(t, new(routing.Router).Serve(t.Context(), says("")))
	w := httptest.NewRecorder()
	new(routing.Router).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

func second(_ *routing.Router, err error) error { return err }

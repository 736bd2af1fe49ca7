package routing_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/routing"
)

// TestARouteThatIsNoneIsIgnored: a client that sends it is a client like any other, and
// no handler sees it.
func TestARouteThatIsNoneIsIgnored(t *testing.T) {
	f := newFleet(t, 1)
	a := f.start("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q", r.Header["Distributed-Route"], r.Header["Other"])
	}))
	front, observer := f.front(routing.WithWait(time.Minute))
	_, err := observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	for _, route := range []string{"", "x", "stale", "1", "app/job-0/", "app/job-0/x", "app/job-0", "app/job-1/1", "app2/job-0/1", "/job-0/1", "app/job-0/99999999999999999999"} {
		for _, h := range []http.Handler{front, a.router} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil)
			r.Header.Set("Distributed-Route", route)
			r.Header.Set("Other", "y")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, http.StatusOK, w.Code, "%q: %s", route, w.Body)
			require.Equal(t, `[] ["y"]`, w.Body.String())
			require.Equal(t, route, r.Header.Get("Distributed-Route"), "the request of who called the router is his")
		}
	}
}

// TestOneRoutedAppMayStandBehindAnother also if both have one name, jobs of one name,
// and the tokens of the first are the greater ones.
func TestOneRoutedAppMayStandBehindAnother(t *testing.T) {
	second := newFleet(t, 1)
	behind := second.start("behind", says("behind"), routing.WithWait(time.Minute))
	target, err := url.Parse(behind.server.URL)
	require.NoError(t, err)
	first := newFleet(t, 1)
	store := first.hub.Open("x")
	for i := range 100 {
		_, err := store.Put(t.Context(), fmt.Sprint("other/", i), []byte("x"), 0)
		require.NoError(t, err)
	}
	require.NoError(t, store.Close())
	first.start("a", httputil.NewSingleHostReverseProxy(target))
	front, _ := first.front(routing.WithWait(time.Minute))
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/job-0", nil))
	require.Equal(t, "behind 0", w.Body.String())
}

// TestWhatOthersRefuseIsAnAnswer and no reason to send the request again.
func TestWhatOthersRefuseIsAnAnswer(t *testing.T) {
	f := newFleet(t, 0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Distributed-Route", r.Header.Get("Answer"))
		w.WriteHeader(http.StatusMisdirectedRequest)
	}))
	defer server.Close()
	f.leads("job-0", server.URL)
	front, _ := f.front(routing.WithWait(time.Minute))
	for _, answer := range []string{"", "stale", "stale app/job-0/999", "stale app2/job-0/1"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/job-0", nil)
		r.Header.Set("Answer", answer)
		w := httptest.NewRecorder()
		front.ServeHTTP(w, r)
		require.Equal(t, http.StatusMisdirectedRequest, w.Code)
	}
}

// TestRoutersThatDisagreeDoNotSendARequestInCircles: each takes it to be for a job that
// runs where the other is.
func TestRoutersThatDisagreeDoNotSendARequestInCircles(t *testing.T) {
	f := newFleet(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hops := make(chan string, 1000)
	var routers [2]*routing.Router
	for i := range routers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hops <- fmt.Sprint(i, len(r.Header["Distributed-Route"]))
			if len(hops) == 10 {
				cancel() // the routers would try for longer
			}
			routers[i].ServeHTTP(w, r)
		}))
		defer server.Close()
		f.leads(fmt.Sprint("job-", 1-i), server.URL)
		observer, err := distributed.Observe(t.Context(), "app", distributed.NewMemoryLeaseProvider(f.hub))
		require.NoError(t, err)
		defer observer.Close()
		routers[i], err = routing.New(observer, func(*http.Request) string { return fmt.Sprint("job-", i) }, routing.WithWait(time.Minute))
		require.NoError(t, err)
	}
	routers[0].ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	require.GreaterOrEqual(t, len(hops), 10)
	for len(hops) > 0 {
		require.Contains(t, []string{"1 1", "0 2"}, <-hops, "which router, and how many routes by then")
	}
}

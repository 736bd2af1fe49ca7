package statuspage_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage"
)

// operated returns a page that takes orders for an app in which one node runs x.
func operated(t *testing.T, who func(*http.Request) string) (*statuspage.Page, *distributed.Operator) {
	provider := distributed.NewMemoryLeaseProvider(nil)
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "a", provider, []distributed.Job{
		{Name: "x", Work: func(ctx context.Context) error { <-ctx.Done(); return nil }},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- processor.Execute(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	observer, err := processor.Observe(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, observer.Close()) })
	_, err = observer.Await(t.Context(), "x")
	require.NoError(t, err)
	operator, err := distributed.NewOperator(t.Context(), "shop", provider)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, operator.Close()) })
	page := statuspage.New(observer, statuspage.WithOperator(operator, who, "jobs.example"))
	t.Cleanup(func() { require.NoError(t, page.Close()) })
	return page, operator
}

func post(page http.Handler, order string, change ...func(r *http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/status/orders", strings.NewReader(order))
	r.Host = "localhost:8080"
	r.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	return w
}

func TestOrdersOfOtherSitesAreRefused(t *testing.T) {
	page, operator := operated(t, func(r *http.Request) string { return r.Header.Get("X-User") })
	const pause = `{"verb":"pause","job":"x","why":"repair"}`
	ann := func(r *http.Request) { r.Header.Set("X-User", "ann") }
	for name, c := range map[string]struct {
		change func(r *http.Request)
		status int
	}{
		"another origin": {func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, http.StatusForbidden},
		"another site":   {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		"a name that rebinds": {func(r *http.Request) {
			r.Host = "evil.example:8080"
			r.Header.Set("Origin", "http://evil.example:8080")
		}, http.StatusForbidden},
		"a form":         {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, http.StatusUnsupportedMediaType},
		"nobody":         {func(r *http.Request) { r.Header.Del("X-User") }, http.StatusForbidden},
		"another method": {func(r *http.Request) { r.Method = http.MethodDelete }, http.StatusMethodNotAllowed},
	} {
		require.Equal(t, c.status, post(page, pause, ann, c.change).Code, name)
	}
	require.Equal(t, http.StatusBadRequest, post(page, "nonsense", ann).Code)
	require.Equal(t, http.StatusBadRequest, post(page, `{"verb":"explode"}`, ann).Code)
	require.Equal(t, http.StatusBadRequest, post(page, pause+` {"verb":"pause-all"}`, ann).Code, "two orders")
	require.Equal(t, http.StatusBadRequest, post(page, pause+`}`, ann).Code)
	require.Equal(t, http.StatusBadRequest, post(page, `{"verb":"pause","why":"`+strings.Repeat("x", 32<<10)+`"}`, ann).Code)
	require.Equal(t, http.StatusBadRequest, post(page, `{"verb":"pause"}`, ann).Code, "not all of them")
	require.Equal(t, http.StatusNotFound, post(page, `{"verb":"pause","job":"y"}`, ann).Code)
	require.Empty(t, operator.Orders())

	for i, host := range []string{"jobs.example", "127.0.0.1:1", "[::1]:1"} {
		status := http.StatusNoContent
		if i > 0 {
			status = http.StatusConflict
		}
		require.Equal(t, status, post(page, pause, ann, func(r *http.Request) { r.Host = host }).Code, host)
	}
	require.Contains(t, post(page, pause, ann).Body.String(), "x is paused by ann: repair")
}

func TestAnOrderOfAClientThatHasGoneIsNotGiven(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	page, operator := operated(t, func(r *http.Request) string {
		leave()
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
			t.Error("nobody is told that the client has gone")
		}
		return "ann"
	})
	server := httptest.NewServer(page)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/orders", strings.NewReader(`{"verb":"pause","job":"x"}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	_, err = server.Client().Do(r)
	require.ErrorIs(t, err, context.Canceled)
	server.Close() // once the order has been dealt with
	require.NoError(t, operator.Pause(t.Context(), "x", distributed.Note{By: "bob"}), "it was not paused")
}

// A node without balancing campaigns for no job that is paused; what is done stays so.
func TestJobsThatArePausedTogetherAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		p, _ := s.execute("node-1", untilDone, []string{"invoices"})
		require.NoError(t, p.AddJob(distributed.Job{Name: "migration", Work: func(context.Context) error { return distributed.ErrDone }}))
		o, err := distributed.NewOperator(t.Context(), "shop", s.provider())
		require.NoError(t, err)
		defer func() { require.NoError(t, o.Close()) }()
		time.Sleep(time.Minute)
		require.NoError(t, o.PauseAll(t.Context(), distributed.Note{By: "ann"}))
		time.Sleep(time.Minute)
		page := show(t, s.provider())
		states := map[string]string{}
		for _, j := range jobs(t, page, "").Jobs {
			states[j.Name] = j.State
		}
		require.Equal(t, map[string]string{"invoices": "paused", "migration": "done"}, states)
		for _, j := range p.Status().Jobs {
			require.Equal(t, states[j.Name], string(j.State), j.Name)
		}
	})
}

func TestEachButtonGivesItsOrder(t *testing.T) {
	page, _ := operated(t, func(*http.Request) string { return "ann" })
	for _, c := range []struct {
		order  string
		status int
	}{
		{`{"verb":"pause-all"}`, http.StatusNoContent},
		{`{"verb":"resume-all"}`, http.StatusNoContent},
		{`{"verb":"resume","job":"x"}`, http.StatusNotFound},
		{`{"verb":"move","job":"x","instance":"a"}`, http.StatusNotFound}, // it does not balance
		{`{"verb":"pin","job":"x","instance":"a"}`, http.StatusNotFound},
		{`{"verb":"unpin","job":"x"}`, http.StatusNotFound},
		{`{"verb":"forget","job":"x"}`, http.StatusNotFound},
		{`{"verb":"drain","instance":"a"}`, http.StatusNoContent},
		{`{"verb":"undrain","instance":"a"}`, http.StatusNoContent},
		{`{"verb":"resign","job":"y"}`, http.StatusNotFound},
	} {
		w := post(page, c.order)
		require.Equal(t, c.status, w.Code, "%s: %s", c.order, w.Body)
	}
}

func TestAPageWithoutAnOperatorTakesNoOrders(t *testing.T) {
	observer, err := distributed.Observe(t.Context(), "shop", distributed.NewMemoryLeaseProvider(nil))
	require.NoError(t, err)
	defer observer.Close()
	page := statuspage.New(observer)
	defer page.Close()
	require.Equal(t, http.StatusMethodNotAllowed, post(page, `{"verb":"pause-all"}`).Code)
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status/", nil))
	require.NotContains(t, w.Body.String(), "orders.js")
}

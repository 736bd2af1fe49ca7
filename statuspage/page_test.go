package statuspage_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage"
	"github.com/b2552be4/distributed/statuspage/internal/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is the nodes of an app on one hub, inside a bubble of virtual time. The
// leases have a TTL of 10 s and a grace of 2 s.
type shop struct {
	t   *testing.T
	hub distributed.MemoryHub
}

func (s *shop) provider() distributed.LeaseProvider {
	return distributed.NewMemoryLeaseProvider(&s.hub)
}

// execute starts a node, which runs until stop is called, or the test ends.
func (s *shop) execute(instance string, work func(context.Context) error, names []string, opts ...distributed.ProcessorOption) (p *distributed.LeadershipBasedJobProcessor, stop func()) {
	var jobs []distributed.Job
	for _, name := range names {
		jobs = append(jobs, distributed.Job{Name: name, Work: work})
	}
	p = distributed.NewLeadershipBasedJobProcessor("shop", instance, s.provider(), jobs, opts...)
	ctx, cancel := context.WithCancel(s.t.Context())
	var executing sync.WaitGroup
	executing.Go(func() {
		if err := p.Execute(ctx); err != nil {
			s.t.Error(err)
		}
	})
	stop = func() { cancel(); executing.Wait() }
	s.t.Cleanup(stop)
	synctest.Wait()
	return p, stop
}

// show opens a page of what provider sees.
func show(t *testing.T, provider distributed.LeaseProvider, opts ...statuspage.Option) *statuspage.Page {
	o, err := distributed.Observe(t.Context(), "shop", provider)
	require.NoError(t, err)
	page := statuspage.New(o, opts...)
	t.Cleanup(func() { require.NoError(t, page.Close()); require.NoError(t, o.Close()) })
	return page
}

// get asks the page, mounted below /status/, once what it shows is new.
func get(t *testing.T, page http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	time.Sleep(time.Second)
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status/"+path, nil))
	return w
}

// shown is what the page serves as JSON.
type shown struct {
	Title string
	Self  string
	Store struct {
		State   string
		Silence int `json:"silence_ms"`
	}
	Nodes []struct {
		ID, Instance, Version string
		Labels, Metadata      map[string]string
		Draining, Gone        bool
		Went                  string
		Jobs, Standby         int
		Silence               int `json:"silence_ms"`
	}
	Jobs []struct {
		Name, Node, State string
		Since             *time.Time
		Token             int64
		Standby           int
	}
	Moves []struct {
		Job, From, To string
		Number, Token int64
		Gap           *float64 `json:"gap_ms"`
		Lost          bool
	}
	Stuck []struct{ Job, Cause string }
}

func jobs(t *testing.T, page http.Handler, query string) (s shown) {
	t.Helper()
	w := get(t, page, "jobs"+query)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s))
	return s
}

func untilDone(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func stopsAfter(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error { <-ctx.Done(); time.Sleep(d); return nil }
}

func TestJSONSaysWhoRunsWhatSinceWhenAndWhatMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		_, stop := s.execute("node-1", untilDone, []string{"invoices", "newsletter"}, distributed.WithLoadBalancing(),
			distributed.WithVersion("v1"), distributed.WithMetadata(map[string]string{"address": "10.0.0.1:80"}))
		time.Sleep(10 * time.Second) // it has waited for others, and runs the jobs
		page := show(t, s.provider(), statuspage.WithTitle("The shop"))
		s.execute("node-2", untilDone, []string{"invoices", "newsletter"}, distributed.WithLoadBalancing(), distributed.WithVersion("v2"))
		time.Sleep(time.Minute)

		got := jobs(t, page, "")
		require.Equal(t, "The shop", got.Title)
		require.Empty(t, got.Self)
		require.Equal(t, "reachable", got.Store.State)
		require.Len(t, got.Nodes, 2)
		require.Equal(t, "node-1", got.Nodes[0].Instance)
		require.Equal(t, "v1", got.Nodes[0].Version)
		require.Equal(t, map[string]string{"address": "10.0.0.1:80"}, got.Nodes[0].Metadata)
		require.Equal(t, 1, got.Nodes[0].Jobs)
		require.Equal(t, 1, got.Nodes[0].Standby)
		require.LessOrEqual(t, got.Nodes[0].Silence, 2500)
		require.Len(t, got.Jobs, 2)
		require.Len(t, got.Moves, 1)
		move := got.Moves[0]
		require.Equal(t, "node-1", move.From)
		require.Equal(t, "node-2", move.To)
		require.Zero(t, *move.Gap, "it stood by")
		require.False(t, move.Lost)
		for _, j := range got.Jobs {
			require.Equal(t, "running", j.State)
			require.Equal(t, 1, j.Standby)
			leader, token := s.hub.Leader("shop", j.Name)
			require.Equal(t, token, j.Token)
			if j.Name == move.Job {
				require.Equal(t, "node-2", leader)
				require.Equal(t, got.Nodes[1].ID, j.Node)
				require.Equal(t, token, move.Token)
				require.NotNil(t, j.Since)
			} else {
				require.Equal(t, got.Nodes[0].ID, j.Node)
				require.Nil(t, j.Since, "it ran before the page looked")
			}
		}

		stop()
		got = jobs(t, page, "")
		require.Len(t, got.Moves, 2)
		require.True(t, got.Nodes[0].Gone, "it left a moment ago")
		require.Equal(t, "left", got.Nodes[0].Went)
		require.Zero(t, got.Nodes[0].Jobs)
		require.Equal(t, 2, got.Nodes[1].Jobs)
		time.Sleep(2 * time.Minute)
		require.Len(t, jobs(t, page, "").Nodes, 1)
	})
}

func TestGapOfAJobThatNobodyWaitedForIsHowLongNobodyLedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		_, stop := s.execute("node-1", untilDone, []string{"invoices", "newsletter"})
		_, stopOther := s.execute("node-3", untilDone, []string{"other"})
		page := show(t, s.provider())
		time.Sleep(time.Minute - 2500*time.Millisecond)
		stopOther()
		stop()
		got := jobs(t, page, "?q=invoices")
		require.Len(t, got.Jobs, 1)
		require.Equal(t, "waiting", got.Jobs[0].State)
		require.Empty(t, got.Jobs[0].Node)
		time.Sleep(time.Second)
		s.execute("node-2", untilDone, []string{"invoices", "newsletter"})
		got = jobs(t, page, "")
		require.Len(t, got.Moves, 2)
		require.InDelta(t, 2000, *got.Moves[0].Gap, 200, "since it was released")

		time.Sleep(11 * time.Minute)
		require.Len(t, jobs(t, page, "").Jobs, 2, "a job that nobody has any more is forgotten")
	})
}

func TestGapAfterALossCountsFromTheLastSignOfTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(2, 1)
		page := show(t, s)
		s.Hush(stage.ID(1), 0)
		time.Sleep(10 * time.Second)
		s.Bury(stage.ID(1))
		time.Sleep(200 * time.Millisecond)
		s.Lead(stage.Job(1), stage.ID(2))
		got := jobs(t, page, "")
		require.Len(t, got.Moves, 1)
		require.True(t, got.Moves[0].Lost)
		require.InDelta(t, 10_200, *got.Moves[0].Gap, 1)
	})
}

func TestANodeThatIsCutOffFellSilent(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			hub := new(distributed.MemoryHub)
			provider := distributed.NewMemoryLeaseProvider(hub, distributed.WithLeaseTTL(ttl))
			page := show(t, provider, statuspage.WithSilence(ttl))
			campaign := func(instance string) *distributed.Concurrency {
				node := distributed.NewConcurrency("shop", instance, provider)
				t.Cleanup(func() { _ = node.Close() })
				_, err := node.Campaign(t.Context(), instance)
				require.NoError(t, err)
				return node
			}
			campaign("node-1")
			other := campaign("node-2")
			go func() { _, _ = other.Campaign(t.Context(), "node-1") }() // waits
			time.Sleep(2 * ttl)
			hub.Refuse("node-1", errors.New("cut off"))
			time.Sleep(ttl + ttl/2)
			got := jobs(t, page, "")
			require.True(t, got.Nodes[0].Gone)
			require.Equal(t, "silent", got.Nodes[0].Went)
			require.Len(t, got.Moves, 1)
			require.True(t, got.Moves[0].Lost)
			require.Greater(t, *got.Moves[0].Gap, float64(ttl.Milliseconds()))
			hub.Refuse("node-1", nil)
		})
	}
}

func TestJobsThatFailAndThoseThatAreDoneAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		fails := func(context.Context) error { return errors.New("no paper") }
		done := func(context.Context) error { return distributed.ErrDone }
		p, _ := s.execute("node-1", fails, []string{"invoices"})
		require.NoError(t, p.AddJob(distributed.Job{Name: "migration", Work: done}))
		require.NoError(t, p.AddJob(distributed.Job{Name: "newsletter", Work: untilDone}))
		page := show(t, s.provider(), statuspage.WithProcessor(p))
		time.Sleep(20 * time.Second)
		states := map[string]string{}
		for _, j := range jobs(t, page, "").Jobs {
			states[j.Name] = j.State
		}
		require.Equal(t, map[string]string{"invoices": "failed", "migration": "done", "newsletter": "running"}, states)
		require.Contains(t, get(t, page, "jobs").Body.String(), `"error": "no paper"`)
		html := get(t, page, "").Body.String()
		require.Contains(t, html, `title="invoices"`)
		require.NotContains(t, html, `title="migration"`, "it waits for nothing")
		require.Contains(t, html, `data-state="done"><b>1</b>`)
		require.Contains(t, get(t, page, "?state=done").Body.String(), `title="migration"`)
	})
}

func TestDetailSaysWhyAJobRunsWhereItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(2, 2)
		s.Update(func(v *distributed.View) {
			for i := range v.Nodes {
				v.Nodes[i].Jobs = []distributed.JobInfo{{Name: stage.Job(1), Weight: 3, Prefer: []string{"zone=eu-2"}}}
				v.Nodes[i].Started = v.Nodes[i].Started.Add(time.Duration(i) * time.Second)
			}
			v.Nodes[0].Jobs = []distributed.JobInfo{{Name: stage.Job(1), Weight: 1}} // until it is restarted
		})
		page := show(t, s)
		detail := func(job string) (code int, body map[string]any) {
			w := get(t, page, "job?name="+job)
			_ = json.Unmarshal(w.Body.Bytes(), &body) // there is none with an error
			return w.Code, body
		}
		_, body := detail(stage.Job(1))
		require.Equal(t, map[string]any{"name": stage.Job(1), "waiting": []any{"node-2"}, "standby": "node-2", "weight": 3.0,
			"prefer": []any{"zone=eu-2"}, "reason": "it runs there already, and no other node suits it better"}, body)
		s.Update(func(v *distributed.View) { v.Nodes[0].Draining = true })
		_, body = detail(stage.Job(1))
		require.Equal(t, "node-2", body["moves_to"])
		require.Equal(t, "node-1 drains", body["reason"])
		_, body = detail(stage.Job(2))
		require.Equal(t, map[string]any{"name": stage.Job(2), "waiting": []any{"node-1"}}, body, "without load balancing")
		code, _ := detail("no-such-job")
		require.Equal(t, http.StatusNotFound, code)
	})
}

func TestGapIsNotKnownWhenThePageWasCutOffItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(2, 1)
		page := show(t, s)
		s.Hush(stage.ID(1), 0)
		s.Hush(stage.ID(2), 0)
		time.Sleep(time.Minute)
		require.Equal(t, "away", jobs(t, page, "").Store.State)
		s.Move(stage.ID(2), stage.Job(1))
		got := jobs(t, page, "")
		require.Len(t, got.Moves, 1)
		require.Nil(t, got.Moves[0].Gap)
	})
}

func TestAnotherTermOnTheSameNodeIsNoMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		s.execute("node-1", untilDone, []string{"x"}, distributed.WithVoluntaryTimeout(func(string) time.Duration { return 10 * time.Second }))
		page := show(t, s.provider())
		first := jobs(t, page, "")
		time.Sleep(time.Minute)
		got := jobs(t, page, "")
		require.Greater(t, got.Jobs[0].Token, first.Jobs[0].Token)
		require.Empty(t, got.Moves)
	})
}

func TestMovesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(2, 1)
		page := show(t, s)
		for i := range 250 {
			s.Move(stage.ID(2-i%2), stage.Job(1))
			time.Sleep(time.Second) // the observer takes moves that follow at once together
		}
		got := jobs(t, page, "")
		require.Len(t, got.Moves, 100)
		require.EqualValues(t, 250, got.Moves[99].Number)
		require.EqualValues(t, 151, got.Moves[0].Number)
	})
}

func TestJSONIsCompressedForWhoCanReadThat(t *testing.T) {
	page := show(t, stage.New(3, 1000))
	r := httptest.NewRequest(http.MethodGet, "/jobs", nil)
	r.Header.Set("Accept-Encoding", "br, gzip;q=0.8")
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", w.Header().Get("Vary"))
	size := w.Body.Len()
	z, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	var packed, plain shown
	require.NoError(t, json.NewDecoder(z).Decode(&packed))
	w = get(t, page, "jobs")
	require.Empty(t, w.Header().Get("Content-Encoding"))
	require.Less(t, 4*size, w.Body.Len())
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &plain))
	require.Equal(t, plain.Jobs, packed.Jobs)
}

// What a picture shares with the one before is taken from there.
func TestPicturesThatFollowOneAnotherShowTheSameAsOneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(3, 20)
		page := show(t, s)
		random := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			switch job := stage.Job(1 + random.IntN(25)); random.IntN(3) {
			case 0:
				s.Lead(job)
			case 1:
				s.Lead(job, stage.ID(1+random.IntN(3)), stage.ID(1+random.IntN(3)))
			default:
				s.Move(stage.ID(1+random.IntN(3)), job)
			}
			time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
			if random.IntN(3) > 0 {
				continue
			}
			time.Sleep(time.Second)
			got, alone := jobs(t, page, ""), jobs(t, show(t, s), "")
			running := func(s shown) (jobs []string) {
				for _, j := range s.Jobs {
					if j.State == "running" {
						jobs = append(jobs, fmt.Sprint(j.Name, j.Node, j.Token, j.Standby))
					}
				}
				for _, n := range s.Nodes {
					jobs = append(jobs, fmt.Sprint(n.Instance, n.Jobs, n.Standby))
				}
				return jobs
			}
			require.Equal(t, running(alone), running(got))
		}
	})
}

func TestJSONCanBeFiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(3, 30)
		s.Lead(stage.Job(7))
		s.Lead("Lost", "nobody")
		page := show(t, s)
		require.Len(t, jobs(t, page, "").Jobs, 30)
		require.Len(t, jobs(t, page, "?q=JOB-0001").Jobs, 10)
		require.Len(t, jobs(t, page, "?q=node-2").Jobs, 10)
		require.Len(t, jobs(t, page, "?q=lost&state=running").Jobs, 1)
		require.Empty(t, jobs(t, page, "?state=waiting").Jobs)
		require.Contains(t, get(t, page, "jobs?q=nothing").Body.String(), `"jobs": []`)
	})
}

func TestStatesThatOnlyTheNodeKnowsAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		p, stop := s.execute("node-1", stopsAfter(time.Minute), []string{"x"})
		page := show(t, s.provider(), statuspage.WithProcessor(p))
		got := jobs(t, page, "")
		require.Equal(t, got.Nodes[0].ID, got.Self)
		require.Equal(t, "running", got.Jobs[0].State)

		go stop()
		time.Sleep(500 * time.Millisecond)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/jobs", nil))
		require.Contains(t, w.Body.String(), `"state": "stopping"`)
		got = jobs(t, page, "")
		require.Equal(t, "stuck", got.Jobs[0].State)
		require.Equal(t, got.Self, got.Jobs[0].Node)
		require.Equal(t, "x", got.Stuck[0].Job)
		require.Equal(t, "context canceled", got.Stuck[0].Cause)
		require.Contains(t, get(t, page, "").Body.String(), "Work that does not stop on this node</h2>\n\t<ul><li><b>x</b>")
		time.Sleep(time.Minute)
		require.Empty(t, jobs(t, page, "").Stuck)
	})
}

func TestAJobThatIsStuckHereIsShownWhereItIsLedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		p, _ := s.execute("node-1", stopsAfter(time.Hour), []string{"x"})
		s.execute("node-2", untilDone, []string{"x"})
		page := show(t, s.provider(), statuspage.WithProcessor(p))
		s.hub.RemoveCandidate("shop", "x", "node-1")
		time.Sleep(20 * time.Second)
		got := jobs(t, page, "")
		leader, token := s.hub.Leader("shop", "x")
		require.Equal(t, "node-2", leader)
		require.Equal(t, "running", got.Jobs[0].State)
		require.Equal(t, token, got.Jobs[0].Token)
		require.Len(t, got.Stuck, 1, "and it is said that it runs here as well")
	})
}

func TestJobsOfANodeWithoutALeaseAreWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		s.hub.Refuse("node-1", errors.New("away"))
		p, _ := s.execute("node-1", untilDone, []string{"b", "a"})
		page := show(t, s.provider(), statuspage.WithProcessor(p))
		got := jobs(t, page, "?state=waiting")
		require.Len(t, got.Jobs, 2)
		require.Equal(t, "a", got.Jobs[0].Name)
		require.Equal(t, "unknown", got.Store.State)
	})
}

func TestJobsThatNodesCouldRunAndNobodyDoesAreWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(2, 2)
		s.Update(func(v *distributed.View) {
			for i := range v.Nodes {
				v.Nodes[i].Jobs = []distributed.JobInfo{{Name: "a"}, {Name: "job-00001"}, {Name: "z"}}
			}
		})
		page := show(t, s)
		var names []string
		for _, j := range jobs(t, page, "").Jobs {
			names = append(names, j.Name+" "+j.State)
		}
		require.Equal(t, []string{"a waiting", "job-00001 running", "job-00002 running", "z waiting"}, names)
	})
}

const nasty = `<script>alert(1)</script>"'` + "`" + `&lt;\u003c` + "\u2028" + `</li><img src=x onerror=alert(2)>`

const short = `"><script>alert(1)</script>`

func TestNamesAndMetadataAreEscaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		p, _ := s.execute(nasty, untilDone, []string{nasty}, distributed.WithVersion(short),
			distributed.WithLabels(map[string]string{short: short}), distributed.WithMetadata(map[string]string{nasty: nasty}),
			distributed.WithLoadBalancing())
		page := show(t, s.provider(), statuspage.WithProcessor(p), statuspage.WithTitle(nasty))
		html := get(t, page, "?q="+strings.NewReplacer("<", "%3C", ">", "%3E", "\"", "%22", "'", "%27", "&", "%26", "\u2028", "%E2%80%A8", " ", "%20", "`", "%60", "\\", "%5C").Replace(nasty))
		require.Equal(t, http.StatusOK, html.Code)
		body := html.Body.String()
		require.Contains(t, body, "&lt;script&gt;alert(1)&lt;/script&gt;")
		require.NotContains(t, body, "<script>")
		require.NotContains(t, body, "<img")
		require.Equal(t, 1, strings.Count(body, "<li class=\"tile\""), "one job, which matches")
		require.Contains(t, html.Header().Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'")
		require.Equal(t, "nosniff", html.Header().Get("X-Content-Type-Options"))

		got := jobs(t, page, "")
		require.Equal(t, nasty, got.Jobs[0].Name)
		require.Equal(t, nasty, got.Nodes[0].Metadata[nasty])
		require.NotContains(t, get(t, page, "jobs").Body.String(), "<script", "nor for who takes it for HTML")
		html = get(t, page, "?state=%22onclick=alert(1)")
		require.NotContains(t, html.Body.String(), `"onclick`)
	})
}

func TestEventsOfNastyNamesAreOneLineEach(t *testing.T) {
	s := stage.New(1, 0)
	s.Lead(nasty, stage.ID(1))
	stream := follow(t, show(t, s))
	picture := next[shown](stream, "picture")
	require.Equal(t, nasty, picture.Jobs[0].Name)
}

func TestBoardIsAViewOfThePage(t *testing.T) {
	page := show(t, stage.New(3, 29))
	require.NotContains(t, get(t, page, "/").Body.String(), "data-view")
	board := get(t, page, "/?view=board").Body.String()
	require.Contains(t, board, `<body data-view="board">`)
	require.Equal(t, 29, strings.Count(board, `class="tile"`))
}

func TestPageIsReadOnly(t *testing.T) {
	page := show(t, stage.New(1, 1))
	for _, path := range []string{"/status/", "/status/jobs", "/status/events", "/status/healthz"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			require.Equal(t, http.StatusMethodNotAllowed, w.Code)
			require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		}
	}
}

func TestPageWorksBelowAnyPath(t *testing.T) {
	page := show(t, stage.New(1, 1), statuspage.WithTitle("The shop"))
	mux := http.NewServeMux()
	mux.Handle("/status/", page)
	mux.Handle("/deep/er/", http.StripPrefix("/deep/er", page))
	for path, part := range map[string]string{
		"/status/": "<h1>The shop</h1>", "/deep/er/": "<h1>The shop</h1>", "/status/page.css": ".tile", "/deep/er/page.js": "EventSource",
		"/status/icon.svg": "<svg", "/deep/er/jobs": `"job-00001"`, "/status/healthz": `"ok": true`, "/status/readyz": `"ok": true`,
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, w.Code, path)
		require.Contains(t, w.Body.String(), part, path)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status", nil))
	require.Equal(t, "/status/", w.Header().Get("Location"))
	for _, path := range []string{"/status/nothing", "/status/page.html", "/status/static", "/status/..%2fpage.go"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusNotFound, w.Code, path)
	}
}

func TestStaticFilesAreNotSentAgain(t *testing.T) {
	page := show(t, stage.New(1, 1))
	first := httptest.NewRecorder()
	page.ServeHTTP(first, httptest.NewRequest(http.MethodGet, "/page.js", nil))
	again := httptest.NewRequest(http.MethodGet, "/page.js", nil)
	again.Header.Set("If-None-Match", first.Header().Get("ETag"))
	w := httptest.NewRecorder()
	page.ServeHTTP(w, again)
	require.Equal(t, http.StatusNotModified, w.Code)
}

func TestTenThousandJobs(t *testing.T) {
	s := stage.New(5, 10_000)
	page := show(t, s)
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?q=job-0", nil))
	require.Equal(t, 1000, strings.Count(w.Body.String(), `<li class="tile"`), "a snapshot is for reading")
	require.Contains(t, w.Body.String(), "The first 1000 of 9999 of 10000 jobs match.")
	require.Contains(t, w.Body.String(), "<b>10000</b> all")

	stream := follow(t, page)
	require.Len(t, next[shown](stream, "picture").Jobs, 10_000)
	s.Move(stage.ID(3), stage.Job(1), stage.Job(9_999))
	change := next[shown](stream, "change")
	require.Len(t, change.Jobs, 2, "what has changed, and no more")
	require.Less(t, stream.size, 2000)
}

// stream is a browser's side of the events.
type stream struct {
	t      *testing.T
	lines  *bufio.Scanner
	cancel context.CancelFunc
	size   int // of the data of the last event
}

// follow opens a stream of page.
func follow(t *testing.T, page http.Handler) *stream {
	server := httptest.NewServer(page)
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", nil)
	require.NoError(t, err)
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	t.Cleanup(func() { cancel(); response.Body.Close(); server.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 10<<20)
	return &stream{t: t, lines: lines, cancel: cancel}
}

// event reads up to the next event, and reports false at the end of the stream.
func (s *stream) event() (name, data string, ok bool) {
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "data":
			data = value
		case "":
			return name, data, true
		}
	}
	return "", "", false
}

// next returns the next event of that name; others, but beats, must not come before.
func next[T any](s *stream, event string) (v T) {
	s.t.Helper()
	for {
		name, data, ok := s.event()
		require.True(s.t, ok, "the stream has ended")
		if name == "beat" && event != "beat" {
			continue
		}
		require.Equal(s.t, event, name)
		s.size = len(data)
		require.NoError(s.t, json.Unmarshal([]byte(data), &v))
		return v
	}
}

func TestStreamTellsWhatChanges(t *testing.T) {
	s := stage.New(3, 30)
	page := show(t, s)
	stream := follow(t, page)
	picture := next[shown](stream, "picture")
	require.Len(t, picture.Jobs, 30)
	require.Len(t, picture.Nodes, 3)
	beat := next[struct {
		Store   struct{ State string }
		Silence map[string]int `json:"silence_ms"`
	}](stream, "beat")
	require.Equal(t, "reachable", beat.Store.State)
	require.Equal(t, map[string]int{stage.ID(1): 200, stage.ID(2): 200, stage.ID(3): 200}, beat.Silence)

	s.Lead(stage.Job(1), stage.ID(2), stage.ID(3))
	change := next[shown](stream, "change")
	require.Len(t, change.Jobs, 1)
	require.Equal(t, stage.ID(2), change.Jobs[0].Node)
	require.NotNil(t, change.Jobs[0].Since)
	require.Len(t, change.Moves, 1)
	require.Equal(t, 9, change.Nodes[0].Jobs)
	require.Equal(t, 11, change.Nodes[1].Jobs)

	s.Update(func(v *distributed.View) { v.Nodes[0].Draining = true })
	change = next[shown](stream, "change")
	require.True(t, change.Nodes[0].Draining)
	require.Empty(t, change.Jobs)
	require.Empty(t, change.Moves)
}

func TestStreamPutsChangesTogether(t *testing.T) {
	s := stage.New(2, 1000)
	stream := follow(t, show(t, s))
	next[shown](stream, "picture")
	began := time.Now()
	for i := range 1000 {
		s.Move(stage.ID(1+i%2), stage.Job(1+i/2))
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	s.Lead("last", stage.ID(1))
	for events := 1; ; events++ {
		change := next[shown](stream, "change")
		if change.Jobs[len(change.Jobs)-1].Name == "last" {
			require.LessOrEqual(t, events, int(took/(200*time.Millisecond))+2, "a few a second")
			return
		}
	}
}

func TestStreamEndsWithThePageAndWithTheObserver(t *testing.T) {
	for name, end := range map[string]func(o *distributed.Observer, p *statuspage.Page) error{
		"page":     func(_ *distributed.Observer, p *statuspage.Page) error { return p.Close() },
		"observer": func(o *distributed.Observer, _ *statuspage.Page) error { return o.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			o, err := distributed.Observe(t.Context(), "shop", stage.New(1, 1))
			require.NoError(t, err)
			defer func() { require.NoError(t, o.Close()) }()
			page := statuspage.New(o)
			defer func() { require.NoError(t, page.Close()) }()
			stream := follow(t, page)
			next[shown](stream, "picture")
			require.NoError(t, end(o, page))
			for {
				if _, _, ok := stream.event(); !ok {
					break
				}
			}
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", nil))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			w = httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/jobs", nil))
			require.Equal(t, http.StatusOK, w.Code, "what it knows it still tells")
		})
	}
}

func TestStreamsAreBounded(t *testing.T) {
	page := show(t, stage.New(1, 1))
	server := httptest.NewServer(page)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func() *http.Response {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", nil)
		require.NoError(t, err)
		response, err := server.Client().Do(request)
		require.NoError(t, err)
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	for range 256 {
		require.Equal(t, http.StatusOK, open().StatusCode)
	}
	refused := open()
	require.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	require.NotEmpty(t, refused.Header.Get("Retry-After"))
}

func TestHealthAndReadiness(t *testing.T) {
	type verdict struct{ health, ready []string } // what is wrong
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		p := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", s.provider(),
			[]distributed.Job{{Name: "x", Work: stopsAfter(10 * time.Minute)}}, distributed.WithLoadBalancing())
		page := show(t, s.provider(), statuspage.WithProcessor(p))
		watcher := show(t, s.provider())
		judge := func(page http.Handler) (v verdict) {
			for path, wrong := range map[string]*[]string{"healthz": &v.health, "readyz": &v.ready} {
				w := get(t, page, path)
				var got struct {
					OK     bool
					Checks []struct {
						Name, Detail string
						OK           bool
					}
				}
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
				for _, c := range got.Checks {
					if !c.OK {
						*wrong = append(*wrong, c.Name)
					}
				}
				require.Equal(t, len(*wrong) == 0, got.OK)
				require.Equal(t, map[bool]int{true: 200, false: 503}[got.OK], w.Code)
			}
			return v
		}
		require.Equal(t, verdict{[]string{"execute", "lease"}, []string{"execute", "lease"}}, judge(page), "not started")
		require.Equal(t, verdict{}, judge(watcher), "nobody is there, and nothing is wrong with that")

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Execute(ctx) }()
		require.Equal(t, verdict{}, judge(page))

		draining, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		require.Error(t, p.Drain(draining))
		require.Equal(t, verdict{nil, []string{"draining"}}, judge(page), "drains: well, but not to be given jobs")
		require.NoError(t, p.Undrain())

		s.hub.Refuse("", errors.New("away"))
		time.Sleep(20 * time.Second)
		require.Equal(t, verdict{[]string{"store", "lease", "work"}, []string{"lease"}}, judge(page), "the store is away")
		require.Equal(t, verdict{[]string{"store"}, []string{"store"}}, judge(watcher))
		require.Contains(t, get(t, page, "healthz").Body.String(), "does not stop: x (for")

		s.hub.Refuse("", nil)
		time.Sleep(11 * time.Minute)
		require.Equal(t, verdict{}, judge(page), "it has stopped, and runs again")

		cancel()
		require.Equal(t, verdict{[]string{"execute", "work"}, []string{"execute", "draining"}}, judge(page), "ending, and Work does not")
		require.NoError(t, <-done)
		require.Equal(t, verdict{[]string{"execute", "lease"}, []string{"execute", "lease", "draining"}}, judge(page))
	})
}

func TestHealthNamesTheFirstOfManyThatAreStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t}
		var names []string
		for i := range 25 {
			names = append(names, fmt.Sprintf("job-%02d", i))
		}
		p, stop := s.execute("node-1", stopsAfter(time.Minute), names)
		page := show(t, s.provider(), statuspage.WithProcessor(p))
		go stop()
		time.Sleep(5 * time.Second)
		body := get(t, page, "healthz").Body.String()
		require.Contains(t, body, "job-00 (for 6 s)")
		require.Contains(t, body, "and 15 more")
		require.NotContains(t, body, "job-10")
	})
}

func TestANodeThatComesBackTakesItsPlaceOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(3, 3)
		page := show(t, s)
		s.Leave(stage.ID(2))
		got := jobs(t, page, "")
		require.Len(t, got.Nodes, 3)
		require.True(t, got.Nodes[1].Gone)
		s.Update(func(v *distributed.View) {
			n := stage.Node(2)
			n.ID = "another"
			v.Nodes = append(v.Nodes, n)
		})
		got = jobs(t, page, "")
		require.Len(t, got.Nodes, 3)
		require.Equal(t, "another", got.Nodes[1].ID)
		require.False(t, got.Nodes[1].Gone)
	})
}

func TestNodesAreSortedAsPeopleCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		page := show(t, stage.New(12, 1))
		var order []string
		for _, n := range jobs(t, page, "").Nodes {
			order = append(order, strings.TrimPrefix(n.Instance, "node-"))
		}
		require.Equal(t, strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12"), order)
	})
}

// BenchmarkPicture is what a second of somebody looking costs, four times over.
func BenchmarkPicture(b *testing.B) {
	s := stage.New(5, 10_000)
	o, err := distributed.Observe(b.Context(), "shop", s)
	require.NoError(b, err)
	page := statuspage.New(o)
	defer func() { _ = page.Close(); _ = o.Close() }()
	for b.Loop() {
		page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/jobs?q=nothing", nil))
	}
}

// BenchmarkASecondOfMoves is a second of a large app in which 100 jobs move, with some
// people who look on; a profile shows how much of a processor that takes.
func BenchmarkASecondOfMoves(b *testing.B) {
	for _, viewers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("viewers=%d", viewers), func(b *testing.B) { benchmarkMoves(b, viewers) })
	}
}

func benchmarkMoves(b *testing.B, viewers int) {
	const jobs = 50_000
	s := stage.New(10, jobs)
	o, err := distributed.Observe(b.Context(), "shop", s)
	require.NoError(b, err)
	page := statuspage.New(o)
	server := httptest.NewServer(page)
	var streams sync.WaitGroup
	for range viewers {
		response, err := server.Client().Get(server.URL + "/events")
		require.NoError(b, err)
		require.Equal(b, http.StatusOK, response.StatusCode)
		streams.Go(func() { _, _ = io.Copy(io.Discard, response.Body); _ = response.Body.Close() })
	}
	defer func() { _ = page.Close(); streams.Wait(); server.Close(); _ = o.Close() }()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	job := 0
	for b.Loop() {
		for range 100 {
			<-ticks.C
			job++
			s.Play(job*617%jobs, stage.ID(job%10+1), stage.ID(job%9+1))
		}
	}
}

package statuspage_test

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/statuspage"
	"github.com/b2552be4/distributed/statuspage/internal/stage"
)

// viewer is a browser that looks on, in virtual time, and shows what it is told.
type viewer struct {
	http.ResponseWriter
	takes time.Duration // to read what is written at once

	mu    sync.Mutex
	shows map[string]string // by job, in JSON
	sent  *byte             // the first of what was written last
}

// watch has a viewer look on until leave is called, or the test ends.
func watch(t *testing.T, page *statuspage.Page, takes time.Duration) (v *viewer, leave func()) {
	v = &viewer{ResponseWriter: httptest.NewRecorder(), takes: takes, shows: map[string]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	looking.Go(func() { page.ServeHTTP(v, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil)) })
	leave = func() { cancel(); looking.Wait() }
	t.Cleanup(leave)
	return v, leave
}

func (v *viewer) Write(b []byte) (int, error) {
	time.Sleep(v.takes)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(b) > 0 {
		v.sent = &b[0]
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			v.take([]byte(data), strings.Contains(string(b), "event: picture"))
		}
	}
	return len(b), nil
}

// take does what page.js does.
func (v *viewer) take(data []byte, whole bool) {
	var c struct {
		Jobs []json.RawMessage
		Gone []string
	}
	if err := json.Unmarshal(data, &c); err != nil {
		panic(err)
	}
	if whole {
		clear(v.shows)
	}
	for _, raw := range c.Jobs {
		var j struct{ Name string }
		if err := json.Unmarshal(raw, &j); err != nil {
			panic(err)
		}
		v.shows[j.Name] = string(raw)
	}
	for _, name := range c.Gone {
		delete(v.shows, name)
	}
}

// Flush implements [http.Flusher].
func (v *viewer) Flush() {}

// jobs returns what the viewer shows.
func (v *viewer) jobs() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.shows)
}

func TestAllViewersComeToSeeTheSameWheneverTheyComeAndHoweverSlowTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(3, 20)
		page := show(t, s)
		quick, _ := watch(t, page, 0)
		slow, _ := watch(t, page, 3*time.Second)
		_, leave := watch(t, page, 700*time.Millisecond)
		viewers := []*viewer{quick, slow}
		random := rand.New(rand.NewPCG(1, 2))
		for round := range 100 {
			for range random.IntN(5) {
				switch job := stage.Job(1 + random.IntN(25)); random.IntN(3) {
				case 0:
					s.Lead(job)
				case 1:
					s.Lead(job, stage.ID(1+random.IntN(3)), stage.ID(1+random.IntN(3)))
				default:
					s.Move(stage.ID(1+random.IntN(3)), job)
				}
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			}
			if round%10 == 0 {
				late, _ := watch(t, page, time.Duration(round)*10*time.Millisecond)
				viewers = append(viewers, late)
			}
			if round == 50 {
				leave()
			}
			time.Sleep(time.Second)
			fresh, gone := watch(t, page, 0)
			synctest.Wait()
			require.Equal(t, fresh.jobs(), quick.jobs(), "nobody holds it up")
			gone()
		}
		s.Lead(stage.Job(1))
		time.Sleep(11 * time.Minute)
		require.NotContains(t, quick.jobs(), stage.Job(1), "it is forgotten")
		for _, v := range viewers {
			require.Equal(t, quick.jobs(), v.jobs())
		}
	})
}

func TestViewersAreSentTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage.New(3, 20)
		page := show(t, s)
		var viewers []*viewer
		for range 10 {
			v, _ := watch(t, page, 0)
			viewers = append(viewers, v)
			time.Sleep(70 * time.Millisecond)
		}
		for n := range 20 {
			s.Move(stage.ID(1+n%3), stage.Job(1+n))
			time.Sleep(300 * time.Millisecond)
			synctest.Wait()
			for _, v := range viewers {
				require.Same(t, viewers[0].sent, v.sent, "made once for all")
			}
		}
	})
}

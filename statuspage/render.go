package statuspage

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

//go:embed static
var static embed.FS

var page = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"ago":   func(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) },
	"clock": func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"gap":   gap,
	"cut":   cut,
}).ParseFS(static, "static/page.html"))

// maxTiles is how many tiles a snapshot has at most. The script gets its jobs
// from the stream, and shows them all.
const maxTiles = 1000

// snapshot is what the template shows.
type snapshot struct {
	*picture
	Query, State string
	Operates     bool // there are buttons
	Board        bool // nothing but that: see the package's doc
	Now          time.Time
	Total        int // jobs
	Shown        int // tiles
	Matching     int
	States       []stateLink
	Nowhere      []*job
	Columns      []column
	Newest       []move // first
}

type stateLink struct {
	Name    string // empty for all
	Link    string
	Count   int
	Current bool
}

type column struct {
	node
	Tiles    []*job
	Matching int
}

// Chips are a node's labels, and Facts its metadata, sorted.
func (c column) Chips() [][2]string { return sorted(c.Labels) }

func (c column) Facts() [][2]string { return sorted(c.Metadata) }

func sorted(m map[string]string) (pairs [][2]string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, [2]string{key, m[key]})
	}
	return pairs
}

func gap(m move) string {
	switch {
	case m.Gap == nil:
		return "?"
	case m.Lost:
		return "≈ " + short(*m.Gap)
	}
	return short(*m.Gap)
}

// short is a duration, of milliseconds, as it is read fastest.
func short(ms float64) string {
	switch {
	case ms < 1:
		return "< 1 ms"
	case ms < 999.5:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 59_950:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	s := int64(ms) / 1000
	return fmt.Sprintf("%d min %d s", s/60, s%60)
}

func filterOf(r *http.Request) filter {
	query := r.URL.Query()
	return filter{text: strings.ToLower(query.Get("q")), state: query.Get("state")}
}

func (p *Page) serveHTML(w http.ResponseWriter, r *http.Request) {
	s := newSnapshot(p.picture(), r.URL.Query().Get("q"), filterOf(r))
	s.Operates = p.orders != nil
	s.Board = r.URL.Query().Get("view") == "board"
	var b bytes.Buffer
	if err := page.Execute(&b, s); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // the browser may have gone
}

func newSnapshot(pic *picture, query string, f filter) snapshot {
	s := snapshot{picture: pic, Query: query, State: f.state, Now: pic.At}
	s.States = stateLinks(pic, query, f.state)
	s.Columns = make([]column, len(pic.Nodes))
	at := map[string]int{}
	for i, n := range pic.Nodes {
		s.Columns[i].node = n
		at[n.ID] = i
	}
	for i := range pic.Jobs {
		if pic.Jobs[i].State != distributed.JobDone {
			s.Total++
		}
	}
	for _, j := range f.apply(pic) {
		if j.State == distributed.JobDone && f.state == "" {
			continue // it does not wait for anything
		}
		s.Matching++
		i, placed := at[j.Node]
		if placed {
			s.Columns[i].Matching++
		}
		switch {
		case s.Shown == maxTiles:
		case placed:
			s.Columns[i].Tiles = append(s.Columns[i].Tiles, j)
			s.Shown++
		default:
			s.Nowhere = append(s.Nowhere, j)
			s.Shown++
		}
	}
	s.Newest = slices.Clone(pic.Moves)
	slices.Reverse(s.Newest)
	return s
}

// seldom are the states that are shown only when a job is in them.
var seldom = []distributed.JobState{distributed.JobFailed, distributed.JobPaused, distributed.JobDone}

func stateLinks(pic *picture, query, current string) []stateLink {
	counts := map[distributed.JobState]int{}
	for i := range pic.Jobs {
		counts[pic.Jobs[i].State]++
	}
	links := []stateLink{{Count: len(pic.Jobs) - counts[distributed.JobDone]}}
	for _, state := range []distributed.JobState{distributed.JobRunning, distributed.JobFailed, distributed.JobStopping, distributed.JobStuck, distributed.JobWaiting, distributed.JobPaused, distributed.JobDone} {
		if counts[state] == 0 && slices.Contains(seldom, state) && state != distributed.JobState(current) {
			continue
		}
		links = append(links, stateLink{Name: string(state), Count: counts[state]})
	}
	for i := range links {
		values := url.Values{}
		if query != "" {
			values.Set("q", query)
		}
		if links[i].Name != "" {
			values.Set("state", links[i].Name)
		}
		links[i].Link, links[i].Current = "?"+values.Encode(), links[i].Name == current
	}
	return links
}

func (p *Page) serveJSON(w http.ResponseWriter, r *http.Request) {
	f := filterOf(r)
	if f != (filter{}) {
		pic := p.picture()
		some := *pic
		some.Jobs = f.apply(pic)
		writeJSON(w, http.StatusOK, &some)
		return
	}
	plain, packed := p.whole.of(p.picture())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding")
	if acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		plain = packed
	}
	_, _ = w.Write(plain) // the client may have gone
}

// whole is a picture in JSON, made once for all who ask for it.
type whole struct {
	mu            sync.Mutex
	pic           *picture
	plain, packed []byte
	made          time.Time
	took          time.Duration
}

// of returns pic, or one before if making that has taken long, plain and compressed.
func (e *whole) of(pic *picture) (plain, packed []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.pic == nil || e.pic != pic && now.Sub(e.made) >= 9*e.took {
		var b bytes.Buffer
		e.pic, e.plain = pic, encode(pic)
		z := gzip.NewWriter(&b)
		_, _ = z.Write(e.plain) // a buffer takes everything
		_ = z.Close()
		e.packed, e.made, e.took = b.Bytes(), now, time.Since(now)
	}
	return e.plain, e.packed
}

// acceptsGzip reports whether the answer may be compressed. It ignores a q of 0,
// which nobody sends.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if name, _, _ := strings.Cut(coding, ";"); strings.TrimSpace(name) == "gzip" {
			return true
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, status int, data any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(data)) // the client may have gone
}

func encode(data any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(data); err != nil {
		panic(fmt.Sprintf("statuspage: encode: %v", err)) // only plain data goes in
	}
	return b.Bytes()
}

// serveStatic serves what the page loads. Browsers ask again each time, and are
// told if it is still the same: a new build of the service shows at once.
func serveStatic(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	contentType, ok := contentTypes[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	content, err := static.ReadFile("static/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}

var contentTypes = map[string]string{
	"page.css":  "text/css; charset=utf-8",
	"page.js":   "text/javascript; charset=utf-8",
	"orders.js": "text/javascript; charset=utf-8",
	"icon.svg":  "image/svg+xml",
}

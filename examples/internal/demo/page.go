//go:build unix

package demo

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/b2552be4/distributed/examples/internal/play"
)

//go:embed static
var static embed.FS

var pages = template.Must(template.ParseFS(static, "static/demo.html"))

// contentPolicy lets the page load its own style sheets, script and events, and
// frame the status pages.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// serve serves the page: that of the demo with its buttons, and around it the
// status pages, which change nothing.
func (s *Stage) serve(listener net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("POST /nodes", func(w http.ResponseWriter, r *http.Request) {
		_, err := s.fleet.add()
		answer(w, r, err)
	})
	mux.HandleFunc("POST /nodes/{node}/{action}", func(w http.ResponseWriter, r *http.Request) {
		_, err := s.fleet.act(r.PathValue("node"), r.PathValue("action"))
		answer(w, r, err)
	})
	mux.Handle("GET /static/", http.FileServerFS(static))
	for _, show := range s.shows {
		mux.Handle("/status/"+show.Name+"/", show.page)
	}
	s.server = &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 10 * time.Second}
	for _, show := range s.shows {
		s.server.RegisterOnShutdown(func() { _ = show.page.Close() })
	}
	s.serving.Go(func() { _ = s.server.Serve(listener) })
}

// answer answers a button: the page again, for browsers that do without script.
func answer(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errNoNode):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// stopServing ends what is open after a second: somebody may be looking on.
func (s *Stage) stopServing() {
	if s.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
	s.serving.Wait()
}

// scene is what the template shows.
type scene struct {
	Title, News string
	Full        bool
	Nodes       []card
	Shows       []panel
}

type card struct {
	Name, State string
	Buttons     []button
}

type button struct {
	action
	Off bool
}

type panel struct {
	App
	Tally
}

func (s *Stage) scene() scene {
	v := scene{Title: s.demo.Title}
	v.News, _ = s.news.latest()
	nodes := s.fleet.list()
	v.Full = len(nodes) == maxNodes
	for _, n := range nodes {
		v.Nodes = append(v.Nodes, cardOf(&n))
	}
	for _, show := range s.shows {
		v.Shows = append(v.Shows, panel{show.App, show.current()})
	}
	return v
}

// cardOf shows four buttons: of pause and resume, and of cut and heal, one each.
func cardOf(n *node) card {
	c := card{Name: n.name, State: string(n.state)}
	switch {
	case n.state == up && n.paused:
		c.State = "frozen"
	case n.state == up && n.cut:
		c.State = "cut off"
	}
	for _, a := range actions {
		switch a.Name {
		case "pause", "resume":
			if (a.Name == "resume") != n.paused {
				continue
			}
		case "cut", "heal":
			if (a.Name == "heal") != n.cut {
				continue
			}
		}
		c.Buttons = append(c.Buttons, button{action: a, Off: !a.can(n)})
	}
	return c
}

func render(name string, data any) string {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("demo: template %s: %v", name, err)) // only plain data goes in
	}
	return b.String()
}

func (s *Stage) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Security-Policy", contentPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprint(w, render("demo.html", s.scene()))
}

// serveEvents sends the parts of the page that change, by ID, as often as they
// do, but not all the time.
func (s *Stage) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	defer context.AfterFunc(s.fleet.ctx, stop)()
	var sent string
	for {
		_, changed := s.news.latest()
		v := s.scene()
		parts := map[string]string{"news": render("news", v), "nodes": render("nodes", v)}
		for _, p := range v.Shows {
			parts["tally-"+p.Name] = render("tally", p)
		}
		data, err := json.Marshal(parts)
		if err != nil {
			return
		}
		if string(data) != sent {
			sent = string(data)
			fmt.Fprintf(w, "data: %s\n\n", data)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		if !play.Sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}

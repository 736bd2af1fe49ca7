package statuspage

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// Page is the [http.Handler] that New returns. All methods are safe for
// concurrent use.
type Page struct {
	observer  *distributed.Observer
	processor *distributed.LeadershipBasedJobProcessor // nil without WithProcessor
	orders    *orders                                  // nil without WithOperator
	title     string
	silence   time.Duration

	loops sync.WaitGroup
	done  context.Context // when Close is called, or the observer is closed
	stop  context.CancelFunc

	history history
	began   time.Time
	streams chan struct{} // one slot a stream
	frames  frames
	whole   whole

	mu     sync.Mutex
	latest *picture
	made   time.Time     // when latest was made
	keep   time.Duration // how long it is shown
}

// New returns a page of what o shows. It does not block and makes no call to the store.
// The page follows o until o or the page is closed.
func New(o *distributed.Observer, opts ...Option) *Page {
	p := &Page{observer: o, title: "Jobs", silence: 10 * time.Second, began: time.Now(), streams: make(chan struct{}, maxStreams)}
	for _, option := range opts {
		option(p)
	}
	p.history.start(o.View(), o.Leaders(), time.Now())
	p.done, p.stop = context.WithCancel(context.Background())
	p.loops.Go(func() { defer p.stop(); p.follow(p.done) })
	p.loops.Go(func() { p.listen(p.done) })
	return p
}

// Close ends the page's streams to browsers, for which [http.Server.Shutdown] would
// wait (see [http.Server.RegisterOnShutdown]), and blocks until the page no longer
// follows its observer, which stays open. Later requests are still answered, except for
// new streams. It returns nil if the page was made by New.
func (p *Page) Close() error {
	if p.observer == nil {
		return errNotMade
	}
	p.stop()
	p.loops.Wait()
	return nil
}

// ServeHTTP answers by the last element of the path: see the package's doc.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if name == "orders" && p.orders != nil && p.observer != nil {
		p.orders.serve(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "this page only shows", http.StatusMethodNotAllowed)
		return
	}
	if p.observer == nil {
		http.Error(w, errNotMade.Error(), http.StatusServiceUnavailable)
		return
	}
	switch name {
	case "":
		p.serveHTML(w, r)
	case "jobs":
		p.serveJSON(w, r)
	case "job":
		p.serveDetail(w, r)
	case "events":
		p.serveEvents(w, r)
	case "healthz":
		p.serveChecks(w, p.health())
	case "readyz":
		p.serveChecks(w, p.readiness())
	default:
		serveStatic(w, r)
	}
}

var errNotMade = errors.New("statuspage: this Page was not made by New")

// contentPolicy lets the page load its own style sheet, script and events, and
// nothing else: a name that got past the escaping could still do nothing.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'self'"

// Option changes a [Page]. Of an option given twice the last counts.
type Option func(*Page)

// WithProcessor makes the page show the states that only this node knows, and makes
// health and readiness those of this node. p must be of the observer's app. It does not
// matter whether it is already executing. Default: none.
func WithProcessor(p *distributed.LeadershipBasedJobProcessor) Option {
	return func(page *Page) { page.processor = p }
}

// WithTitle sets the title of the page, such as the name of the app. Default: Jobs.
func WithTitle(title string) Option {
	return func(page *Page) { page.title = title }
}

// WithSilence sets after how long without a sign of any node the store counts as
// unreachable. Nodes give four signs in a TTL; choose the TTL, or a little less.
// Default: 10 s.
func WithSilence(d time.Duration) Option {
	return func(page *Page) { page.silence = d }
}

package distributed

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// reporter is the only one to call what belongs to the user and has nothing to
// do: log handlers and hooks. Whoever has something to tell hands it over and
// goes on, whatever locks or deadlines it has. It is told in order, by one
// goroutine, which is there only while there is something to tell. What the user
// plugs in may block, be slow, panic or end that goroutine: nobody waits for it.
type reporter struct {
	mu      sync.Mutex
	backlog []func()
	dropped int           // reports that found the backlog full, and have not been counted in the log
	telling bool          // there is a goroutine that tells
	idle    chan struct{} // closed when all has been told; nil while nobody waits for that

	log *slog.Logger // hands its records to the reporter; set before the first report

	// of the goroutine that tells
	panics int  // of hooks
	mute   bool // the log handler has panicked
}

const (
	// maxReports is how many reports wait at most. When ten thousand jobs start, all
	// at once, each makes five.
	maxReports = 1 << 16

	// reportTimeout bounds how long closing waits until all has been told.
	reportTimeout = time.Second
)

// newReporter returns a reporter, and sets it to log to l.
func newReporter(l *slog.Logger) *reporter {
	r := new(reporter)
	h := &reportingHandler{reporter: r, user: l, levels: &levels{least: math.MinInt}}
	if l == nil {
		h.levels.least = slog.LevelWarn
	}
	r.log = slog.New(h)
	return r
}

// tell hands f over, to be called by and by. It does not block.
func (r *reporter) tell(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.backlog) >= maxReports {
		r.dropped++
		return
	}
	r.backlog = append(r.backlog, f)
	if !r.telling {
		r.telling = true
		go r.run()
	}
}

// flush waits until all that was handed over has been told, but not for what
// blocks.
func (r *reporter) flush() {
	r.mu.Lock()
	if !r.telling {
		r.mu.Unlock()
		return
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	timeout := time.NewTimer(reportTimeout)
	defer timeout.Stop()
	select {
	case <-idle:
	case <-timeout.C:
	}
}

// run tells until there is nothing left to tell. When a call panics, or ends the
// goroutine, another one goes on behind it.
func (r *reporter) run() {
	done := false
	defer func() {
		if done {
			return
		}
		r.broke(recover(), debug.Stack())
		go r.run()
	}()
	for {
		f, dropped := r.next()
		if dropped > 0 {
			r.log.Warn("reports dropped, hooks or the log handler are too slow", "count", dropped)
		}
		if f == nil {
			break
		}
		f()
	}
	done = true
}

// next returns what is to be told next, nil if there is nothing, and how many
// reports had to be dropped before it.
func (r *reporter) next() (f func(), dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.backlog) == 0 {
		r.telling, r.backlog = false, nil
		if r.idle != nil {
			close(r.idle)
			r.idle = nil
		}
		return nil, 0
	}
	f, r.backlog[0] = r.backlog[0], nil
	r.backlog = r.backlog[1:]
	dropped, r.dropped = r.dropped, 0
	return f, dropped
}

// brokenHandler is what a log handler leaves behind that panics, with value, or
// ends its goroutine.
type brokenHandler struct{ value any }

// broke says that a call has panicked with v, or ended its goroutine if v is nil.
// If it was the log handler's, to log that might go on for ever: the default
// logger is told, once. A hook is named again when it has doubled the count.
func (r *reporter) broke(v any, stack []byte) {
	if b, ok := v.(brokenHandler); ok {
		if !r.mute {
			r.mute = true
			defer func() { _ = recover() }() // it may be the same handler
			slog.Default().Error("log handler panicked", "panic", callEnd(b.value), "stack", string(stack))
		}
		return
	}
	r.panics++
	if r.panics&(r.panics-1) == 0 {
		r.log.Error("hook panicked", "panic", callEnd(v), "count", r.panics, "stack", string(stack))
	}
}

// callEnd puts into words how a call ended that did not return.
func callEnd(v any) string {
	if v == nil {
		return "runtime.Goexit was called"
	}
	return fmt.Sprint(v)
}

// levels is what a handler lets through, as it said last. To ask it is for the
// reporter only.
type levels struct {
	least   slog.Level   // what is below is not let through in any case
	blocked atomic.Int32 // a bit for each of the four levels
	asked   atomic.Int64 // when, in Unix nanoseconds
}

// levelsLast is how long an answer counts, so that a change of level is noticed.
const levelsLast = time.Second

func (l *levels) enabled(level slog.Level) bool {
	return level >= l.least && l.blocked.Load()&bitOf(level) == 0
}

// outdated reports whether it is time to ask again, to one caller.
func (l *levels) outdated() bool {
	now, asked := time.Now().UnixNano(), l.asked.Load()
	return now-asked >= int64(levelsLast) && l.asked.CompareAndSwap(asked, now)
}

func (l *levels) ask(h slog.Handler) {
	blocked := int32(0)
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if !h.Enabled(context.Background(), level) {
			blocked |= bitOf(level)
		}
	}
	l.blocked.Store(blocked)
}

func bitOf(level slog.Level) int32 {
	switch {
	case level < slog.LevelInfo:
		return 1
	case level < slog.LevelWarn:
		return 2
	case level < slog.LevelError:
		return 4
	}
	return 8
}

// reportingHandler is a slog.Handler that hands records to the reporter. None of
// its methods calls the user's handler: that may do anything.
type reportingHandler struct {
	reporter *reporter
	user     *slog.Logger // nil for slog.Default, which may change
	levels   *levels
	with     []func(slog.Handler) slog.Handler // WithAttrs and WithGroup, in order

	known slog.Handler // the user's handler with all that; the reporter's, nil before its first record
}

// Enabled implements [slog.Handler].
func (h *reportingHandler) Enabled(_ context.Context, level slog.Level) bool {
	if h.levels.enabled(level) {
		return true
	}
	if level >= h.levels.least && h.levels.outdated() {
		h.reporter.tell(h.guarded(func(inner slog.Handler) { h.levels.ask(inner) }))
	}
	return false
}

// Handle implements [slog.Handler].
func (h *reportingHandler) Handle(ctx context.Context, record slog.Record) error {
	record = record.Clone()
	h.reporter.tell(h.guarded(func(inner slog.Handler) {
		if h.levels.outdated() {
			h.levels.ask(inner)
		}
		if inner.Enabled(ctx, record.Level) {
			_ = inner.Handle(ctx, record) // slog drops it, too
		}
	}))
	return nil
}

// handler returns the user's handler. It is for the reporter only.
func (h *reportingHandler) handler() slog.Handler {
	if h.known != nil {
		return h.known
	}
	user := h.user
	if user == nil {
		user = slog.Default()
	}
	handler := user.Handler()
	for _, with := range h.with {
		handler = with(handler)
	}
	if h.user != nil {
		h.known = handler
	}
	return handler
}

// guarded marks the panic of a handler as such.
func (h *reportingHandler) guarded(f func(slog.Handler)) func() {
	return func() {
		done := false
		defer func() {
			if !done {
				panic(brokenHandler{recover()})
			}
		}()
		f(h.handler())
		done = true
	}
}

// WithAttrs implements [slog.Handler].
func (h *reportingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(inner slog.Handler) slog.Handler { return inner.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h *reportingHandler) WithGroup(name string) slog.Handler {
	return h.and(func(inner slog.Handler) slog.Handler { return inner.WithGroup(name) })
}

func (h *reportingHandler) and(with func(slog.Handler) slog.Handler) slog.Handler {
	other := reportingHandler{reporter: h.reporter, user: h.user, levels: h.levels}
	other.with = append(slices.Clip(h.with), with)
	return &other
}

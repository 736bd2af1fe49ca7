package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Observer shows any process who runs what in an app. It has no lease, campaigns for
// nothing and writes nothing. All methods are safe for concurrent use. Only Updates and
// Await block, and none makes a call to the store.
//
// What it shows may be late: by a moment as a rule, and by as long as the store cannot
// be reached. Use it to find a node, not to decide who may do what: for that there are
// [Leadership.Valid] and fencing tokens.
type Observer struct {
	app     string
	reports *reporter
	log     *slog.Logger // hands its records to reports
	hooks   Hooks        // likewise
	store   availability

	viewer Viewer
	loop   sync.WaitGroup
	stop   context.CancelFunc

	mu      sync.Mutex
	view    *View
	since   []*time.Time  // by job of view: when its leader was seen to begin; nil if it led before
	changed chan struct{} // closed, and replaced, when there is another view
	over    bool          // there will be none; changed stays closed
}

// Observe returns an observer of an app, which the caller must close. It blocks until
// it sees the app, and keeps trying while the store cannot be reached. It returns ctx's
// error when ctx is done, which bounds the call only; [ErrInvalidConfig] for a name
// that breaks the rules of [NewConcurrency]; and an error that wraps [ErrPermanent] for
// what waiting cannot fix.
func Observe(ctx context.Context, app string, provider LeaseProvider, opts ...ConcurrencyOption) (*Observer, error) {
	var options commonOptions
	for _, o := range opts {
		options.apply(o)
	}
	if err := cmp.Or(options.invalid, validateNode(app, "observer")); err != nil {
		return nil, err
	}
	reports, hooks := options.report()
	o := &Observer{app: app, reports: reports, log: reports.log.With("app", app), hooks: hooks, view: new(View), changed: make(chan struct{})}
	o.store.down, o.store.up = o.storeDown, o.storeUp
	viewer, err := o.open(ctx, app, provider)
	if err != nil {
		reports.flush()
		return nil, fmt.Errorf("distributed: observe %q: %w", app, err)
	}
	o.viewer = viewer
	view, outdated, err := viewer.View()
	if err != nil {
		return nil, errors.Join(err, viewer.Close())
	}
	o.take(view, nil)
	var running context.Context
	running, o.stop = context.WithCancel(context.Background())
	o.loop.Go(func() { o.follow(running, outdated) })
	return o, nil
}

// open tries until there is a viewer, meets a permanent failure, or ctx is done.
func (o *Observer) open(ctx context.Context, app string, provider LeaseProvider) (Viewer, error) {
	req := LeaseRequest{App: app, Logger: o.log, tell: o.reports.tell, Events: LeaseEvents{
		Renewed:       func(_, _ time.Duration) { o.store.works() },
		RenewalFailed: o.store.fails,
	}}
	for pace := (backoff{}); ; {
		if err := sleep(ctx, pace.next()); err != nil {
			return nil, err
		}
		viewer, err := provider.OpenView(ctx, req)
		switch {
		case err == nil:
			o.store.works()
			return viewer, nil
		case ctx.Err() != nil:
			return nil, errors.Join(ctx.Err(), err)
		case errors.Is(err, ErrPermanent) || errors.Is(err, ErrInvalidConfig):
			return nil, err
		}
		o.store.fails(err)
	}
}

func (o *Observer) storeDown(cause error) {
	o.log.Warn("store unavailable, trying again", "error", cause)
	o.hooks.storeDown(cause)
}

func (o *Observer) storeUp(away time.Duration, again bool) {
	if again {
		o.log.Info("store available again", "away", away)
	}
	o.hooks.storeUp(away)
}

// Close ends the observation. It blocks until everything that the observer held is
// freed, which takes no call to the store.
func (o *Observer) Close() error {
	if err := o.made(); err != nil {
		return err
	}
	o.stop()
	o.loop.Wait()
	defer o.reports.flush()
	return o.viewer.Close()
}

// App returns the name of the app that the observer shows.
func (o *Observer) App() string { return o.app }

// View returns the whole picture. The caller must not change it.
func (o *Observer) View() *View {
	view, _ := o.latest()
	return view
}

// Silence returns how long ago each node was last heard of, by ID. Nodes send
// heartbeats four times a TTL. If all nodes are silent for longer than that, the
// observer is cut off, or the store cannot be reached.
func (o *Observer) Silence() map[string]time.Duration {
	if o.made() != nil {
		return nil
	}
	return o.viewer.Silence()
}

// Age returns how long ago the observer last heard from the store: that is how old what
// it shows may be. It is a few seconds at most while the store can be reached. If it
// cannot, that is logged, and [Hooks].StoreDown and StoreUp are called.
func (o *Observer) Age() time.Duration {
	if o.made() != nil {
		return 0
	}
	return o.viewer.Age()
}

// Leaders returns the leaders of all jobs that have one, sorted by job.
func (o *Observer) Leaders() []Leader {
	o.mu.Lock()
	view, since := o.seen(), o.since // which do not change
	o.mu.Unlock()
	return view.leaders(since)
}

// Updates yields what Leaders returns, at once and each time the app has changed, until
// ctx is done or the observer is closed. If that is so already, it yields nothing.
// Changes that come while the loop is busy, or within a tenth of a second of one
// another, are yielded together.
func (o *Observer) Updates(ctx context.Context) iter.Seq[[]Leader] {
	return func(yield func([]Leader) bool) {
		for range o.Views(ctx) {
			if !yield(o.Leaders()) {
				return
			}
		}
	}
}

// Views yields what View returns, as Updates does what Leaders returns. Of an app with
// many jobs it costs much less, as there is no list to be made.
func (o *Observer) Views(ctx context.Context) iter.Seq[*View] {
	return func(yield func(*View) bool) {
		for o.made() == nil && !o.ended() && ctx.Err() == nil {
			view, changed := o.latest()
			if !yield(view) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// Locate returns who leads job, and false if nobody does.
func (o *Observer) Locate(job string) (Leader, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	view := o.seen()
	j, ok := slices.BinarySearchFunc(view.Jobs, job, func(j JobView, job string) int { return cmp.Compare(j.Name, job) })
	if !ok || !view.Jobs[j].Led {
		return Leader{}, false
	}
	return view.leader(j, o.since[j]), true
}

// Await blocks until somebody leads job, and returns who does. It returns ctx's error
// when ctx is done, and [ErrClosed] when the observer is closed.
func (o *Observer) Await(ctx context.Context, job string) (Leader, error) {
	if err := o.made(); err != nil {
		return Leader{}, err
	}
	for {
		_, changed := o.latest()
		if l, ok := o.Locate(job); ok {
			return l, nil
		}
		if o.ended() {
			return Leader{}, fmt.Errorf("distributed: await %q: %w", job, ErrClosed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Leader{}, fmt.Errorf("distributed: await %q: %w", job, ctx.Err())
		}
	}
}

func (o *Observer) latest() (*View, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen(), o.changed
}

// seen is called with mu held.
func (o *Observer) seen() *View {
	if o.view == nil {
		return new(View)
	}
	return o.view
}

func (o *Observer) made() error {
	if o.viewer == nil {
		return notMade("Observer", "Observe")
	}
	return nil
}

func (o *Observer) follow(ctx context.Context, outdated <-chan struct{}) {
	defer o.end()
	for {
		select {
		case <-outdated:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		var view *View
		var err error
		if view, outdated, err = o.viewer.View(); err != nil {
			return
		}
		o.take(view, &began)
		// What follows at once is taken in together, for a tenth of a processor at most.
		if sleep(ctx, max(viewPause, 9*time.Since(began))) != nil {
			return
		}
	}
}

// viewPause is how long an observer waits between two views, at least.
const viewPause = 100 * time.Millisecond

// take takes in a view, seen at now.
func (o *Observer) take(view *View, now *time.Time) {
	since := beginnings(view, now, o.view, o.since) // which nobody else changes
	o.mu.Lock()
	defer o.mu.Unlock()
	o.view, o.since = view, since
	close(o.changed)
	o.changed = make(chan struct{})
}

// end ends all loops over Updates.
func (o *Observer) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	close(o.changed)
}

func (o *Observer) ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.over
}

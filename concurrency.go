package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Concurrency lets a node lead names: it campaigns for a name, does something while it
// leads, and resigns. [LeadershipBasedJobProcessor] is built on it. It is for programs
// that control leadership themselves.
//
// All names share one lease, which the first Campaign acquires. After a loss the next
// Campaign replaces it. All methods are safe for concurrent use.
type Concurrency struct {
	app, instance string
	provider      LeaseProvider
	reports       *reporter
	log           *slog.Logger // hands its records to reports
	hooks         Hooks        // likewise
	managed       bool         // a processor releases its leaderships
	invalid       error        // what is wrong with the arguments of NewConcurrency
	store         availability
	info          *NodeInfo // announced under each lease; nil if there is nothing to tell, or the balancer tells it

	obey      func([]Order) // does what operators order; nil if nobody does
	attending sync.Mutex
	attended  Lease // whose orders count

	wg sync.WaitGroup // everything Close waits for: campaigns, acquisitions, closing of lost leases

	mu          sync.Mutex
	closed      chan struct{} // closed when Close begins
	freed       chan struct{} // closed when Close is done
	names       map[string]*Leadership
	lease       *heldLease          // the current one, nil before the first and after a loss
	leases      map[*heldLease]bool // all that somebody still has to close
	acquisition *acquisition        // the one under way, if any
	retry       backoff             // between acquisitions
}

// NewConcurrency returns a Concurrency for a node. It makes no call to the store;
// Campaign reports wrong arguments. The caller must call Close in the end.
//
// app is the name of the service: 1 to 128 bytes without "/". Nodes of different apps
// have nothing to do with each other, even on the same store. instance is the name of
// the node, for people: 1 to 256 bytes. Both are UTF-8 without control characters.
func NewConcurrency(app, instance string, provider LeaseProvider, opts ...ConcurrencyOption) *Concurrency {
	var options commonOptions
	for _, o := range opts {
		options.apply(o)
	}
	return newConcurrency(app, instance, provider, options)
}

func newConcurrency(app, instance string, provider LeaseProvider, options commonOptions) *Concurrency {
	c := &Concurrency{
		app:      app,
		instance: instance,
		provider: provider,
		closed:   make(chan struct{}),
		freed:    make(chan struct{}),
		names:    map[string]*Leadership{},
		leases:   map[*heldLease]bool{},
	}
	c.reports, c.hooks = options.report()
	c.log = c.reports.log.With("app", app, "instance", instance)
	c.store.down, c.store.up = c.storeDown, c.storeUp
	c.invalid = cmp.Or(options.invalid, validateNode(app, instance))
	if c.invalid == nil && provider == nil {
		c.invalid = fmt.Errorf("%w: provider is nil", ErrInvalidConfig)
	}
	return c
}

// Campaign blocks until this node leads name, and returns the leadership. ctx bounds
// the campaign, not the leadership. name follows the rules of [Job].Name.
//
// While the store cannot be reached, Campaign keeps trying, with backoff. It returns
// only these errors: that of ctx, when ctx is done; [ErrClosed], when Close is called;
// [ErrBusy], at once, if this Concurrency already campaigns for name, or leads it, or
// has lost it and not resigned yet, as what ran under the lost leadership may not have
// stopped; [ErrInvalidConfig], at once, for a wrong name or a wrong argument of
// NewConcurrency; and an error that wraps [ErrPermanent] for what waiting cannot fix,
// such as a wrong password.
func (c *Concurrency) Campaign(ctx context.Context, name string) (*Leadership, error) {
	if err := cmp.Or(c.made(), c.invalid); err != nil {
		return nil, err
	}
	if err := validateJobName(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // of which the lease may ask what it likes
	defer cancel()
	over := make(chan *campaign, 1)
	if err := c.begin(ctx, name, func(a *campaign) { over <- a }); err != nil {
		return nil, err
	}
	return (<-over).result()
}

// Resign ends this node's leadership of name; see [Leadership.Resign]. It returns
// [ErrNotLeading] if there is none, even while the node campaigns for name.
func (c *Concurrency) Resign(ctx context.Context, name string) error {
	c.mu.Lock()
	l := c.names[name]
	c.mu.Unlock()
	if l == nil {
		return fmt.Errorf("distributed: resign %q: %w", name, ErrNotLeading)
	}
	return l.Resign(ctx)
}

// Close resigns everything that this node leads, makes blocked campaigns return
// [ErrClosed], and frees everything, here and in the store. The contexts of all
// leaderships are done with cause ErrClosed. Call Close only after everything that runs
// under them has stopped, or resign them one by one before.
//
// It blocks until that is done, or some 5 s if the store does not answer; then it
// returns an error that says why, and others wait until the lease has run out. It waits
// one second more, at most, for hooks and the log handler. A second Close waits for the
// first and returns nil.
func (c *Concurrency) Close() error {
	if err := c.made(); err != nil {
		return err
	}
	return c.close(func() {})
}

// close is Close. It calls released once the leases are closed, or that takes too long,
// and before leaderships are reported as over that nobody has released by then.
func (c *Concurrency) close(released func()) error {
	first, leases, leaderships := c.shut()
	if !first {
		<-c.freed
		return nil
	}
	defer close(c.freed)
	for _, l := range leaderships {
		l.end(ErrClosed)
	}
	errs := make([]error, len(leases))
	for i, held := range leases {
		c.wg.Go(func() { errs[i] = c.closeLease(held) })
	}
	returned := make(chan struct{})
	go func() { c.wg.Wait(); close(returned) }()
	var err error
	select {
	case <-returned:
		err = errors.Join(errs...)
	case <-time.After(closeTimeout + time.Second):
		err = errProviderBlocks
		c.log.Error("the provider does not return", "after", closeTimeout+time.Second)
	}
	released()
	for _, l := range leaderships {
		l.reportEnd()
	}
	for _, held := range leases {
		held.report.release()
	}
	c.reports.flush()
	return err
}

// errProviderBlocks is for a provider, or something that was plugged into it such
// as a dialer, that blocks whatever its context says.
var errProviderBlocks = errors.New("distributed: close: the provider does not return")

// shut makes c refuse everything from now on, and hands to the caller what
// there is to close.
func (c *Concurrency) shut() (first bool, leases []*heldLease, leaderships []*Leadership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed() {
		return false, nil, nil
	}
	close(c.closed)
	leases = slices.Collect(maps.Keys(c.leases))
	c.lease = nil
	clear(c.leases)
	for _, l := range c.names {
		if l != nil {
			leaderships = append(leaderships, l)
		}
	}
	return true, leases, leaderships
}

// View returns a picture of the app as this node sees it. It returns false while there
// is no lease: before the first Campaign, after a loss, and after Close. It does not
// block and makes no call to the store.
func (c *Concurrency) View() (*View, bool) {
	held := c.held()
	if held == nil {
		return nil, false
	}
	view, _, err := held.lease.View()
	return view, err == nil
}

// held returns the current lease, nil if there is none.
func (c *Concurrency) held() *heldLease {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lease
}

// talks reports whether what is logged at Info goes anywhere; to find that out
// from the logger costs an allocation for each attribute.
func (c *Concurrency) talks() bool { return c.log.Enabled(context.Background(), slog.LevelInfo) }

func (c *Concurrency) made() error {
	if c.closed == nil {
		return notMade("Concurrency", "NewConcurrency")
	}
	return nil
}

func (c *Concurrency) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

var (
	// ErrClosed is returned by calls on something that has been closed, and by calls
	// that are blocked when it is closed. It is also the cause of the contexts of the
	// leaderships that ended with it.
	ErrClosed = errors.New("distributed: closed")

	// ErrBusy is returned by [Concurrency.Campaign] for a name that this node already
	// campaigns for, or leads, or has lost and not resigned.
	ErrBusy = errors.New("distributed: already campaigning for or leading this name")

	// ErrNotLeading is returned by Resign for a name that this node does not lead.
	ErrNotLeading = errors.New("distributed: not leading this name")
)

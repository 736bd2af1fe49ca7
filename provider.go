package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// OpenStore opens a store for a lease, or for an observer (then Instance is empty),
// which closes it. It makes one attempt. If it knows that the store cannot be reached,
// it returns early with the reason. ctx bounds the call only, not the life of the
// store. An error may wrap [ErrRefused] or [ErrInvalidConfig].
type OpenStore func(ctx context.Context, req LeaseRequest) (Store, error)

// NewLeaseProvider returns a provider of leases on any store that follows the rules of
// [Store]. It calls open for each lease and observer, so that each has a connection of
// its own. It makes no call itself: [Concurrency.Campaign] and
// [LeadershipBasedJobProcessor.Execute] report wrong options before anything is
// written. The provider is safe for concurrent use if open is, and has nothing to
// close.
func NewLeaseProvider(open OpenStore, opts ...LeaseOption) LeaseProvider {
	p := newStoreProvider(open, newLeaseOptions(opts))
	if open == nil && p.invalid == nil {
		p.invalid = fmt.Errorf("%w: NewLeaseProvider: open is nil", ErrInvalidConfig)
	}
	return p
}

type storeProvider struct {
	open      OpenStore
	timing    timing
	namespace string
	invalid   error
	clock     *clock // what is remembered from lease to lease counts on it

	mu      sync.Mutex
	records map[string]*appRecord // by prefix of the app's keys
}

func newStoreProvider(open OpenStore, o leaseOptions) *storeProvider {
	return &storeProvider{
		open: open, timing: o.timing, namespace: o.namespace, invalid: o.validate(),
		clock: newClock(), records: map[string]*appRecord{},
	}
}

// AcquireLease implements [LeaseProvider].
func (p *storeProvider) AcquireLease(ctx context.Context, req LeaseRequest) (Lease, error) {
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	prefix := p.prefix(req)
	record := p.record(prefix)
	s, err := p.join(ctx, prefix, record, req)
	if err = record.joining.judge(req.Logger, err); err != nil {
		return nil, fmt.Errorf("distributed: acquire lease: %w", err)
	}
	return s, nil
}

// joinTimeout bounds what may take several calls: to open a store, and then to join; see
// [admission.patience].
const joinTimeout = 5 * callTimeout

func (p *storeProvider) join(ctx context.Context, prefix string, record *appRecord, req LeaseRequest) (*session, error) {
	store, err := p.openStore(ctx, req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, record.joining.patience())
	defer cancel()
	s, err := join(ctx, sessionOptions{
		store: store, prefix: prefix, id: newID(), instance: req.Instance, timing: p.timing, clock: p.clock,
		known: record.recall(), remember: record.remember, log: req.Logger, events: req.Events,
	})
	record.joining.tried(err)
	return s, err
}

func (p *storeProvider) openStore(ctx context.Context, req LeaseRequest) (Store, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return p.open(ctx, req)
}

// OpenView implements [LeaseProvider].
func (p *storeProvider) OpenView(ctx context.Context, req LeaseRequest) (Viewer, error) {
	v, err := p.openView(ctx, req)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (p *storeProvider) openView(ctx context.Context, req LeaseRequest) (*viewer, error) {
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	prefix := p.prefix(req)
	record := p.record(prefix)
	var v *viewer
	store, err := p.openStore(ctx, req)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, record.looking.patience())
		defer cancel()
		v, err = look(ctx, store, keys{prefix}, p.timing, p.clock, req)
		record.looking.tried(err)
	}
	if err = record.looking.judge(req.Logger, err); err != nil {
		return nil, fmt.Errorf("distributed: open view: %w", err)
	}
	return v, nil
}

func (p *storeProvider) check(ctx context.Context) error {
	if p.invalid == nil && ctx == nil {
		return fmt.Errorf("%w: ctx is nil", ErrInvalidConfig)
	}
	return p.invalid
}

func (p *storeProvider) prefix(req LeaseRequest) string { return p.namespace + req.App + "/" }

// appRecord is what the leases and observers of an app that this provider has made
// have learnt, for those that follow.
type appRecord struct {
	mu    sync.Mutex
	known memory

	joining, looking admission
}

func (p *storeProvider) record(prefix string) *appRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.records[prefix] == nil {
		p.records[prefix] = new(appRecord)
	}
	return p.records[prefix]
}

func (r *appRecord) recall() memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

func (r *appRecord) remember(m memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = m
}

// admission is whether the store admits this process. What refuses it for good as
// it starts is a mistake that ends it, so that somebody sees it. Later it is a
// change that somebody made and may undo.
type admission struct {
	mu       sync.Mutex
	admitted bool // once, with all that is needed
	told     bool // that we go on although we are refused
	since    time.Time
	refusals int // in a row
	timeouts int // likewise, of a store that was open
}

// patience is how long an attempt may take once the store is open: longer after each that
// took too long, as the first listing may be large.
func (a *admission) patience() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return joinTimeout << min(a.timeouts, 2)
}

// tried takes in how an attempt ended whose store was open.
func (a *admission) tried(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timeouts++; !errors.Is(err, context.DeadlineExceeded) {
		a.timeouts = 0
	}
}

const (
	// refusedFor and refusedTimes are for how long, and how often, a process must
	// have been refused, and not been admitted in between, before that is taken as
	// final. A moment proves nothing.
	refusedFor   = 10 * time.Second
	refusedTimes = 4
)

// judge takes in how an attempt ended. It returns err, marked with ErrPermanent if
// there is no use in trying again.
func (a *admission) judge(log *slog.Logger, err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.admitted, a.told, a.refusals = true, false, 0
		return nil
	case !errors.Is(err, ErrRefused):
		return err
	}
	if a.refusals++; a.refusals == 1 {
		a.since = time.Now()
	}
	if a.refusals < refusedTimes || time.Since(a.since) < refusedFor {
		return err
	}
	if !a.admitted {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	if !a.told {
		a.told = true
		log.Warn("the store no longer accepts this process, trying again", "error", err)
	}
	return err
}

// ErrRefused marks errors of a [Store] that stay the same until somebody changes
// something: a wrong password, a certificate that is not accepted, a missing
// permission. A node that has never had a lease gives up, with [ErrPermanent], when
// several attempts over some 10 s agree. A node that has had one keeps trying.
var ErrRefused = errors.New("distributed: refused by the store")

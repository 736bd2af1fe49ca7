package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Operator gives orders to the nodes of an app, from any process. It has no lease and
// leads nothing. Orders are documents in the store: nodes obey them as soon as they see
// them, and they survive restarts of everything until they are taken back. All methods
// are safe for concurrent use, also by several operators at once.
//
// Each method that gives an order checks it against what the operator sees of the app,
// writes it, and blocks until the store has accepted it or ctx is done. It returns
// [ErrUnknown] for a job that no node has, or an instance that cannot do it;
// [ErrOrdered] for what is already ordered, or contradicts an order; [ErrNotOrdered] if
// there is nothing to take back; [ErrInvalidConfig] for names that break the rules;
// [ErrRefused] for what the store does not permit; ctx's error; and other errors of the
// store. After the last two, the order may have been given all the same.
type Operator struct {
	store  Store
	keys   keys
	viewer *viewer
}

// Note says who gives an order, and why.
type Note struct {
	By  string `json:"by"`  // 1 to 256 bytes of UTF-8 without control characters
	Why string `json:"why"` // at most 512 bytes of the same; may be empty
}

const maxWhy = 512

func (n Note) validate() error {
	if err := validateText("Note.By", n.By, maxInstance); err != nil {
		return err
	}
	if n.Why == "" {
		return nil
	}
	return validateText("Note.Why", n.Why, maxWhy)
}

// NewOperator returns an operator of an app, which the caller must close. It makes one
// attempt to look at the app, and blocks until that has succeeded or failed, or ctx is
// done; ctx bounds the call only. The provider must come from [NewLeaseProvider],
// [NewETCDLeaseProvider] or [NewMemoryLeaseProvider], or from the constructor of
// another store. Of the options only [WithLogger] matters: trouble with the store is
// logged.
func NewOperator(ctx context.Context, app string, provider LeaseProvider, opts ...ConcurrencyOption) (*Operator, error) {
	var options commonOptions
	for _, o := range opts {
		options.apply(o)
	}
	if err := cmp.Or(options.invalid, validateNode(app, "operator")); err != nil {
		return nil, err
	}
	p, ok := provider.(*storeProvider)
	if !ok {
		return nil, fmt.Errorf("%w: NewOperator: %T has no store: give the provider that NewLeaseProvider or NewETCDLeaseProvider has returned", ErrInvalidConfig, provider)
	}
	reports, _ := options.report()
	defer reports.flush()
	req := LeaseRequest{App: app, Logger: reports.log, tell: reports.tell}
	viewer, err := p.openView(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("distributed: operate %q: %w", app, err)
	}
	store, err := p.open(ctx, req)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("distributed: operate %q: %w", app, err), viewer.Close())
	}
	return &Operator{store: store, keys: keys{p.prefix(req)}, viewer: viewer}, nil
}

// Close frees what the operator holds, without a call to the store. Its orders remain.
func (o *Operator) Close() error {
	if o.viewer == nil {
		return o.made()
	}
	return errors.Join(o.viewer.Close(), o.store.Close())
}

// Pause keeps all nodes from running the job until Resume. Where the job runs, the
// context of its Work is done with cause [ErrPaused].
func (o *Operator) Pause(ctx context.Context, job string, n Note) error {
	if err := validateJobName(job); err != nil {
		return err // or it would be all of them
	}
	return o.give(ctx, Order{Kind: OrderPause, Job: job}, n)
}

// PauseAll pauses all jobs of the app, including jobs that are added later, until
// ResumeAll. Resume of a single job does not undo it.
func (o *Operator) PauseAll(ctx context.Context, n Note) error {
	return o.give(ctx, Order{Kind: OrderPause}, n)
}

// Resume takes back Pause.
func (o *Operator) Resume(ctx context.Context, job string) error {
	if err := validateJobName(job); err != nil {
		return err
	}
	return o.takeBack(ctx, Order{Kind: OrderPause, Job: job})
}

// ResumeAll takes back PauseAll. A job that was also paused by itself stays paused.
func (o *Operator) ResumeAll(ctx context.Context) error {
	return o.takeBack(ctx, Order{Kind: OrderPause})
}

// Move makes the job run on an instance, which needs [WithLoadBalancing]. It moves like
// any other job, when the instance is waiting for it, and stays there until the
// instance stops, drains or cannot take it any more. Then the order ends. It ends at
// once if the job was just moving somewhere else: give it again then. A later Move
// replaces an earlier one.
func (o *Operator) Move(ctx context.Context, job, instance string, n Note) error {
	return o.give(ctx, Order{Kind: OrderMove, Job: job, Instance: instance}, n)
}

// Pin makes the job run on an instance whenever that can take it, and elsewhere only
// while it cannot, until Unpin. It needs [WithLoadBalancing], and replaces a Move. A
// job that is pinned or was moved has no standby.
func (o *Operator) Pin(ctx context.Context, job, instance string, n Note) error {
	return o.give(ctx, Order{Kind: OrderPin, Job: job, Instance: instance}, n)
}

// Unpin takes back Pin, or Move. The job stays where it is, if it can.
func (o *Operator) Unpin(ctx context.Context, job string) error {
	return o.takeBack(ctx, Order{Kind: OrderPin, Job: job})
}

// Drain makes an instance take no jobs, and hand over those that it has, until Undrain.
// It also applies to later processes of that name. With [WithLoadBalancing] a job stays
// on the instance as long as no other node can take it; without, the instance releases
// its jobs at once. Drain does not wait for that.
func (o *Operator) Drain(ctx context.Context, instance string, n Note) error {
	return o.give(ctx, Order{Kind: OrderDrain, Instance: instance}, n)
}

// Undrain takes back Drain.
func (o *Operator) Undrain(ctx context.Context, instance string) error {
	return o.takeBack(ctx, Order{Kind: OrderDrain, Instance: instance})
}

// Resign makes the node that leads the job release it, once. The next node in the queue
// leads; if no other waits, that may be the same one. The context of its Work is done
// with cause [ErrResigned]. It returns [ErrUnknown] if nobody leads the job.
func (o *Operator) Resign(ctx context.Context, job string, n Note) error {
	return o.give(ctx, Order{Kind: OrderResign, Job: job}, n)
}

// Forget deletes the record that a job is done, or has failed: a job that is done runs
// again, and one that has failed no longer pauses. It returns [ErrUnknown] if there is
// no record of the job.
func (o *Operator) Forget(ctx context.Context, job string) error {
	if err := cmp.Or(o.made(), validateJobName(job)); err != nil {
		return err
	}
	view, _, err := o.viewer.View()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(view.Records, func(r JobRecord) bool { return r.Job == job }) {
		return fmt.Errorf("%w: nothing is on record of the job %q", ErrUnknown, job)
	}
	return forgetJob(ctx, o.store, o.keys, job)
}

// Orders returns the orders that the operator sees; its own may take a moment to
// appear. It does not block and makes no call to the store. The caller must not change
// what it returns.
func (o *Operator) Orders() []Order {
	if o.made() != nil {
		return nil
	}
	view, _, err := o.viewer.View()
	if err != nil {
		return nil
	}
	return view.Orders
}

func (o *Operator) made() error {
	if o.viewer == nil {
		return notMade("Operator", "NewOperator")
	}
	return nil
}

var (
	// ErrUnknown is returned for what is not there: by an [Operator] for a job that no
	// node has, an instance that does not run, or to which no job can be moved, or a job
	// that the instance does not have; by a [LeadershipBasedJobProcessor] for a job that
	// it does not have.
	ErrUnknown = errors.New("distributed: unknown")

	// ErrOrdered is returned for an order that was given already, or contradicts one
	// that was; the text says by whom and why.
	ErrOrdered = errors.New("distributed: ordered already")

	// ErrNotOrdered is returned when there is no order to take back.
	ErrNotOrdered = errors.New("distributed: not ordered")
)

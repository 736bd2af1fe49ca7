package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Operator gives orders to the nodes of an app, from any process: it has no lease and
// leads nothing. Orders are documents in the store. So they take effect as soon as the
// nodes see them, and outlive restarts of everything, until they are taken back. A node
// obeys them as of when it acquires a lease. All methods are safe for concurrent use,
// also by several operators.
//
// Each method that orders something checks it against what it sees of the app, writes
// the order, and returns once the store has accepted it. It returns [ErrUnknown] for a
// job that no node has or an instance that cannot do it; [ErrOrdered] for what has been
// ordered already, or contradicts that; [ErrNotOrdered] when there is nothing to take
// back; [ErrInvalidConfig] for what breaks the rules of names; [ErrRefused] for what the
// store does not allow; ctx's error; and other errors of the store, after which the order
// may have been given all the same.
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

// NewOperator returns an operator of the app called app, which the caller closes.
// It makes one attempt to look at the app, and blocks until that has succeeded or
// failed, or ctx is done, which ends the call only. The provider must be one that
// [NewLeaseProvider], [NewETCDLeaseProvider] or [NewMemoryLeaseProvider] has returned.
// Of the options, the logger is told of trouble with the store.
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

// Close frees what the operator holds, without a call to the store. Its orders stay.
func (o *Operator) Close() error {
	if o.viewer == nil {
		return o.made()
	}
	return errors.Join(o.viewer.Close(), o.store.Close())
}

// Pause lets no node run the job until Resume. Where it runs, the context of its Work
// is done, with the cause [ErrPaused].
func (o *Operator) Pause(ctx context.Context, job string, n Note) error {
	if err := validateJobName(job); err != nil {
		return err // or it would be all of them
	}
	return o.give(ctx, Order{Kind: OrderPause, Job: job}, n)
}

// PauseAll does that to all jobs of the app, also to those that come later. Resume of
// a single job does not undo it.
func (o *Operator) PauseAll(ctx context.Context, n Note) error {
	return o.give(ctx, Order{Kind: OrderPause}, n)
}

// Resume undoes Pause.
func (o *Operator) Resume(ctx context.Context, job string) error {
	if err := validateJobName(job); err != nil {
		return err
	}
	return o.takeBack(ctx, Order{Kind: OrderPause, Job: job})
}

// ResumeAll undoes PauseAll. What is paused by itself stays so.
func (o *Operator) ResumeAll(ctx context.Context) error {
	return o.takeBack(ctx, Order{Kind: OrderPause})
}

// Move has the job run on an instance, which needs [WithLoadBalancing]. It moves as
// any other, when the instance waits for it, and stays there until the instance goes,
// drains or cannot take it any more; after that the order is over. It is over at once
// if the job was just on its way elsewhere: then give it again. A later Move replaces an
// earlier one.
func (o *Operator) Move(ctx context.Context, job, instance string, n Note) error {
	return o.give(ctx, Order{Kind: OrderMove, Job: job, Instance: instance}, n)
}

// Pin has the job run on an instance whenever that can take it, and elsewhere only
// while it cannot, until Unpin. It needs [WithLoadBalancing], and replaces a Move. A
// job that is where it is pinned or was moved to has no standby.
func (o *Operator) Pin(ctx context.Context, job, instance string, n Note) error {
	return o.give(ctx, Order{Kind: OrderPin, Job: job, Instance: instance}, n)
}

// Unpin undoes Pin, and Move. The job stays where it is, if it can.
func (o *Operator) Unpin(ctx context.Context, job string) error {
	return o.takeBack(ctx, Order{Kind: OrderPin, Job: job})
}

// Drain has an instance take no jobs, and hand over those that it has, until Undrain;
// that holds for all its processes to come. With [WithLoadBalancing] a job stays there
// as long as no other node can take it; without, it is let go of at once. It does not
// wait for that.
func (o *Operator) Drain(ctx context.Context, instance string, n Note) error {
	return o.give(ctx, Order{Kind: OrderDrain, Instance: instance}, n)
}

// Undrain undoes Drain.
func (o *Operator) Undrain(ctx context.Context, instance string) error {
	return o.takeBack(ctx, Order{Kind: OrderDrain, Instance: instance})
}

// Resign has the node that leads the job let go of it, once: the next in the queue
// leads, which may be the same node if no other waits. The context of its Work is done,
// with the cause [ErrResigned]. It returns [ErrUnknown] if nobody leads the job.
func (o *Operator) Resign(ctx context.Context, job string, n Note) error {
	return o.give(ctx, Order{Kind: OrderResign, Job: job}, n)
}

// Forget takes off the record that a job is done, or has failed: one that is done is
// run again, and one that has failed does not pause any more. It returns [ErrUnknown]
// if nothing is on record of the job.
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

// Orders returns the orders that there are, as the operator sees them: its own may
// take a moment to show. It does not block and makes no call to the store. The caller
// does not change what it returns.
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

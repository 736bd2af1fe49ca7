package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Operator gives orders to the nodes of an app, from any process: it has no lease and
// leads nothing. Orders are documents in the store. So they take effect as soon as the
// nodes see them, and outlive restarts of everything, until they are taken back. A node
// obeys them as of when it acquires a lease. All methods are safe for concurrent use,
// also by several operators.
//
// Each method that orders something checks it against what it sees of the app, writes
// the order, and returns once the store has accepted it. It returns [ErrUnknown] for a
// job that no node has or an instance that is not there; [ErrOrdered] for what has been
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

// give writes an order, if it can be carried out.
func (o *Operator) give(ctx context.Context, order Order, n Note) error {
	if err := cmp.Or(o.made(), n.validate(), order.validate()); err != nil {
		return err
	}
	view, err := o.knows(ctx, &order)
	if err != nil {
		return err
	}
	o.sweep(ctx, view)
	order.By, order.Why, order.At = n.By, n.Why, time.Now()
	key, value, err := o.keys.encodeOrder(&order)
	if err != nil {
		return err
	}
	return o.change(ctx, key, func(there Document) (bool, []byte, error) {
		if there.Value == nil {
			return true, value, nil
		}
		was, err := o.keys.readOrder(order.name(), there.Value)
		switch {
		case errors.Is(err, errUnreadable) || order.replaces(&was):
			return true, value, nil
		case err != nil: // whatever a newer version wants, it is not for this one to undo unseen
			return false, nil, fmt.Errorf("%w: %w", ErrOrdered, err)
		}
		return false, nil, fmt.Errorf("%w: %s", ErrOrdered, was)
	})
}

// takeBack deletes an order.
func (o *Operator) takeBack(ctx context.Context, order Order) error {
	if err := cmp.Or(o.made(), order.validate()); err != nil {
		return err
	}
	return o.change(ctx, o.keys.order(order.name()), func(there Document) (bool, []byte, error) {
		if there.Value == nil {
			return false, nil, fmt.Errorf("%w: %s", ErrNotOrdered, order.undone())
		}
		return true, nil, nil
	})
}

// change writes what decide makes of a document, or deletes it if that is nil; again
// if somebody else has changed it meanwhile.
func (o *Operator) change(ctx context.Context, key string, decide func(there Document) (bool, []byte, error)) error {
	for pace := (backoff{}); ; {
		if err := sleep(ctx, pace.next()); err != nil {
			return fmt.Errorf("distributed: operate: %w", err)
		}
		there, err := o.read(ctx, key)
		if err != nil {
			return fmt.Errorf("distributed: operate: %w", err)
		}
		write, value, err := decide(there)
		if err != nil || !write {
			return err
		}
		err = o.put(ctx, key, value, there.Revision)
		if !errors.As(err, new(*ConflictError)) {
			return outcome(err)
		}
	}
}

// outcome says what came of a write. What the store refuses has not been done.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrRefused) || errors.Is(err, ErrInvalidConfig):
		return fmt.Errorf("distributed: operate: not ordered: %w", err)
	}
	return fmt.Errorf("distributed: operate: it may have been ordered: %w", err)
}

func (o *Operator) put(ctx context.Context, key string, value []byte, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if value == nil {
		return o.store.Delete(ctx, key, rev)
	}
	_, err := o.store.Put(ctx, key, value, rev)
	return err
}

// read returns a document, at revision 0 if there is none.
func (o *Operator) read(ctx context.Context, key string) (Document, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return readDocument(ctx, o.store, key)
}

// validate checks the names in an order.
func (o *Order) validate() error {
	var errs []error
	if o.Kind == OrderDrain || o.Kind == OrderMove || o.Instance != "" {
		errs = append(errs, validateText("instance name", o.Instance, maxInstance))
	}
	if o.Kind != OrderDrain && (o.Kind != OrderPause || o.Job != "") {
		errs = append(errs, validateJobName(o.Job))
	}
	return errors.Join(errs...)
}

// replaces reports whether the order may take the place of an earlier one.
func (o *Order) replaces(was *Order) bool {
	switch o.Kind {
	case OrderMove:
		return was.Kind == OrderMove
	case OrderPin:
		return was.Kind == OrderMove
	case OrderResign:
		return was.token != o.token
	}
	return false
}

// undone says what there is none of.
func (o *Order) undone() string {
	switch {
	case o.Kind == OrderPause && o.Job == "":
		return "the app is not paused"
	case o.Kind == OrderPause:
		return o.Job + " is not paused by itself"
	case o.Kind == OrderDrain:
		return o.Instance + " is not drained"
	}
	return o.Job + " is not pinned or moved"
}

// knows checks an order against the app, and completes it with the leadership that it
// is about.
func (o *Operator) knows(ctx context.Context, order *Order) (*View, error) {
	view, _, err := o.viewer.View()
	if err != nil {
		return nil, err
	}
	if err := order.check(view); err != nil {
		return nil, err
	}
	if order.Kind != OrderMove && order.Kind != OrderResign {
		return view, nil
	}
	for {
		token, known := o.viewer.leadership(order.Job)
		switch {
		case token == 0 && order.Kind == OrderResign:
			return nil, fmt.Errorf("%w: nobody leads the job %q", ErrUnknown, order.Job)
		case token == 0 || known:
			order.token = token
			return view, nil
		}
		if err := sleep(ctx, tokenPoll); err != nil {
			return nil, fmt.Errorf("distributed: operate: %w", err)
		}
	}
}

// tokenPoll is how often an operator looks for the token of a leadership that has just
// begun; its node writes it within a quarter of its TTL.
const tokenPoll = 10 * time.Millisecond

// leadership returns the token of the leadership of a job, 0 if nobody leads it, and
// whether that is known for sure.
func (v *viewer) leadership(job string) (token int64, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.mirror.queues[job]
	if q == nil || len(q.claims) == 0 || !v.mirror.led(q) {
		return 0, false
	}
	first := q.claims[0]
	return first.number, first.number != first.doc.bound
}

// check says why an order cannot be carried out.
func (o *Order) check(v *View) error {
	if o.Job != "" && !v.has(o.Job, "") {
		return fmt.Errorf("%w: no node has the job %q", ErrUnknown, o.Job)
	}
	if o.Instance != "" {
		return o.checkInstance(v)
	}
	return nil
}

func (o *Order) checkInstance(v *View) error {
	at := func(n NodeView) bool { return n.Instance == o.Instance }
	if !slices.ContainsFunc(v.Nodes, at) {
		return fmt.Errorf("%w: there is no instance %q", ErrUnknown, o.Instance)
	}
	switch {
	case o.Kind == OrderDrain:
		return nil
	case !slices.ContainsFunc(v.Nodes, func(n NodeView) bool { return at(n) && n.Jobs != nil }):
		return fmt.Errorf("%w: %s runs without WithLoadBalancing: no job can be moved or pinned to it", ErrUnknown, o.Instance)
	case !v.has(o.Job, o.Instance):
		return fmt.Errorf("%w: %s does not have the job %q", ErrUnknown, o.Instance, o.Job)
	}
	return nil
}

// has reports whether a node has the job: one of the instance, if that is not empty.
// Without balancing, nobody campaigns for one that is paused or done, but it is known; and
// while none may run, any name is taken for that of a job.
func (v *View) has(job, instance string) bool {
	for _, n := range v.Nodes {
		_, listed := slices.BinarySearchFunc(n.Jobs, job, func(i JobInfo, name string) int { return cmp.Compare(i.Name, name) })
		if listed && (instance == "" || n.Instance == instance) {
			return true
		}
	}
	return instance == "" && (slices.ContainsFunc(v.Jobs, func(j JobView) bool { return j.Name == job }) ||
		slices.ContainsFunc(v.Orders, func(o Order) bool { return o.Job == job }) ||
		slices.ContainsFunc(v.Records, func(r JobRecord) bool { return r.Job == job }) || v.hides())
}

// hides reports whether there may be jobs that nobody tells of: a node without balancing
// stands for none of its jobs while orders are against all of them.
func (v *View) hides() bool {
	all := slices.ContainsFunc(v.Orders, func(o Order) bool { return o.Kind == OrderPause && o.Job == "" })
	return slices.ContainsFunc(v.Nodes, func(n NodeView) bool { return n.Jobs == nil && (all || n.Draining) })
}

// sweep deletes orders that have been carried out, or can have no effect any more. If
// that fails, another does it.
func (o *Operator) sweep(ctx context.Context, v *View) {
	for _, order := range v.Orders {
		if !order.over(v) {
			continue
		}
		_ = o.change(ctx, o.keys.order(order.name()), func(there Document) (bool, []byte, error) {
			was, err := o.keys.readOrder(order.name(), there.Value)
			return err == nil && was == order, nil, nil
		})
	}
}

// over reports whether a move or resignation has been carried out.
func (o *Order) over(v *View) bool {
	if o.Kind != OrderMove && o.Kind != OrderResign {
		return false
	}
	i := slices.IndexFunc(v.Jobs, func(j JobView) bool { return j.Name == o.Job && j.Led })
	if i < 0 || v.Jobs[i].Queue[0].Token <= o.token {
		return false
	}
	first := v.Jobs[i].Queue[0].Node
	there := slices.ContainsFunc(v.Nodes, func(n NodeView) bool { return n.ID == first && n.Instance == o.Instance })
	return o.Kind == OrderResign || !there
}

var (
	// ErrUnknown is returned for what is not there: by an [Operator] for a job that no
	// node has, an instance that does not run, or a job that the instance does not
	// have; by a [LeadershipBasedJobProcessor] for a job that it does not have.
	ErrUnknown = errors.New("distributed: unknown")

	// ErrOrdered is returned for an order that was given already, or contradicts one
	// that was; the text says by whom and why.
	ErrOrdered = errors.New("distributed: ordered already")

	// ErrNotOrdered is returned when there is no order to take back.
	ErrNotOrdered = errors.New("distributed: not ordered")
)

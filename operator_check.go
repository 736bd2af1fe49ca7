package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

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
		return unbalanced{o.Instance}
	case !v.has(o.Job, o.Instance):
		return fmt.Errorf("%w: %s does not have the job %q", ErrUnknown, o.Instance, o.Job)
	}
	return nil
}

// over reports whether a move or resignation has been carried out.
func (o *Order) over(v *View) bool {
	if o.Kind != OrderMove && o.Kind != OrderResign || v.Unreadable != "" {
		return false
	}
	i, stands := v.job(o.Job)
	if !stands {
		return o.Kind == OrderResign // nobody is left to let go of it
	}
	if !v.Jobs[i].Led || v.Jobs[i].Queue[0].Token <= o.token {
		return false
	}
	first := v.Jobs[i].Queue[0].Node
	there := slices.ContainsFunc(v.Nodes, func(n NodeView) bool { return n.ID == first && n.Instance == o.Instance })
	return o.Kind == OrderResign || !there
}

// unbalanced is an [ErrUnknown] about an instance that is there.
type unbalanced struct{ instance string }

func (u unbalanced) Error() string {
	return "distributed: " + u.instance + " runs without WithLoadBalancing: no job can be moved or pinned to it"
}

func (u unbalanced) Is(target error) bool { return target == ErrUnknown }

// has reports whether a node has the job: one of the instance, if that is not empty.
// Without balancing, nobody campaigns for one that is paused or done, but it is known.
func (v *View) has(job, instance string) bool {
	for _, n := range v.Nodes {
		if inList(n.Jobs, job) && (instance == "" || n.Instance == instance) {
			return true
		}
	}
	return instance == "" && (slices.ContainsFunc(v.Nodes, func(n NodeView) bool { return inList(n.Barred, job) }) ||
		slices.ContainsFunc(v.Jobs, func(j JobView) bool { return j.Name == job }) ||
		slices.ContainsFunc(v.Orders, func(o Order) bool { return o.Job == job }) ||
		slices.ContainsFunc(v.Records, func(r JobRecord) bool { return r.Job == job }))
}

// inList reports whether the job is in the list.
func inList(list []JobInfo, job string) bool {
	_, ok := slices.BinarySearchFunc(list, job, func(i JobInfo, name string) int { return cmp.Compare(i.Name, name) })
	return ok
}

// orders returns all that there are, also those that have been carried out.
func (v *viewer) orders() []Order {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mirror.listOrders()
}

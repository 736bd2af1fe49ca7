package distributed

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Order is something that an operator wants of the nodes of an app: see [Operator]. It
// is kept in the store until it is taken back or has been carried out, and survives
// restarts.
type Order struct {
	Kind OrderKind `json:"kind"`

	// Job is the job that it is about; empty for a drain, and for a pause of all jobs.
	Job string `json:"job"`

	// Instance is the node that drains, or to which the job is moved or pinned.
	Instance string `json:"instance"`

	By  string    `json:"by"`          // who has given it
	Why string    `json:"why"`         // the reason given; may be empty
	At  time.Time `json:"at,omitzero"` // when, by the clock of the operator's machine

	token int64 // of the leadership that it is to end
}

// OrderKind says what an [Order] wants.
type OrderKind string

// What operators can order.
const (
	OrderPause  OrderKind = "pause"  // the job runs nowhere; or no job does
	OrderMove   OrderKind = "move"   // the job runs on the instance, until that goes
	OrderPin    OrderKind = "pin"    // the job runs on the instance whenever that can take it
	OrderDrain  OrderKind = "drain"  // the instance takes no jobs, and hands over those it has
	OrderResign OrderKind = "resign" // the leader of the job releases it, once
)

// String says the order in words.
func (o Order) String() string {
	var s string
	switch {
	case o.Kind == OrderPause && o.Job == "":
		s = "all jobs are paused"
	case o.Kind == OrderPause:
		s = o.Job + " is paused"
	case o.Kind == OrderMove:
		s = o.Job + " is moved to " + o.Instance
	case o.Kind == OrderPin:
		s = o.Job + " is pinned to " + o.Instance
	case o.Kind == OrderDrain:
		s = o.Instance + " is drained"
	default:
		s = o.Job + " is to be released"
	}
	s += " by " + o.By
	if o.Why != "" {
		s += ": " + o.Why
	}
	return s
}

// orderValue is a document of an order.
type orderValue struct {
	By    string `json:"by"`
	Why   string `json:"why,omitempty"`
	At    int64  `json:"at"`              // Unix time in milliseconds
	To    string `json:"to,omitempty"`    // instance
	Once  bool   `json:"once,omitempty"`  // until the job runs elsewhere
	Token int64  `json:"token,omitempty"` // of the leadership that is to end
}

func (v *orderValue) valid() bool { return v.By != "" && v.Token >= 0 }

// The documents of orders: a move and a pin have one, so that of two operators who
// want a job at different places one is refused.
const (
	pauseOrders  = "pause/"
	allPaused    = "app/pause"
	placeOrders  = "place/"
	drainOrders  = "drain/"
	resignOrders = "resign/"
)

func (k keys) order(name string) string { return k.prefix + "orders/" + name }

// orderName returns the name below orders/ of the document that holds o.
func (o *Order) name() string {
	switch o.Kind {
	case OrderPause:
		if o.Job == "" {
			return allPaused
		}
		return pauseOrders + o.Job
	case OrderMove, OrderPin:
		return placeOrders + o.Job
	case OrderDrain:
		return drainOrders + o.Instance
	}
	return resignOrders + o.Job
}

func (k keys) encodeOrder(o *Order) (key string, value []byte, err error) {
	key = k.order(o.name())
	v := &orderValue{By: o.By, Why: o.Why, At: o.At.UnixMilli(), Once: o.Kind == OrderMove, Token: o.token}
	if o.Kind == OrderMove || o.Kind == OrderPin {
		v.To = o.Instance
	}
	value, err = k.encode(key, v)
	return key, value, err
}

// readOrder reads the order called name. It returns errUnreadable, and a versionError
// for one of a newer version, with what its name says.
func (k keys) readOrder(name string, value []byte) (o Order, err error) {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind + "/" {
	case pauseOrders:
		o = Order{Kind: OrderPause, Job: rest}
	case placeOrders:
		o = Order{Kind: OrderPin, Job: rest}
	case drainOrders:
		o = Order{Kind: OrderDrain, Instance: rest}
	case resignOrders:
		o = Order{Kind: OrderResign, Job: rest}
	default:
		if name != allPaused {
			return Order{}, errUnreadable
		}
		o = Order{Kind: OrderPause}
	}
	var v orderValue
	if err := k.decode(k.order(name), value, &v); err != nil {
		o.By, o.Why = "a newer version of this program", err.Error()
		return o, err
	}
	o.By, o.Why, o.At, o.token = v.By, v.Why, time.UnixMilli(v.At), v.Token
	if kind+"/" == placeOrders {
		o.Instance = v.To
	}
	if v.Once {
		o.Kind = OrderMove
	}
	return o, nil
}

// counts reports whether an order of which err says whether it can be read is one. It
// is none if it cannot; but who cannot know what a newer version says of a pause had
// better not run the job.
func (o *Order) counts(err error) bool {
	return err == nil || o.Kind == OrderPause && !errors.Is(err, errUnreadable)
}

// heldOrder is the document of an order in a picture.
type heldOrder struct {
	Order
	ok   bool // it counts
	hash uint64
}

// takeOrder takes in the document of an order.
func (t *transition) takeOrder(name string, d Document) {
	m := t.m
	old, was := m.orders[name]
	h := hash(d.Value)
	if (d.Value == nil && !was) || (was && d.Value != nil && old.hash == h) {
		return
	}
	m.changedOrders()
	t.orders = true
	if d.Value == nil {
		delete(m.orders, name)
		return
	}
	o, err := m.keys.readOrder(name, d.Value)
	m.orders[name] = heldOrder{o, o.counts(err), h}
}

// listOrders returns the orders of the picture, sorted.
func (m *mirror) listOrders() []Order {
	if m.ordered != nil {
		return m.ordered
	}
	orders := make([]Order, 0, len(m.orders))
	for _, o := range m.orders {
		if o.ok {
			orders = append(orders, o.Order)
		}
	}
	m.ordered = orders
	slices.SortFunc(orders, func(a, b Order) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Job, b.Job), cmp.Compare(a.Instance, b.Instance))
	})
	return orders
}

// drainedBy returns who drains a node, if an operator does.
func drainedBy(orders []Order, instance string) (Order, bool) {
	i := slices.IndexFunc(orders, func(o Order) bool { return o.Kind == OrderDrain && o.Instance == instance })
	if i < 0 {
		return Order{}, false
	}
	return orders[i], true
}

// ErrPaused is the cause of the context of a Work that an operator has paused
// ([Operator.Pause]); its text says who and why.
var ErrPaused = errors.New("distributed: paused")

func pausedBy(o Order) error { return fmt.Errorf("%w: %s", ErrPaused, o) }

// errBarred ends a campaign for a job that an order is against.
var errBarred = errors.New("distributed: barred by an order")

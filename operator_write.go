package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

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

// sweep deletes orders that have been carried out, or can have no effect any more. If
// that fails, another does it.
func (o *Operator) sweep(ctx context.Context, v *View) {
	for _, order := range o.viewer.orders() {
		if !order.over(v) {
			continue
		}
		_ = o.change(ctx, o.keys.order(order.name()), func(there Document) (bool, []byte, error) {
			was, err := o.keys.readOrder(order.name(), there.Value)
			return err == nil && was == order, nil, nil
		})
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
	return fmt.Errorf("distributed: operate: the order may have been given all the same: %w", err)
}

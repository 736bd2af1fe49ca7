package storetest

import (
	"context"
	"errors"

	"github.com/b2552be4/distributed"
)

// connection is a store in use. Of its writes, those that are confirmed are noted
// down as the truth. The goroutine of the case uses it, or one other.
type connection struct {
	run   *run
	store distributed.Store

	deleted []*deletion // whose revisions are not known yet; the next write of this connection comes after them
}

func (r *run) open() *connection {
	s := r.space.Open()
	r.stores = append(r.stores, s)
	return &connection{run: r, store: s}
}

// write puts a document, or deletes it if value is nil, and notes it down.
func (c *connection) write(key string, value []byte, rev int64) (int64, error) {
	if value == nil {
		after := c.run.truth.last()
		if err := c.store.Delete(c.run.ctx, key, rev); err != nil {
			return 0, err
		}
		c.deleted = append(c.deleted, c.run.truth.delete(key, rev, after))
		return 0, nil
	}
	at, err := c.store.Put(c.run.ctx, key, value, rev)
	if err == nil {
		c.confirmed(key, value, at)
	}
	return at, err
}

func (c *connection) confirmed(key string, value []byte, at int64) {
	c.run.truth.put(key, value, at)
	c.run.truth.before(at, c.deleted)
	c.deleted = nil
}

// put is write where it must succeed; only for the goroutine of the case.
func (c *connection) put(key, value string, rev int64) int64 {
	at, err := c.write(key, []byte(value), rev)
	c.run.require(err == nil, "Put(%q) at revision %d, where the document is, returned %v", key, rev, err)
	return at
}

func (c *connection) delete(key string, rev int64) {
	_, err := c.write(key, nil, rev)
	c.run.require(err == nil, "Delete(%q) at revision %d, where the document is, returned %v", key, rev, err)
}

// mark writes a document below prefix, and returns a revision that is greater than
// those of all changes before.
func (c *connection) mark(prefix string) int64 {
	key := prefix + "mark"
	return c.put(key, "!", c.run.truth.revision(key))
}

// refused requires that a write is refused, and that what a refusal says is there
// is what is there: the value at revision there, or nothing at 0.
func (c *connection) refused(key string, value []byte, rev int64, held string, there int64) {
	_, err := c.attempt(c.run.ctx, key, value, rev)
	conflict, refused := errors.AsType[*distributed.ConflictError](err)
	c.run.require(refused, "a write of %q at revision %d, while it is at %d, returned %v and no ConflictError", key, rev, there, err)
	c.run.require(conflict.Key == key, "the ConflictError of a write of %q is about %q", key, conflict.Key)
	if conflict.Known {
		d := conflict.There
		c.run.require(d.Revision == there, "the ConflictError says that %q is at revision %d, but it is at %d", key, d.Revision, there)
		c.run.require(there == 0 || (d.Key == key && string(d.Value) == held), "the ConflictError shows %q with %.40q, but there is %q with %.40q", d.Key, d.Value, key, held)
	}
}

// attempt writes without noting it down.
func (c *connection) attempt(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if value == nil {
		return 0, c.store.Delete(ctx, key, rev)
	}
	return c.store.Put(ctx, key, value, rev)
}

// requireThere requires that a listing shows the value of key at that revision;
// nothing at 0.
func (c *connection) requireThere(key, value string, rev int64) {
	d := c.list(key)[key]
	c.run.require(d.Revision == rev && string(d.Value) == value,
		"a listing shows %q at revision %d with %.40q, and not at %d with %.40q", key, d.Revision, d.Value, rev, value)
}

// list returns what there is below prefix.
func (c *connection) list(prefix string) map[string]distributed.Document {
	f := c.follow(prefix)
	f.awaitSteps(1)
	f.stop()
	return f.steps[0].pictured(nil)
}

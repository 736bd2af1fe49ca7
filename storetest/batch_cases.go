package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/b2552be4/distributed"
)

// batching returns the store of c as one that writes batches; the case is skipped
// if it is none.
func (c *connection) batching() distributed.BatchStore {
	b, ok := c.store.(distributed.BatchStore)
	if !ok {
		c.run.Skip("the store writes one document at a time")
	}
	return b
}

// putAll writes and notes down what was confirmed.
func (c *connection) putAll(writes []distributed.Write) []distributed.WriteResult {
	after := c.run.truth.last()
	results := c.batching().PutAll(c.run.ctx, writes)
	c.run.require(len(results) == len(writes), "PutAll of %d writes returned %d results", len(writes), len(results))
	for i, w := range writes {
		switch {
		case results[i].Err != nil:
		case w.Value == nil:
			c.deleted = append(c.deleted, c.run.truth.delete(w.Key, w.Revision, after))
		default:
			c.run.require(results[i].Revision > after, "PutAll returned revision %d for %q after a change at %d", results[i].Revision, w.Key, after)
			c.run.truth.put(w.Key, w.Value, results[i].Revision)
		}
	}
	return results
}

func batch(r *run) {
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	key := func(i int) string { return fmt.Sprintf("%s%02d", r.prefix, i) }
	at := make([]int64, 40)
	for i := range at {
		if i%4 != 0 {
			at[i] = a.put(key(i), "first", 0)
		}
	}
	writes := make([]distributed.Write, len(at))
	for i := range writes {
		w := distributed.Write{Key: key(i), Value: fmt.Appendf(nil, "second of %d", i), Revision: at[i]}
		switch i % 4 {
		case 2:
			w.Value = nil
		case 3:
			w.Revision = at[i] + 1000 // refused
		}
		writes[i] = w
	}
	for i, result := range a.putAll(writes) {
		_, refused := errors.AsType[*distributed.ConflictError](result.Err)
		r.require(refused == (i%4 == 3), "write %d at revision %d of a document at %d: %v", i, writes[i].Revision, at[i], result.Err)
		r.require(result.Err == nil || refused, "write %d returned %v", i, result.Err)
	}
	end := a.mark(r.prefix)
	r.sees(f, end)
	r.sees(b.follow(r.prefix), end)
}

func batchRefusals(r *run) {
	a := r.open()
	here, none := r.prefix+"here", r.prefix+"none"
	at := a.put(here, "value", 0)
	writes := []distributed.Write{
		{Key: here, Value: []byte("x")},
		{Key: none, Value: []byte("x"), Revision: at},
		{Key: none + "2", Revision: at},
		{Key: r.prefix + "made", Value: []byte("made")},
	}
	results := a.putAll(writes)
	for i, there := range []distributed.Document{{Key: here, Value: []byte("value"), Revision: at}, {}, {}} {
		conflict, refused := errors.AsType[*distributed.ConflictError](results[i].Err)
		r.require(refused, "write %d returned %v and no ConflictError", i, results[i].Err)
		r.require(conflict.Key == writes[i].Key, "the ConflictError of a write of %q is about %q", writes[i].Key, conflict.Key)
		d := conflict.There
		r.require(!conflict.Known || (d.Revision == there.Revision && string(d.Value) == string(there.Value)),
			"the ConflictError of %q shows revision %d with %q, but there is %d with %q", conflict.Key, d.Revision, d.Value, there.Revision, there.Value)
	}
	r.require(results[3].Err == nil, "a write among refused ones returned %v", results[3].Err)
	for i, result := range a.putAll(writes[3:]) { // a late copy
		_, refused := errors.AsType[*distributed.ConflictError](result.Err)
		r.require(refused, "write %d returned %v and no ConflictError when it was made once more", i, result.Err)
	}
	a.requireThere(r.prefix+"made", "made", results[3].Revision)
}

func largeBatch(r *run) {
	a, b := r.open(), r.open()
	f := b.follow(r.prefix)
	f.awaitSteps(1)
	writes := make([]distributed.Write, 1000)
	for i := range writes {
		size := 1000
		if i%100 == 0 {
			size = maxValue
		}
		writes[i] = distributed.Write{Key: fmt.Sprintf("%s%d", r.prefix, i), Value: []byte(strings.Repeat("x", size))}
	}
	for i, result := range a.putAll(writes) {
		r.require(result.Err == nil, "write %d of %d returned %v", i, len(writes), result.Err)
	}
	r.sees(f, a.mark(r.prefix))
	r.require(len(a.putAll(nil)) == 0, "PutAll of nothing returned something")
}

func batchContext(r *run) {
	if r.space.HoldRequests == nil {
		r.Skip("nobody can hold requests")
	}
	a := r.open()
	store := a.batching()
	key := r.prefix + "document"
	at := a.put(key, "value", 0)
	r.hold(r.space.HoldRequests, a)
	ctx, cancel := context.WithCancel(r.ctx)
	var results []distributed.WriteResult
	done := r.start(func() {
		results = store.PutAll(ctx, []distributed.Write{{Key: key, Value: []byte("x"), Revision: at}, {Key: key + "2", Value: []byte("x")}})
	})
	settle() // the writes are on their way
	cancel()
	r.await(done, "the context of PutAll is done, but it has not returned")
	for _, result := range results {
		_, refused := errors.AsType[*distributed.ConflictError](result.Err)
		r.require(result.Err != nil && !refused, "a write whose answer is not known returned %v", result.Err)
	}
}

package storetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/b2552be4/distributed"
)

func create(r *run) {
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	at := a.put(key, "a", 0)
	r.require(at > 0, "a Put returned revision %d", at)
	a.requireThere(key, "a", at)
	for _, c := range []*connection{a, b} {
		c.refused(key, []byte("b"), 0, "a", at)
	}
	b.requireThere(key, "a", at)
}

func replace(r *run) {
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	first := a.put(key, "first", 0)
	second := b.put(key, "second", first)
	b.requireThere(key, "second", second)
	for _, rev := range []int64{first, second + 1, second + 1000} {
		a.refused(key, []byte("third"), rev, "second", second)
	}
	a.refused(r.prefix+"another", []byte("third"), second, "", 0)
	a.requireThere(key, "second", second)
	a.requireThere(r.prefix+"another", "", 0)
}

func remove(r *run) {
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	first := a.put(key, "first", 0)
	second := a.put(key, "second", first)
	for _, rev := range []int64{0, first, second + 1} {
		b.refused(key, nil, rev, "second", second)
	}
	b.requireThere(key, "second", second)
	b.delete(key, second)
	a.requireThere(key, "", 0)
	a.refused(key, nil, second, "", 0)
	third := a.put(key, "third", 0)
	a.requireThere(key, "third", third)
}

func goneForGood(r *run) {
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	f := a.follow(r.prefix)
	f.awaitSteps(1)
	at := a.put(key, "value", 0)
	a.delete(key, at)
	end := b.mark(r.prefix)
	f.await(end)
	f.stop()
	for rev := at; rev <= end+1; rev++ { // that of the deletion is among them
		b.refused(key, []byte("risen"), rev, "", 0)
		b.refused(key, nil, rev, "", 0)
	}
	b.requireThere(key, "", 0)
	anew := b.put(key, "anew", 0)
	b.requireThere(key, "anew", anew)
	r.require(anew > end, "a document made anew is at revision %d, after another change at %d", anew, end)
}

func lateCopy(r *run) {
	a, b := r.open(), r.open()
	key := r.prefix + "document"
	first := a.put(key, "first", 0)
	a.refused(key, []byte("first"), 0, "first", first)
	second := a.put(key, "second", first)
	a.refused(key, []byte("second"), first, "second", second)
	a.refused(key, []byte("first"), 0, "second", second)
	a.delete(key, second)
	a.refused(key, []byte("second"), first, "", 0)
	third := b.put(key, "third", 0)
	a.refused(key, nil, second, "third", third)
	a.refused(key, []byte("second"), first, "third", third)
	a.requireThere(key, "third", third)
}

// refusal is about refusals that come while somebody writes: what is shown must
// have been there at the time.
func refusal(r *run) {
	const refusals = 50
	key := r.prefix + "document"
	writer, other := r.open(), r.open()
	at := writer.put(key, "0", 0)
	asking := make(chan struct{}, 1)
	var shown []distributed.Document
	refused := r.start(func() {
		for range refusals {
			select {
			case asking <- struct{}{}:
			case <-r.ctx.Done():
				return
			}
			_, err := other.attempt(r.ctx, key, []byte("never"), 0)
			if conflict, ok := errors.AsType[*distributed.ConflictError](err); ok && conflict.Known {
				shown = append(shown, conflict.There)
			}
		}
	})
	for n := range refusals {
		r.await(asking, "a write that is to be refused has not returned")
		at = writer.put(key, fmt.Sprint(n+1), at)
	}
	r.await(refused, "a write that is to be refused has not returned")
	for _, d := range shown {
		value := r.truth.value(key, d.Revision)
		r.require(d.Key == key && string(d.Value) == value, "a refusal shows %q at revision %d with %q, where it was %q", d.Key, d.Revision, d.Value, value)
	}
}

func revisionsRise(r *run) {
	connections := []*connection{r.open(), r.open(), r.open()}
	last := int64(0)
	revisions := map[string]int64{}
	for i := range 60 {
		c, key := connections[i%3], fmt.Sprintf("%s%d", r.prefix, i%7)
		if i%10 == 9 {
			c.delete(key, revisions[key])
			revisions[key] = 0
			continue
		}
		at := c.put(key, fmt.Sprint(i), revisions[key])
		r.require(at > last, "a Put returned revision %d after one that returned %d", at, last)
		revisions[key], last = at, at
	}
}

func oneWins(r *run) {
	const writers, rounds = 8, 10
	key := r.prefix + "document"
	var connections []*connection
	for range writers {
		connections = append(connections, r.open())
	}
	at := int64(0)
	for round := range rounds {
		won := make([]int64, writers)
		var wg sync.WaitGroup
		for i, c := range connections {
			wg.Add(1)
			r.start(func() {
				defer wg.Done()
				won[i], _ = c.write(key, fmt.Appendf(nil, "%d of writer %d", round, i), at)
			})
		}
		r.returns(wg.Wait, "writes have not returned")
		winners, next := 0, int64(0)
		for _, rev := range won {
			if rev != 0 {
				winners, next = winners+1, rev
			}
		}
		r.require(winners == 1, "%d of %d writes at revision %d took effect", winners, writers, at)
		r.require(next > at, "a write at revision %d took effect at %d", at, next)
		at = next
	}
	connections[0].requireThere(key, r.truth.value(key, at), at)
}

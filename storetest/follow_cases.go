package storetest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
)

// sees requires that the follower was told the truth up to revision rev, and stops it.
func (r *run) sees(f *follower, rev int64) {
	f.await(rev)
	f.stop()
	r.sawTruth(f)
}

// sawTruth is sees for a follower that has stopped. No write may be under way.
func (r *run) sawTruth(f *follower) {
	wrong := r.truth.judge(f)
	r.require(wrong == "", "%s", wrong)
}

func listing(r *run) {
	a, b := r.open(), r.open()
	empty := a.follow(r.prefix)
	empty.awaitSteps(1)
	nothing := empty.first()
	r.require(nothing.Whole && len(nothing.Documents) == 0 && nothing.Revision > 0, "the first step of an empty space is %+v", nothing)
	kept := a.put(r.prefix+"kept", "kept", 0)
	a.put(r.prefix+"kept", "changed", kept)
	a.delete(r.prefix+"gone", a.put(r.prefix+"gone", "gone", 0))
	end := a.put(r.prefix+"last", "last", 0)
	full := b.follow(r.prefix)
	r.sees(full, end)
	r.require(full.first().Whole && full.first().Revision >= end, "the first step is %+v, after a change at revision %d", full.first(), end)
	r.sees(empty, end)
}

// pages is about listings that take the store more than one look.
func pages(r *run) {
	const writers, documents = 10, 2500
	key := func(i int) string { return fmt.Sprintf("%s%05d", r.prefix, i) }
	var wg sync.WaitGroup
	for first := range writers {
		c := r.open()
		wg.Add(1)
		r.start(func() {
			defer wg.Done()
			for i := first; i < documents; i += writers {
				_, _ = c.write(key(i), []byte("first"), 0)
			}
		})
	}
	r.returns(wg.Wait, "writes have not returned")
	a, b := r.open(), r.open()
	var lists []*follower
	for range 5 {
		f := a.follow(r.prefix)
		for n := range 100 { // meanwhile, in front and at the back
			i := n / 2
			if n%2 == 1 {
				i = documents - 1 - i
			}
			b.put(key(i), fmt.Sprint(n), r.truth.revision(key(i)))
			runtime.Gosched()
		}
		f.awaitSteps(1)
		f.stop()
		lists = append(lists, f)
	}
	for _, f := range lists {
		f.steps = f.steps[:1]
		r.sawTruth(f)
	}
}

// pictures lets writers change a few documents at random while followers come and
// go.
func pictures(r *run) {
	const writers, changes, documents = 3, 60, 6
	watcher := r.open()
	all := watcher.follow(r.prefix)
	all.awaitSteps(1)
	var wg sync.WaitGroup
	for i := range writers {
		c, random := r.open(), rand.New(rand.NewPCG(1, uint64(i)))
		wg.Add(1)
		r.start(func() {
			defer wg.Done()
			for n := range changes {
				key := fmt.Sprintf("%s%d", r.prefix, random.IntN(documents))
				value := fmt.Appendf(nil, "%d of writer %d", n, i)
				rev := r.truth.revision(key)
				if rev != 0 && random.IntN(3) == 0 {
					value = nil
				}
				_, _ = c.write(key, value, rev) // of two at once one is refused
			}
		})
	}
	passing := r.passers()
	r.returns(wg.Wait, "writes have not returned")
	end := r.open().mark(r.prefix)
	r.sees(all, end)
	for _, f := range passing {
		r.sawTruth(f)
	}
}

// passers are followers that come while others write, and stay until they have seen
// what was confirmed before they came.
func (r *run) passers() []*follower {
	c := r.open()
	var all []*follower
	for range 8 {
		last := r.truth.last()
		f := c.follow(r.prefix)
		f.await(max(last, 1)) // of nothing there is a listing too
		f.stop()
		all = append(all, f)
	}
	return all
}

func twoFollowers(r *run) {
	a, b := r.open(), r.open()
	early := []*follower{a.follow(r.prefix), a.follow(r.prefix), b.follow(r.prefix)}
	for _, f := range early {
		f.awaitSteps(1)
	}
	at := int64(0)
	for i := range 20 {
		at = a.put(r.prefix+"document", fmt.Sprint(i), at)
		b.delete(r.prefix+"passing", b.put(r.prefix+"passing", fmt.Sprint(i), 0))
	}
	end := b.mark(r.prefix)
	for _, f := range early {
		r.sees(f, end)
	}
}

func prefixes(r *run) {
	a := r.open()
	names := []string{"a", "a/", "a/b", "a/b/", "ab", "a b", "a%", "a_", "A/", "a0", "b", "b/a/"}
	var followers []*follower
	for _, name := range names {
		f := a.follow(r.prefix + name)
		f.awaitSteps(1)
		followers = append(followers, f)
	}
	for _, name := range append(names, "a/b/c", "a/é", "a\u10ffff", "a/\u10ffff", "zz") {
		a.put(r.prefix+name+"x", name, a.put(r.prefix+name+"x", "first", 0))
		a.delete(r.prefix+name+"y", a.put(r.prefix+name+"y", "gone", 0))
	}
	for _, name := range names { // so that each follower has something to see at the end
		a.mark(r.prefix + name)
	}
	for _, f := range followers {
		end := r.truth.revision(f.prefix + "mark")
		r.sees(f, end)
		r.sees(a.follow(f.prefix), end)
	}
}

// oneAtATime keeps a follower busy with its first step while there are more.
func oneAtATime(r *run) {
	a, b := r.open(), r.open()
	busy := make(chan struct{})
	release := sync.OnceFunc(func() { close(busy) })
	r.releases = append(r.releases, release)
	f := a.followWith(r.prefix, func() { <-busy })
	f.awaitSteps(1)
	witness := a.follow(r.prefix)
	at := int64(0)
	for i := range 20 {
		at = b.put(r.prefix+"document", fmt.Sprint(i), at)
	}
	witness.await(at)
	settle()
	release()
	f.await(at)
	f.cancel()
	r.await(f.done, "the context of Follow is done, but it has not returned")
	end := b.put(r.prefix+"document", "end", at)
	witness.await(end)
	witness.stop()
	settle()
	r.require(!f.overlaps.Load(), "tell was called while it was running, or after Follow had returned")
}

func followContext(r *run) {
	a, b := r.open(), r.open()
	quiet := a.follow(r.prefix + "quiet/")
	quiet.awaitSteps(1)
	busy := a.follow(r.prefix)
	busy.awaitSteps(1)
	at := int64(0)
	for i := range 20 {
		at = b.put(r.prefix+"document", fmt.Sprint(i), at)
	}
	busy.await(at)
	late := a.follow(r.prefix)
	settle() // none ends before its context is done
	for _, f := range []*follower{quiet, busy, late} {
		f.end()
	}
	last := a.put(r.prefix+"document", "last", at)
	r.sees(a.follow(r.prefix), last)
}

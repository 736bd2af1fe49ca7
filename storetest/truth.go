package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/b2552be4/distributed"
)

// truth is what a space has been through: all changes that were confirmed.
type truth struct {
	mu        sync.Mutex
	puts      map[string]map[int64]string    // by key and revision
	deletions map[string]map[int64]*deletion // by key and the revision of what was deleted
	highest   int64                          // revision of a confirmed change
}

// deletion is a change whose revision is not told to whoever makes it: it is
// between first and last, until a follower knows it.
type deletion struct{ first, last int64 }

func newTruth() *truth {
	return &truth{puts: map[string]map[int64]string{}, deletions: map[string]map[int64]*deletion{}}
}

// last returns the revision of the last confirmed change.
func (t *truth) last() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.highest
}

func (t *truth) put(key string, value []byte, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.puts[key] == nil {
		t.puts[key] = map[int64]string{}
	}
	t.puts[key][at] = string(value)
	t.highest = max(t.highest, at)
}

// delete notes the deletion of the document at revision rev, by somebody who knew
// of the revision after.
func (t *truth) delete(key string, rev, after int64) *deletion {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deletions[key] == nil {
		t.deletions[key] = map[int64]*deletion{}
	}
	d := &deletion{first: max(rev, after) + 1, last: math.MaxInt64}
	t.deletions[key][rev] = d
	return d
}

// before says that the deletions were before revision at.
func (t *truth) before(at int64, deletions []*deletion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range deletions {
		d.last = min(d.last, at-1)
	}
}

// revision returns where the document is as far as it is confirmed; 0 if there is
// none.
func (t *truth) revision(key string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	rev := t.latest(key, math.MaxInt64)
	if t.deletions[key][rev] != nil {
		return 0
	}
	return rev
}

// latest returns the revision of the last Put of key up to rev; 0 if there is none.
// With t.mu held, as are those below.
func (t *truth) latest(key string, rev int64) int64 {
	last := int64(0)
	for at := range t.puts[key] {
		if at <= rev {
			last = max(last, at)
		}
	}
	return last
}

// settle narrows deletions down by when their keys were made anew. When no more
// writes are under way.
func (t *truth) settle() {
	for key, deletions := range t.deletions {
		for guard, d := range deletions {
			for at := range t.puts[key] {
				if at > guard {
					d.last = min(d.last, at-1)
				}
			}
		}
	}
}

// judge returns what is wrong with what a follower was told. No write may be under way.
func (t *truth) judge(f *follower) (wrong string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	moments := t.moments(f.prefix)
	var picture map[string]distributed.Document
	position := int64(0)
	for i, s := range f.steps {
		wrong := t.form(s, f.prefix, position, i == 0)
		if wrong == "" {
			picture = s.pictured(picture)
			keys := changed(moments, position, s.Revision)
			if s.Whole {
				keys = slices.AppendSeq(changed(moments, 0, math.MaxInt64), maps.Keys(picture))
			}
			for _, d := range s.Documents {
				keys = append(keys, d.Key)
			}
			wrong, position = t.compare(picture, keys, s.Revision), s.Revision
		}
		if wrong != "" {
			return fmt.Sprintf("step %d of a follower of %q (revision %d, whole: %v, %d documents): %s",
				i+1, f.prefix, s.Revision, s.Whole, len(s.Documents), wrong)
		}
	}
	return ""
}

// moment is when a document may have become another one.
type moment struct {
	rev int64
	key string
}

// moments returns all that happened below prefix, in order. Of a deletion they are
// the first and the last that it may have been at.
func (t *truth) moments(prefix string) []moment {
	var all []moment
	for key, puts := range t.puts {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		for rev := range puts {
			all = append(all, moment{rev, key})
		}
		for _, d := range t.deletions[key] {
			all = append(all, moment{d.first, key}, moment{d.last, key})
		}
	}
	slices.SortFunc(all, func(a, b moment) int { return cmp.Compare(a.rev, b.rev) })
	return all
}

// changed returns the keys of the moments behind revision after, up to rev.
func changed(moments []moment, after, rev int64) (keys []string) {
	first, _ := slices.BinarySearchFunc(moments, after+1, func(m moment, rev int64) int { return cmp.Compare(m.rev, rev) })
	for _, m := range moments[first:] {
		if m.rev > rev {
			break
		}
		keys = append(keys, m.key)
	}
	return keys
}

// form returns what is wrong with a step by itself.
func (t *truth) form(s step, prefix string, position int64, first bool) string {
	switch {
	case first && !s.Whole:
		return "it is no listing, but the first"
	case s.Revision <= 0 || s.Revision < position:
		return fmt.Sprintf("it is not after revision %d", position)
	}
	keys := map[string]bool{}
	for _, d := range s.Documents {
		switch {
		case !strings.HasPrefix(d.Key, prefix):
			return fmt.Sprintf("it shows %q", d.Key)
		case keys[d.Key]:
			return fmt.Sprintf("it shows %q twice", d.Key)
		case d.Revision > s.Revision || (!s.Whole && d.Revision <= position):
			return fmt.Sprintf("it shows %q at revision %d, and the step before was of %d", d.Key, d.Revision, position)
		case s.Whole && d.Value == nil:
			return fmt.Sprintf("it lists %q, which is gone", d.Key)
		}
		if wrong := t.learn(d); wrong != "" {
			return wrong
		}
		keys[d.Key] = true
	}
	return ""
}

// learn finds out when a deletion was.
func (t *truth) learn(d distributed.Document) string {
	if d.Value != nil {
		return ""
	}
	guard := t.latest(d.Key, d.Revision)
	known := t.deletions[d.Key][guard]
	if known == nil || d.Revision < known.first || d.Revision > known.last {
		return fmt.Sprintf("it shows %q as gone at revision %d", d.Key, d.Revision)
	}
	known.first, known.last = d.Revision, d.Revision
	return ""
}

// compare returns in which of the keys a picture of revision rev is not the truth.
func (t *truth) compare(picture map[string]distributed.Document, keys []string, rev int64) string {
	for _, key := range keys {
		at := t.latest(key, rev)
		d := t.deletions[key][at]
		shown, there := picture[key]
		mustBeGone := at == 0 || (d != nil && rev >= d.last)
		mayBeGone := mustBeGone || (d != nil && rev >= d.first)
		switch {
		case there && mustBeGone:
			return fmt.Sprintf("after it %q is in the picture, and should not be", key)
		case !there && !mayBeGone:
			return fmt.Sprintf("after it %q is not in the picture, and should be as of revision %d", key, at)
		case there && (shown.Revision != at || string(shown.Value) != t.puts[key][at]):
			return fmt.Sprintf("after it %q is in the picture as of revision %d with %.40q, and should be as of %d with %.40q",
				key, shown.Revision, shown.Value, at, t.puts[key][at])
		}
	}
	return ""
}

// value returns what was written to key at revision rev.
func (t *truth) value(key string, rev int64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.puts[key][rev]
}

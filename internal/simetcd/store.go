package simetcd

import (
	"bytes"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// store is what etcd holds: keys with their history. A revision is committed as a
// whole, under mu.
type store struct {
	mu        sync.Mutex
	rev       int64
	compacted int64
	kvs       map[string]*mvccpb.KeyValue // never changed in place
	history   [][]*mvccpb.Event           // history[i] is that of revision i+2; 1 is the empty store's
	changed   chan struct{}               // closed at the next commit or compaction
}

func newStore() *store {
	return &store{rev: 1, kvs: map[string]*mvccpb.KeyValue{}, changed: make(chan struct{})}
}

// revision under way, of the store that it is a part of.
type revision struct {
	*store
	events []*mvccpb.Event
}

// commit runs f, which may put and delete, as one revision, if it changes
// anything, and returns the revision after it.
func (s *store) commit(f func(*revision)) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commitLocked(f)
}

func (s *store) commitLocked(f func(*revision)) int64 {
	r := &revision{store: s}
	f(r)
	if len(r.events) > 0 {
		s.rev++
		s.history = append(s.history, r.events)
		s.notify()
	}
	return s.rev
}

func (s *store) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (r *revision) put(key string, value []byte) {
	kv := &mvccpb.KeyValue{Key: []byte(key), Value: value, CreateRevision: r.rev + 1, ModRevision: r.rev + 1, Version: 1}
	if old := r.kvs[key]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	r.kvs[key] = kv
	r.events = append(r.events, &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv})
}

func (r *revision) delete(key string) bool {
	old := r.kvs[key]
	if old == nil {
		return false
	}
	delete(r.kvs, key)
	r.events = append(r.events, &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: old.Key, ModRevision: r.rev + 1}})
	return true
}

// span is a range of keys as calls name it: one key, or from key to end.
type span struct{ key, end string }

func (s span) holds(key string) bool {
	switch s.end {
	case "":
		return key == s.key
	case "\x00":
		return key >= s.key
	}
	return key >= s.key && key < s.end
}

// list returns the pairs in a span, in order of their keys, as of a revision: 0
// is the newest. For mu.
func (s *store) list(in span, rev int64) ([]*mvccpb.KeyValue, error) {
	kvs := s.kvs
	switch {
	case rev > s.rev:
		return nil, rpctypes.ErrGRPCFutureRev
	case rev > 0 && rev < s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	case rev > 0 && rev < s.rev:
		kvs = s.asOf(rev)
	}
	var found []*mvccpb.KeyValue
	for key, kv := range kvs {
		if in.holds(key) {
			found = append(found, kv)
		}
	}
	slices.SortFunc(found, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return found, nil
}

func (s *store) asOf(rev int64) map[string]*mvccpb.KeyValue {
	kvs := map[string]*mvccpb.KeyValue{}
	for _, events := range s.history[:rev-1] {
		for _, e := range events {
			if e.Type == mvccpb.Event_DELETE {
				delete(kvs, string(e.Kv.Key))
			} else {
				kvs[string(e.Kv.Key)] = e.Kv
			}
		}
	}
	return kvs
}

// since returns the events in a span from a revision on, and the revision after
// the last; or that the first have been compacted.
func (s *store) since(in span, rev int64) (events []*mvccpb.Event, next int64, compacted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev < s.compacted {
		return nil, 0, true
	}
	for next = rev; next <= s.rev; next++ {
		for _, e := range s.history[next-2] {
			if in.holds(string(e.Kv.Key)) {
				events = append(events, e)
			}
		}
	}
	return events, next, false
}

func (s *store) delete(key string) (deleted bool) {
	s.commit(func(r *revision) { deleted = r.delete(key) })
	return deleted
}

func (s *store) put(key string, value []byte) {
	s.commit(func(r *revision) { r.put(key, value) })
}

func (s *store) value(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kvs[key].GetValue()
}

func (s *store) compactNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = s.rev
	s.notify()
}

func (s *store) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.kvs))
}

// now returns the revision, and a channel that is closed when it changes.
func (s *store) now() (rev, compacted int64, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev, s.compacted, s.changed
}

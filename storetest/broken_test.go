package storetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every defect makes the cases fail that are about it, with words about it, and
// no other; and every case is there for a defect.
func TestEveryCaseFindsItsDefect(t *testing.T) {
	found := map[string]bool{}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			var failed []string
			for _, c := range cases {
				report := d.report(t, c)
				if report == "" {
					continue
				}
				failed = append(failed, c.name)
				require.Contains(t, report, "the contract: "+c.contract)
				if c.name == d.fails[0] {
					require.Contains(t, report, d.says)
				}
			}
			require.Subset(t, failed, d.fails)
			require.Subset(t, slices.Concat(d.fails, d.may), failed)
		})
		found[d.fails[0]] = true
	}
	for _, c := range cases {
		require.Contains(t, found, c.name, "no defect shows that this case can fail")
	}
}

// What a space cannot do is not asked of it.
func TestCasesAboutWhatIsOptionalAreSkippedWithoutIt(t *testing.T) {
	optional := []string{"TooLarge", "LostReply", "LateWrite", "LateValue", "CompactedUnderWay", "Batch", "BatchRefusals", "LargeBatch", "BatchContext"}
	synctest.Test(t, func(t *testing.T) {
		for _, c := range cases {
			hub := new(distributed.MemoryHub)
			r := record(c, Space{Open: func() distributed.Store { return struct{ distributed.Store }{hub.Open("")} }})
			require.Empty(t, r.failures, c.name)
			require.Equal(t, slices.Contains(optional, c.name), r.skipped, c.name)
		}
	})
}

// A store may tell several changes as one step, and that it is alive, and may
// refuse without saying what is there.
func TestWhatAStoreMayDoFailsNoCase(t *testing.T) {
	for _, d := range liberties {
		t.Run(d.name, func(t *testing.T) {
			for _, c := range cases {
				require.Empty(t, d.report(t, c), c.name)
			}
		})
	}
}

// report runs c on a store with the defect and returns what c reports.
func (d defect) report(t *testing.T, c conformance) (report string) {
	synctest.Test(t, func(t *testing.T) {
		b := &broken{defect: &d}
		report = strings.Join(record(c, b.space()).failures, "\n")
	})
	return report
}

// recorder is a test that may fail.
type recorder struct {
	mu       sync.Mutex
	failures []string
	skipped  bool
}

func record(c conformance, space Space) *recorder {
	r := new(recorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.check(r, space)
	}()
	<-done
	return r
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) FailNow() { runtime.Goexit() }

func (r *recorder) Skip(...any) {
	r.skipped = true
	runtime.Goexit()
}

// broken is the store in memory with a defect.
type broken struct {
	*defect
	hub distributed.MemoryHub

	mu        sync.Mutex
	stores    int
	told      map[string]int64 // by prefix: the revision of the last step that was no listing
	compacts  []func()         // called when history is forgotten
	deletions map[string]int64
	given     map[string][]byte // the caller's slices, by key
	confirmed map[string]int64  // by key, value and guard
}

func (b *broken) space() Space {
	return Space{
		Open:         func() distributed.Store { return b.open() },
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s distributed.Store) func() { return b.hub.HoldRequests(s.(*brokenStore).name) },
		HoldReplies:  func(s distributed.Store) func() { return b.hub.HoldReplies(s.(*brokenStore).name) },
		Compact: func(rev int64) {
			b.hub.Compact(rev)
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, f := range b.compacts {
				f()
			}
		},
	}
}

func (b *broken) open() *brokenStore {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deletions == nil {
		b.deletions, b.given, b.confirmed, b.told = map[string]int64{}, map[string][]byte{}, map[string]int64{}, map[string]int64{}
	}
	b.stores++
	name := fmt.Sprint(b.stores)
	return &brokenStore{BatchStore: b.hub.Open(name), broken: b, name: name, number: b.stores}
}

// there returns the document, at revision 0 if there is none.
func (b *broken) there(key string) distributed.Document {
	documents, _ := b.hub.Documents(key)
	for _, d := range documents {
		if d.Key == key {
			return d
		}
	}
	return distributed.Document{Key: key}
}

// brokenStore does what works by its BatchStore.
type brokenStore struct {
	distributed.BatchStore
	*broken
	name      string
	number    int // in the order of opening, from 1
	closed    bool
	late      []func() // what it will do when a write succeeds
	following []context.Context
}

func (s *brokenStore) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if s.put != nil {
		return s.put(ctx, s, key, value, rev)
	}
	return s.BatchStore.Put(ctx, key, value, rev)
}

func (s *brokenStore) Delete(ctx context.Context, key string, rev int64) error {
	if s.del != nil {
		return s.del(ctx, s, key, rev)
	}
	return s.BatchStore.Delete(ctx, key, rev)
}

func (s *brokenStore) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	if s.follow != nil {
		return s.follow(ctx, s, prefix, tell)
	}
	return s.BatchStore.Follow(ctx, prefix, tell)
}

func (s *brokenStore) PutAll(ctx context.Context, writes []distributed.Write) []distributed.WriteResult {
	if s.putAll != nil {
		return s.putAll(ctx, s, writes)
	}
	return s.BatchStore.PutAll(ctx, writes)
}

func (s *brokenStore) Close() error {
	if s.close != nil {
		return s.close(s)
	}
	return s.BatchStore.Close()
}

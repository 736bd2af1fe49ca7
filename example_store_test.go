package distributed_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// shelf is a place for documents in this process: a map, and all changes so far.
type shelf struct {
	mu        sync.Mutex
	documents map[string]distributed.Document
	changes   []distributed.Document // the first at revision 2: an empty shelf is of revision 1
	changed   chan struct{}          // closed at the next change
}

func newShelf() *shelf {
	return &shelf{documents: map[string]distributed.Document{}, changed: make(chan struct{})}
}

// open is what a provider calls for each lease. A store with a connection dials
// here, and returns an error that wraps ErrRefused for a wrong password.
func (s *shelf) open(context.Context, distributed.LeaseRequest) (distributed.Store, error) {
	closed, end := context.WithCancel(context.Background())
	return &shelfStore{shelf: s, closed: closed, end: end}, nil
}

// shelfStore implements distributed.Store.
type shelfStore struct {
	*shelf
	closed context.Context
	end    context.CancelFunc
}

func (s *shelfStore) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	return s.write(ctx, distributed.Document{Key: key, Value: bytes.Clone(value)}, rev) // the caller may change value afterwards
}

func (s *shelfStore) Delete(ctx context.Context, key string, rev int64) error {
	_, err := s.write(ctx, distributed.Document{Key: key}, rev)
	return err
}

// write is compare and swap: P1 and P3, under one lock.
func (s *shelfStore) write(ctx context.Context, d distributed.Document, rev int64) (int64, error) {
	if err := cmp.Or(ctx.Err(), s.closed.Err()); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.documents[d.Key] // at revision 0 if there is none
	if there.Revision != rev {
		there.Key = d.Key
		return 0, &distributed.ConflictError{Key: d.Key, Known: true, There: there}
	}
	d.Revision = int64(len(s.changes)) + 2
	s.changes = append(s.changes, d)
	s.documents[d.Key] = d
	if d.Value == nil {
		delete(s.documents, d.Key)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return d.Revision, nil
}

func (s *shelfStore) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	told := int64(0)
	for {
		if err := cmp.Or(ctx.Err(), s.closed.Err()); err != nil {
			return err
		}
		step, changed := s.step(prefix, told)
		tell(step) // without the lock
		told = step.Revision
		if len(step.Documents) > 0 {
			continue // there may be more
		}
		select {
		case <-changed:
		case <-time.After(time.Second): // an empty step then: a proof of life
		case <-ctx.Done():
		case <-s.closed.Done():
		}
	}
}

// step returns what comes after what was told, exactly: P2. changed is closed when it
// is worth asking again.
func (s *shelf) step(prefix string, told int64) (step distributed.Step, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := int64(len(s.changes)) + 1
	if told == 0 {
		step := distributed.Step{Revision: last, Whole: true}
		for key, d := range s.documents {
			if strings.HasPrefix(key, prefix) {
				step.Documents = append(step.Documents, d)
			}
		}
		return step, s.changed
	}
	for _, d := range s.changes[told-1:] {
		if strings.HasPrefix(d.Key, prefix) {
			return distributed.Step{Revision: d.Revision, Documents: []distributed.Document{d}}, s.changed
		}
	}
	return distributed.Step{Revision: last}, s.changed
}

func (s *shelfStore) Close() error {
	s.end()
	return nil
}

// A store of one's own: a map and a mutex. It passes storetest, and the protocol
// runs on it as on etcd.
func ExampleNewLeaseProvider() {
	ctx := context.Background()
	provider := distributed.NewLeaseProvider(newShelf().open, distributed.WithLeaseTTL(time.Second))
	node := distributed.NewConcurrency("shop", "node-1", provider)
	defer node.Close()
	leadership, err := node.Campaign(ctx, "invoices")
	fmt.Println("leads:", err == nil && leadership.Valid())

	// Output:
	// leads: true
}

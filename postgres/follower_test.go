//go:build unix

package postgres_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// feed is a call of Follow that goes on until the test ends, also when it fails for
// want of a server, with the picture that it has told.
type feed struct {
	t      *testing.T
	mu     sync.Mutex
	news   chan struct{}
	rev    int64
	there  map[string]string
	at     map[string]int64 // their revisions
	steps  int
	wholes int
}

func follow(t *testing.T, store distributed.Store, prefix string) *feed {
	f := &feed{t: t, news: make(chan struct{}, 1), there: map[string]string{}, at: map[string]int64{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = store.Follow(ctx, prefix, f.tell)
			time.Sleep(5 * time.Millisecond)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	f.await(func() bool { return f.steps > 0 })
	return f
}

func (f *feed) position() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rev
}

func (f *feed) tell(s distributed.Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Whole {
		f.there = map[string]string{}
		f.wholes++
	}
	for _, d := range s.Documents {
		if d.Value == nil {
			delete(f.there, d.Key)
		} else {
			f.there[d.Key], f.at[d.Key] = string(d.Value), d.Revision
		}
	}
	f.rev = s.Revision
	f.steps++
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// await waits until ok, which is called with f.mu held.
func (f *feed) await(ok func() bool) {
	f.t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		f.mu.Lock()
		now := ok()
		f.mu.Unlock()
		if now {
			return
		}
		select {
		case <-f.news:
		case <-limit.C:
			require.Fail(f.t, "a feed has not been told what it must", "at revision %d: %v", f.rev, f.there)
		}
	}
}

// awaitValue waits until the document has the value; "" if it is to be gone.
func (f *feed) awaitValue(key, value string) {
	f.t.Helper()
	f.await(func() bool { return f.there[key] == value })
}

func (f *feed) picture() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.there)
}

// listings returns how often all was listed.
func (f *feed) listings() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wholes
}

func (f *feed) told() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

func (f *feed) revision(key string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[key]
}

package distributed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// announcer keeps in the store what a session tells the others about its node. All
// is guarded by the session's mu.
type announcer struct {
	wake   chan struct{} // capacity 1
	wanted *announcement // nil before the first, or while it was not accepted

	awaited int64 // a revision that is waited for, 0 if none is

	listsSeen time.Duration // when pieces of lists were looked at last that nobody needs
}

// announcement is a call of Announce.
type announcement struct {
	info  []byte
	lists map[string][]byte // pieces of the list of jobs, by key
	done  chan struct{}     // closed when it is in the store, or given up; err is set before
	err   error
}

// concerns reports whether a step that has come may change what there is to do. What
// is announced may be long, so it is not compared for every heartbeat of a node.
func (a *announcer) concerns(c change, rev int64) bool {
	if a.awaited != 0 && rev >= a.awaited {
		a.awaited = 0
		return true
	}
	return a.wanted != nil && c.told
}

var errSuperseded = errors.New("distributed: another announcement came after this one")

// Announce implements [Lease].
func (s *session) Announce(ctx context.Context, info NodeInfo) error {
	a, err := s.keys.announcement(s.id, info)
	if err != nil {
		return err
	}
	var over bool
	s.update(func() {
		if over = s.lost != nil; over {
			return
		}
		if old := s.announcer.wanted; old != nil {
			old.finish(errSuperseded)
		}
		s.announcer.wanted = a
		signal(s.announcer.wake)
	})
	if over {
		return ErrLeaseLost
	}
	select {
	case <-a.done:
		return a.err
	case <-s.ended:
		return ErrLeaseLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish tells who waits for it, once. For update.
func (a *announcement) finish(err error) {
	select {
	case <-a.done:
	default:
		a.err = err
		close(a.done)
	}
}

// keepAnnounced writes what is wanted, and again what somebody has deleted or
// changed, until the session is over.
func (s *session) keepAnnounced() {
	pace := backoff{limit: s.timing.attempt()}
	for {
		var missing []Write
		s.update(func() { missing = s.unannounced() })
		if len(missing) == 0 {
			select {
			case <-s.announcer.wake:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		if sleep(s.ctx, pace.next()) != nil {
			return
		}
		if s.putTold(missing) {
			pace = backoff{limit: pace.limit}
		}
	}
}

// unannounced returns which documents of what is wanted are not in the picture: pieces
// of lists first, so that nobody finds a list with holes. If none is missing, who waits
// is told. For update.
func (s *session) unannounced() (missing []Write) {
	a := s.announcer.wanted
	if a == nil {
		return nil
	}
	want := func(key string, value []byte) {
		there := s.mirror.infos[key]
		if there == nil {
			there = &told{} // to be made
		}
		if !bytes.Equal(there.value, value) {
			missing = append(missing, Write{key, value, there.rev})
		}
	}
	for key, value := range a.lists {
		want(key, value)
	}
	if len(missing) == 0 {
		want(s.keys.info(s.id), a.info)
	}
	if len(missing) == 0 {
		for key := range a.lists {
			a.lists[key] = s.mirror.infos[key].value // which is equal: one copy is enough
		}
		a.finish(nil)
	}
	return missing
}

// putTold writes documents, and waits until the picture shows them, or for long
// enough to try again; it reports whether all were written. That one is there already
// is as good as having written it; and an info document that is at another revision
// will be shown.
func (s *session) putTold(writes []Write) (ok bool) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
	defer cancel()
	var all sync.WaitGroup
	places := make(chan struct{}, maxParallel)
	var mu sync.Mutex
	var last int64
	ok = true
	for _, w := range writes {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			rev, err := s.store.Put(ctx, w.Key, w.Value, w.Revision)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				last = max(last, rev)
				return
			}
			ok = false
			if !errors.As(err, new(*ConflictError)) && s.ctx.Err() == nil {
				s.log.Debug("node not announced, trying again", "error", err)
			}
		})
	}
	all.Wait()
	for shown := last == 0; !shown; {
		s.update(func() { shown, s.announcer.awaited = s.mirror.rev >= last, last })
		if shown {
			break
		}
		select {
		case <-s.announcer.wake:
		case <-ctx.Done():
			return false
		}
	}
	return ok
}

// announcement is what the node with an id tells: its info document, and the list
// of its jobs in pieces that it shares with all who have the same.
func (k keys) announcement(id string, info NodeInfo) (*announcement, error) {
	a := &announcement{done: make(chan struct{})}
	v := &infoValue{
		Version: info.Version, Started: info.Started.UnixMilli(), Labels: info.Labels, Metadata: info.Metadata,
		Capacity: info.Capacity, Draining: info.Draining, Warming: info.Warming, Listed: info.Jobs != nil,
	}
	jobs := info.Jobs
	if !v.Listed {
		jobs = info.Barred
	}
	var err error
	if a.lists, v.Lists, err = k.cutJobs(jobs); err != nil {
		return nil, err
	}
	if a.info, err = k.encode(k.info(id), v); err != nil {
		return nil, fmt.Errorf("%w: labels and metadata: %w", ErrInvalidConfig, err)
	}
	return a, nil
}

// Silence implements [Lease].
func (s *session) Silence() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mirror.nodesSilence(s.clock.now())
}

// nodesSilence returns for how long each node has not been heard of.
func (m *mirror) nodesSilence(now time.Duration) map[string]time.Duration {
	silence := map[string]time.Duration{}
	for id, n := range m.nodes {
		if n.counts {
			silence[id] = now - n.seen
		}
	}
	return silence
}

// View implements [Lease].
func (s *session) View() (*View, <-chan struct{}, error) {
	view, outdated := s.views.get(&s.mu, s.mirror)
	if s.over() != nil {
		return nil, nil, ErrLeaseLost
	}
	return view, outdated, nil
}

// Orders implements [Lease].
func (s *session) Orders() ([]Order, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return s.mirror.listOrders(), nil
	}
	if s.ordered == nil {
		s.ordered = make(chan struct{})
	}
	return s.mirror.listOrders(), s.ordered
}

// reorder tells who waits for other orders. For update.
func (s *session) reorder() {
	if s.ordered != nil {
		close(s.ordered)
		s.ordered = nil
	}
}

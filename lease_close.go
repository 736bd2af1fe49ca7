package distributed

import (
	"context"
	"errors"
	"fmt"
)

// Close implements [Lease]. Whatever ran under the session has returned.
func (s *session) Close(ctx context.Context) error {
	var again bool
	s.update(func() {
		again, s.closed = s.closed, true
		for _, c := range s.writer.candidacies {
			if c.election != nil {
				c.election.leading.Store(false) // who led has stopped, and needs no call
			}
		}
		s.end(ErrClosed)
	})
	if again {
		return nil
	}
	err := s.drain(ctx)
	s.quit()
	s.loops.Wait()
	return errors.Join(err, s.store.Close())
}

// abandon ends a session that was not handed out.
func (s *session) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.log.Debug("left an unused lease for others to bury", "error", err)
	}
}

// drain says that nothing runs here any more, whatever there is to say it on:
// nobody needs to wait for us, and nothing that we claim counts.
func (s *session) drain(ctx context.Context) error {
	var guard int64
	var b []byte
	var err error
	s.update(func() {
		if s.created {
			guard = s.renewal.rev
			b, err = s.keys.encode(s.keys.node(s.id), s.nodeValue(s.renewal.number+1, stateDrained))
		}
	})
	if b == nil || err != nil {
		return err
	}
	pace := backoff{limit: s.timing.attempt()}
	for err = nil; ; {
		if e := sleep(ctx, pace.next()); e != nil {
			return fmt.Errorf("say that the node has drained: %w", errors.Join(e, err))
		}
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		_, err = s.store.Put(attempt, s.keys.node(s.id), b, guard)
		cancel()
		if err == nil || s.isVoid() {
			return nil
		}
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			continue
		}
		if guard = s.shownRevision(guard); conflict.Known {
			guard = conflict.There.Revision
			var v nodeValue
			if s.keys.decode(s.keys.node(s.id), conflict.There.Value, &v) == nil && v.State != "" {
				return nil
			}
			pace = backoff{limit: pace.limit}
		}
	}
}

// isVoid reports whether our picture shows that we are void.
func (s *session) isVoid() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.mirror.nodes[s.id]
	return n != nil && n.void
}

// shownRevision returns the revision of our node document in the picture, if that
// has come to rev.
func (s *session) shownRevision(rev int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := s.mirror.nodes[s.id]; {
	case s.mirror.rev < rev:
		return rev
	case n == nil:
		return 0
	default:
		return n.rev
	}
}

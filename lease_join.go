package distributed

import (
	"context"
	"errors"
	"fmt"
)

// join begins a session. It returns when the session can lead, an attempt has
// failed, or ctx is done; and closes the store if it fails.
func join(ctx context.Context, o sessionOptions) (*session, error) {
	s := newSession(o)
	s.loops.Go(s.follow)
	err := s.enter(ctx)
	if err != nil {
		s.abandon()
		return nil, err
	}
	s.loops.Go(s.write)
	s.loops.Go(s.bury)
	s.loops.Go(s.keepAnnounced)
	return s, nil
}

// enter makes our documents. The first claim document comes before the node
// document, which registers it; and no claim before a second heartbeat is in our
// picture: then a copy of the first one, should it land where somebody has deleted
// the node document, shows that it was deleted.
func (s *session) enter(ctx context.Context) error {
	if err := s.await(ctx, func() bool { return s.mirror.listed }); err != nil {
		return err
	}
	if err := s.makeEpoch(ctx); err != nil {
		return err
	}
	making, cancel := context.WithTimeout(ctx, s.timing.ttl) // whoever finds claims without a node waits no longer
	defer cancel()
	var first *flight
	s.update(func() {
		s.created, s.makingUntil = true, s.clock.now()+s.timing.ttl
		first = s.makeDocument()
	})
	if err := s.insist(making, func(ctx context.Context) error { return s.send(ctx, first) }); err != nil {
		return fmt.Errorf("make the first claim document: %w", err)
	}
	var h *heartbeat
	s.update(func() { h = s.newHeartbeat() })
	if err := s.insist(making, func(ctx context.Context) error { return s.sendHeartbeat(ctx, h) }); err != nil {
		return fmt.Errorf("make the node document: %w", err)
	}
	s.loops.Go(s.renew)
	s.loops.Go(s.keepTime)
	return s.await(ctx, s.ready)
}

// await waits until cond holds, which is called with mu held.
func (s *session) await(ctx context.Context, cond func() bool) error {
	for {
		var ok bool
		var err error
		s.update(func() {
			ok, err = cond(), s.mirror.unknown()
			if s.lost != nil {
				err = s.cause // nobody has led
			}
		})
		if ok || err != nil {
			return err
		}
		select {
		case <-s.moved:
		case <-s.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// makeEpoch writes the epoch if there is none.
func (s *session) makeEpoch(ctx context.Context) error {
	shown := func() bool { return s.mirror.shown != "" }
	var there bool
	s.update(func() { there = shown() })
	if there {
		return nil
	}
	b, err := s.keys.encode(s.keys.epoch(), &epochValue{newID()})
	if err != nil {
		return err
	}
	err = s.insist(ctx, func(ctx context.Context) error {
		_, err := s.store.Put(ctx, s.keys.epoch(), b, 0)
		if _, ok := errors.AsType[*ConflictError](err); ok {
			return nil // somebody has; or we have
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make the epoch: %w", err)
	}
	return s.await(ctx, shown)
}

// insist repeats a call for as long as it only times out, so that a member of the
// store that hangs costs an attempt and not all the time there is; and while it is
// refused for a reason that may pass.
func (s *session) insist(ctx context.Context, call func(context.Context) error) error {
	for pace := (backoff{limit: s.timing.attempt()}); ; {
		if err := sleep(ctx, pace.next()); err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		err := call(attempt)
		timedOut := attempt.Err() != nil
		cancel()
		if err == nil || ctx.Err() != nil || !(timedOut || errors.Is(err, errAgain)) {
			return err
		}
	}
}

// errAgain says that a call was refused because a document is at another revision,
// and may be made again.
var errAgain = errors.New("distributed: refused at this revision")

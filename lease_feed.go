package distributed

import (
	"context"
	"fmt"
	"time"
)

// follow takes in the feed until close is done.
func (s *session) follow() {
	pace := backoff{limit: s.timing.attempt()}
	for sleep(s.life, pace.next()) == nil {
		started := time.Now()
		ctx, cancel := context.WithCancel(s.life)
		s.update(func() { s.refeed, s.renewal.owed = cancel, s.clock.now() })
		err := s.store.Follow(ctx, s.keys.prefix, s.apply)
		cancel()
		if s.life.Err() != nil {
			return
		}
		s.update(func() {
			if !s.mirror.listed {
				s.end(fmt.Errorf("follow the store: %w", err))
			}
			s.log.Debug("feed ended, starting another", "error", err)
		})
		pace.lasted(time.Since(started))
	}
}

// apply takes in a step. The clock is read when it has arrived.
func (s *session) apply(step Step) {
	s.update(func() {
		now := s.clock.now()
		s.heardAt = now
		waited := s.mirror.waits()
		c := s.mirror.step(step, now)
		if c.own || step.Whole {
			s.recognize(now)
		}
		s.prove()
		s.evaluate(c, now)
		if c.orders {
			s.reorder()
		}
		for _, job := range c.states {
			s.unwatch(job)
		}
		s.warnOfNamesakes(c.namesakes, now)
		if waited != s.mirror.waits() {
			signal(s.retime)
		}
		s.openGate()
		signal(s.moved)
		if s.announcer.concerns(c, step.Revision) {
			signal(s.announcer.wake)
		}
	})
}

// warnOfNamesakes says, once of each, that another node has our instance name while
// we live: that is allowed, but seldom what is meant.
func (s *session) warnOfNamesakes(nodes []*node, now time.Duration) {
	for _, n := range nodes {
		if !n.warned && int64(now) < s.validUntil.Load() {
			n.warned = true
			s.log.Warn("another live node has this instance name", "node", n.id)
		}
	}
}

// recognize looks what the picture shows of our own documents: a write whose reply
// has not come, or a touch.
func (s *session) recognize(now time.Duration) {
	n := s.mirror.nodes[s.id]
	if n == nil {
		return
	}
	s.recognizeHeartbeat(n, now)
	for _, d := range s.writer.documents {
		if d.k < len(n.docs) && n.docs[d.k] != nil && n.docs[d.k].readable {
			s.recognizeClaims(d, n.docs[d.k], now)
		}
	}
}

// prove checks that what the store has confirmed is in the picture, once this has
// come to it. Otherwise the store goes on from an earlier state. For update.
func (s *session) prove() {
	defer func() {
		if s.mirror.torn != nil {
			s.end(s.mirror.torn)
		}
	}()
	n := s.mirror.nodes[s.id]
	if r := &s.renewal; r.rev != 0 && r.rev <= s.mirror.rev && n != nil && n.readable {
		if n.rev < r.rev || (n.rev == r.rev && n.value.Beat != r.beat) {
			s.mirror.replaced(s.clock.now())
		}
	}
	for d := range s.writer.unproven {
		if d.rev > s.mirror.rev {
			continue
		}
		delete(s.writer.unproven, d)
		if n == nil || d.k >= len(n.docs) || n.docs[d.k] == nil {
			continue // lost
		}
		if shown := n.docs[d.k]; shown.rev < d.rev || (shown.rev == d.rev && shown.seq != d.seq) {
			s.mirror.replaced(s.clock.now())
		}
	}
}

// confirmedAt checks the revision of a write that was sent when the picture was of
// another: in one history it is a later one.
func (s *session) confirmedAt(rev, picture int64) {
	if rev <= picture {
		s.mirror.replaced(s.clock.now())
		s.end(errHistory)
	}
}

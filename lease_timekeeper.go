package distributed

import "time"

// keepTime does what is due: ends the session when its validity, less the grace,
// has passed; lets go of doubts; starts a feed anew that hangs; wakes who writes.
func (s *session) keepTime() {
	for {
		var next time.Duration
		s.update(func() { next = s.tick() })
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-s.retime:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// tick returns how long until there is something to do again. For update.
func (s *session) tick() time.Duration {
	now := s.clock.sync()
	next := s.timing.period()
	if until := time.Duration(s.validUntil.Load()); until != 0 {
		left := until - s.timing.grace - now
		if left <= 0 {
			s.end(errExpired)
		}
		next = min(next, max(left, 0))
	}
	if s.mirror.expire(now) {
		s.evaluate(change{all: true}, now)
	}
	if at, ok := s.mirror.nextExpiry(); ok {
		next = min(next, at-now)
	}
	if left := s.renumber(now); left > 0 {
		next = min(next, left)
	}
	graves, at := s.mirror.due(now)
	if len(graves) > 0 {
		signal(s.dig)
		next = min(next, s.timing.ttl/20) // to try again
	}
	if at > 0 {
		next = min(next, at-now)
	}
	next = min(next, s.checkFeed(now))
	return max(next, time.Millisecond)
}

// checkFeed starts another feed if this one does not show what the store has
// confirmed, and returns when to look again. If the third one does not either, it is
// the store or this machine that is busy, and as a feed begins with a listing, to begin
// again and again would keep them so: from there on each gets twice the time of the one
// before.
func (s *session) checkFeed(now time.Duration) time.Duration {
	r := &s.renewal
	if r.acked <= s.mirror.rev {
		return s.timing.period()
	}
	patience := min(s.timing.lag()<<max(r.refeeds-1, 0), s.timing.ttl)
	late := max(r.owed, s.heardAt) + patience - now
	if late > 0 {
		return late
	}
	s.log.Debug("feed lags behind, starting another", "revision", s.mirror.rev, "confirmed", r.acked)
	r.owed = now
	r.refeeds = min(r.refeeds+1, 16)
	if s.refeed != nil {
		s.refeed()
	}
	return patience
}

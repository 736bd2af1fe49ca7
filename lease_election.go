package distributed

import (
	"context"
	"sync/atomic"
	"time"
)

// election is a session's part in one election. Its fields are guarded by the session's
// mu; its campaign, once it has seen that it leads, may read the token without.
type election struct {
	session *session
	job     string
	wake    chan struct{} // capacity 1: something has changed for campaign

	candidacy *candidacy
	lost      context.CancelCauseFunc // of the campaign or leadership under way
	token     int64
	vacated   time.Duration // when who led before was seen to release, 0 if not
	leading   atomic.Bool
	saved     atomic.Int64 // the revision at which we have saved something, 0 if not
}

// Election implements [Lease]. What it returns costs nothing once it is not used
// any more.
func (s *session) Election(job string) Election {
	return &election{session: s, job: job, wake: make(chan struct{}, 1)}
}

// Campaign implements [Election]. It waits on wake alone: the loops of the session
// do the rest.
func (e *election) Campaign(ctx context.Context, lost context.CancelCauseFunc) (int64, error) {
	e.session.update(func() { e.stand(lost) })
	for {
		select {
		case <-e.wake:
		case <-ctx.Done():
		}
		if token, done, err := e.outcome(ctx); done {
			return token, err
		}
	}
}

// outcome looks at how the campaign stands. A cancelled campaign never wins.
func (e *election) outcome(ctx context.Context) (token int64, done bool, err error) {
	if e.leading.Load() && ctx.Err() == nil {
		return e.token, true, nil // without the session's mu: ten thousand may be here at once
	}
	e.session.update(func() {
		switch {
		case e.session.lost != nil:
			err = ErrLeaseLost
		case ctx.Err() != nil:
			err = ctx.Err()
		default:
			return // or it has been decided since
		}
		done = true
		e.withdraw()
	})
	return token, done, err
}

// Valid implements [Election].
func (e *election) Valid() bool {
	return e.leading.Load() && int64(e.session.clock.now()) < e.session.validUntil.Load()
}

// Resign implements [Election]. It waits no longer than the session lives.
func (e *election) Resign(ctx context.Context) error {
	var gone chan struct{}
	var over bool
	e.session.update(func() { gone, over = e.withdraw(), e.session.lost != nil })
	if gone == nil || over {
		return nil // what there is goes with the session
	}
	select {
	case <-gone:
		return nil
	case <-e.session.ended:
		return ErrLeaseLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Gap implements [Election].
func (e *election) Gap() (gap time.Duration, ok bool) {
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	return e.session.clock.now() - e.vacated, e.vacated != 0
}

// stand asks for a candidacy, behind all who have one. If one is still being
// released, the job stays in that document. For update.
func (e *election) stand(lost context.CancelCauseFunc) {
	select {
	case <-e.wake: // meant for an earlier campaign
	default:
	}
	s := e.session
	e.lost, e.token, e.vacated = lost, 0, 0
	if s.lost != nil {
		e.notify()
		return
	}
	c := s.writer.candidacies[e.job]
	if c == nil {
		c = &candidacy{job: e.job}
		s.writer.candidacies[e.job] = c
		s.writer.pending = append(s.writer.pending, c)
	} else {
		c.document.dirty = true
	}
	c.election, e.candidacy = e, c
	signal(s.wakeup)
}

// withdraw gives the candidacy or leadership up. It returns what is closed when the
// store has confirmed that, or nil if there is nothing to confirm. For update.
func (e *election) withdraw() chan struct{} {
	s, c := e.session, e.candidacy
	e.leading.Store(false)
	e.candidacy = nil
	if c == nil || c.election != e {
		return nil
	}
	c.election, c.standing, c.seen = nil, standing{}, 0
	if !c.stored {
		s.forget(c)
		return nil
	}
	if c.gone == nil {
		c.gone = make(chan struct{})
	}
	c.document.urgent = true
	signal(s.wakeup)
	return c.gone
}

// evaluate decides anew about the elections that c may concern. For update.
func (s *session) evaluate(c change, now time.Duration) {
	if c.all {
		for _, candidacy := range s.writer.candidacies {
			s.decide(candidacy, now)
		}
		return
	}
	for _, q := range c.queues {
		if candidacy := s.writer.candidacies[q.job]; candidacy != nil {
			s.decide(candidacy, now)
		}
	}
}

// decide has c lead, if it may: leadership is granted only while the validity leaves
// more than the time that Work has to stop. For update.
func (s *session) decide(c *candidacy, now time.Duration) {
	e := c.election
	if e == nil || e.leading.Load() || c.number == 0 {
		return
	}
	if c.seen == 0 && s.mirror.shows(c.standing) {
		c.seen = now
	}
	if s.lost != nil || now >= time.Duration(s.validUntil.Load())-s.timing.grace || !s.mirror.leads(c.job, c.standing) {
		return
	}
	if q := s.mirror.queues[c.job]; q.vacated > c.seen {
		e.vacated = q.vacated
	}
	e.token = c.number
	e.leading.Store(true)
	e.notify()
}

// dethrone ends a leadership that we have lost. For update.
func (e *election) dethrone(cause error) {
	if e.leading.CompareAndSwap(true, false) {
		lost := e.lost
		e.session.cancels = append(e.session.cancels, func() { lost(cause) })
	}
}

func (e *election) notify() { signal(e.wake) }

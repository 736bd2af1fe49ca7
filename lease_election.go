package distributed

import (
	"context"
	"sync/atomic"
	"time"
)

// election is a session's part in one election. Its fields are guarded by the session's
// mu.
type election struct {
	session *session
	job     string

	bid       *bid // the campaign under way, or that by which it leads
	candidacy *candidacy
	token     int64 // by which it leads, or led last
	leading   atomic.Bool
	vacated   atomic.Int64 // when who led before was seen to release, 0 if not
	saved     atomic.Int64 // the revision at which we have saved something, 0 if not
}

// bid is a call of Campaign.
type bid struct {
	ctx     context.Context
	stop    func() bool // ends what waits for the end of ctx
	decided func(token int64, err error)
	lost    context.CancelCauseFunc
	over    bool // it has been decided
}

// decision is how a campaign has ended, to be told once mu is free.
type decision struct {
	bid   *bid
	token int64
	err   error
}

func (d decision) tell() {
	d.bid.stop()
	d.bid.decided(d.token, d.err)
}

// Election implements [Lease]. What it returns costs nothing once it is not used
// any more.
func (s *session) Election(job string) Election { return &election{session: s, job: job} }

// Campaign implements [Election]. The loops of the session do the rest.
func (e *election) Campaign(ctx context.Context, decided func(token int64, err error), lost context.CancelCauseFunc) {
	b := &bid{ctx: ctx, decided: decided, lost: lost}
	b.stop = context.AfterFunc(ctx, func() { e.session.update(func() { e.cancel(b) }) })
	e.session.update(func() { e.stand(b) })
}

// cancel ends a campaign, unless it has been decided. For update.
func (e *election) cancel(b *bid) {
	switch {
	case e.bid != b || b.over:
	case e.session.lost != nil:
		e.conclude(0, ErrLeaseLost)
	default:
		e.conclude(0, b.ctx.Err())
	}
}

// conclude ends the campaign: with a token the election is led, and with an error
// nothing is left of it. For update.
func (e *election) conclude(token int64, err error) {
	e.bid.over, e.token = true, token
	e.session.decisions = append(e.session.decisions, decision{e.bid, token, err})
	if err != nil {
		e.withdraw()
	}
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
	vacated := time.Duration(e.vacated.Load())
	return e.session.clock.now() - vacated, vacated != 0
}

// stand asks for a candidacy, behind all who have one. If one is still being
// released, the job stays in that document. For update.
func (e *election) stand(b *bid) {
	s := e.session
	e.bid = b
	e.vacated.Store(0)
	if s.lost != nil || b.ctx.Err() != nil {
		e.cancel(b)
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
	if e == nil || e.leading.Load() || c.number == 0 || e.bid.ctx.Err() != nil {
		return
	}
	if c.seen == 0 && s.mirror.shows(c.standing) {
		c.seen = now
	}
	if s.lost != nil || now >= time.Duration(s.validUntil.Load())-s.timing.grace || !s.mirror.leads(c.job, c.standing) {
		return
	}
	if q := s.mirror.queues[c.job]; q.vacated > c.seen {
		e.vacated.Store(int64(q.vacated))
	}
	e.leading.Store(true)
	e.conclude(c.number, nil)
}

// dethrone ends a leadership that we have lost. For update.
func (e *election) dethrone(cause error) {
	if e.leading.CompareAndSwap(true, false) {
		lost := e.bid.lost
		e.session.cancels = append(e.session.cancels, func() { lost(cause) })
	}
}

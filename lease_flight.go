package distributed

import (
	"context"
	"errors"
	"time"
)

// flight is a write of a document under way.
type flight struct {
	document *ownDocument
	seq      int64
	guard    int64
	claims   positions
	claiming bool // it brings claims in
	out      []*candidacy
	gone     []chan struct{}
	done     bool
	since    time.Duration      // when it was composed
	failed   time.Duration      // when an attempt failed first, 0 if none has
	warned   bool               // it counts in writer.failing
	cancel   context.CancelFunc // of the attempt under way
}

// compose makes the next write of a document. For update.
func (s *session) compose(d *ownDocument) *flight {
	f := &flight{document: d, seq: d.seq + 1, guard: d.rev, since: s.clock.now(), claims: make(positions, 0, len(d.members))}
	for _, c := range d.members {
		if c.gone != nil {
			f.gone, c.gone = append(f.gone, c.gone), nil
		}
		if c.election == nil {
			f.out = append(f.out, c)
			continue
		}
		if c.seq == 0 {
			c.standing, c.stored = standing{document: d.k, seq: f.seq}, true
			f.claiming = true
		}
		f.claims = append(f.claims, position{c.job, c.number})
	}
	sortPositions(f.claims)
	d.flight, d.dirty, d.urgent, d.numberAt = f, false, false, 0
	if f.claiming {
		s.writer.claiming++
	}
	return f
}

// confirm takes in that f is in the store, at rev or before. For update.
func (s *session) confirm(f *flight, rev int64) {
	if f.done {
		return
	}
	d, w := f.document, &s.writer
	f.done, d.flight = true, nil
	s.noteSuccess(f)
	d.rev, d.seq = rev, f.seq
	if f.seq == 1 {
		d.made = rev
		w.making--
		if w.making == 0 && s.renewal.number > 0 {
			signal(s.beatIt) // it registers them
		}
	}
	if f.claiming {
		w.claiming--
		w.gate = max(w.gate, rev)
	}
	if f.claiming || f.seq == 1 {
		d.numberAt = s.clock.now() + s.timing.period()*3/4 // others that begin come first
		signal(s.retime)
	}
	w.unproven[d] = struct{}{}
	s.prove()
	for _, c := range d.members {
		if c.seq == f.seq {
			c.number = rev
		}
	}
	s.dropReleased(f)
	now := s.clock.now()
	for _, c := range d.members {
		if c.seq == f.seq {
			s.decide(c, now)
		}
	}
	s.interrupt(f)
	signal(s.wakeup)
}

// interrupt ends an attempt of which the feed has shown the outcome, or that it can
// have none. For update.
func (s *session) interrupt(f *flight) {
	if f.cancel != nil {
		s.reports = append(s.reports, f.cancel)
	}
}

// dropReleased forgets the candidacies that f has taken out, but for those that
// somebody stands with again. For update.
func (s *session) dropReleased(f *flight) {
	d, w := f.document, &s.writer
	for _, c := range f.out {
		c.stored = false
		if c.election != nil {
			d.dirty = true
			continue
		}
		if c.gone != nil {
			close(c.gone)
		}
		s.forget(c)
	}
	for _, gone := range f.gone {
		close(gone)
	}
	if len(f.out) > 0 {
		w.cursor = min(w.cursor, d.k)
	}
}

// noteFailure says, once until all can be written again, that claims cannot be
// written: if a heartbeat that was sent since has come back, it is not the store that
// is away, and nobody else says anything. For update.
func (s *session) noteFailure(f *flight, err error) {
	if f.done || s.lost != nil {
		return
	}
	if f.failed == 0 {
		f.failed = s.clock.now()
	}
	if f.warned || time.Duration(s.validUntil.Load())-s.timing.validity() <= f.failed {
		return
	}
	f.warned = true
	if s.writer.failing++; s.writer.failing == 1 {
		s.log.Warn("claims cannot be written, trying again", "error", err)
	}
}

// noteSuccess is called once f is in the store. For update.
func (s *session) noteSuccess(f *flight) {
	if !f.warned {
		return
	}
	if s.writer.failing--; s.writer.failing == 0 {
		s.log.Info("claims can be written again", "away", s.clock.now()-f.failed)
	}
}

// attempt makes the next attempt to write f. For update.
func (s *session) attempt(f *flight) attempt {
	d := f.document
	a := attempt{key: s.keys.claims(s.id, d.k), guard: f.guard, picture: s.mirror.rev}
	var err error
	v := claimsValue{TTL: s.timing.ttl.Milliseconds(), Drift: inMillionths(s.timing.drift), Seq: f.seq, Made: d.made, Guard: f.guard}
	a.value, err = s.keys.encode(a.key, v.claim(f.claims))
	if err != nil {
		s.end(err) // names are bounded, and so is their number: there is no such error
	}
	return a
}

// settle takes in the answer to an attempt. For update.
func (s *session) settle(f *flight, a attempt, rev int64, err error) error {
	var conflict *ConflictError
	switch {
	case err == nil:
		s.confirmedAt(rev, a.picture)
		s.confirm(f, rev)
		return nil
	case f.done:
		return nil
	case !errors.As(err, &conflict):
		return err
	case f.guard != a.guard, !conflict.Known, conflict.There.Revision == a.guard:
		return errAgain // the feed has told of a touch, or will; or it was refused for nothing
	}
	there := conflict.There
	var v claimsValue
	switch err := s.keys.decode(s.keys.claims(s.id, f.document.k), there.Value, &v); {
	case there.Revision != 0 && there.Revision < a.guard: // where it was when we knew better
		s.mirror.replaced(s.clock.now())
		s.end(errHistory)
		return s.lost
	case err == nil && v.Seq == f.seq:
		s.confirm(f, there.Revision)
		return nil
	case err == nil && v.Seq == f.document.seq && f.seq > 1:
		f.guard = there.Revision // it was touched
		return errAgain
	}
	s.end(errTornAway)
	return s.lost
}

// recognizeClaims takes in a document of ours as the picture shows it. For update.
func (s *session) recognizeClaims(d *ownDocument, shown *claimDocument, now time.Duration) {
	f := d.flight
	switch {
	case f != nil && shown.seq == f.seq:
		s.confirm(f, shown.rev)
	case shown.seq == d.seq && shown.rev > d.rev:
		d.rev = shown.rev
		if f != nil && f.guard < shown.rev {
			f.guard = shown.rev
			s.interrupt(f)
		}
	case shown.seq > d.seq:
		s.mirror.tear(errTornAway)
	}
}

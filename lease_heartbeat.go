package distributed

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// renewal is what a session knows of its node document.
type renewal struct {
	number  int64                // of the newest heartbeat made
	beats   map[int64]*heartbeat // that may still come back, by number
	rev     int64                // of the node document, as last known
	beat    int64                // the number in it then
	refused int64                // a revision that the document is not at any more, 0 if not
	making  int64                // the newest heartbeat that may have made the document
	acked   int64                // revision of the newest heartbeat confirmed
	owed    time.Duration        // since when the present feed has not shown what was confirmed
	refeeds int                  // feeds that were started in a row, as they did not show that
}

// heartbeat is a write of our node document. Its number is used for it alone, so
// whoever finds the number finds this.
type heartbeat struct {
	number    int64
	value     []byte
	sent      time.Duration // before the first attempt: it counts from there
	documents int           // that it registers
}

func (s *session) nodeValue(number int64, state string) *nodeValue {
	documents, made := s.writer.registrable()
	return &nodeValue{
		Instance: s.instance, TTL: s.timing.ttl.Milliseconds(), Drift: inMillionths(s.timing.drift),
		Beat: number, State: state, Documents: documents, Made: made,
	}
}

// newHeartbeat makes the next heartbeat. For update.
func (s *session) newHeartbeat() *heartbeat {
	r := &s.renewal
	r.number++
	v := s.nodeValue(r.number, "")
	b, err := s.keys.encode(s.keys.node(s.id), v)
	if err != nil {
		s.end(err) // the name of the instance is bounded, so there is no such error
	}
	h := &heartbeat{number: r.number, value: b, sent: s.clock.sync(), documents: v.Documents}
	r.beats[h.number] = h
	return h
}

// renew sends heartbeats. Attempts do not wait for one another: one can hang for
// seconds while the next would go through.
func (s *session) renew() {
	pause := time.Duration(0) // the second heartbeat makes us ready
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.beatIt:
		case <-s.hurry:
			if sleep(s.ctx, s.jitter(s.timing.ttl/20)) != nil {
				return
			}
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		s.loops.Go(s.heartbeat)
		pause = s.jitter(s.timing.period())
	}
}

// jitter shortens d by up to a tenth, so that nodes do not renew in step.
func (s *session) jitter(d time.Duration) time.Duration { return d - rand.N(d/10+1) }

// heartbeat sends one. That it was written counts for nothing: what counts is when
// it comes back through the feed, see witness.
func (s *session) heartbeat() {
	ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
	defer cancel()
	var h *heartbeat
	s.update(func() {
		if s.renewal.rev == 0 && s.clock.now() > s.makingUntil {
			s.end(errExpired) // others may have found out that there is no node document
		}
		if s.lost == nil {
			h = s.newHeartbeat()
		}
	})
	if h == nil {
		return
	}
	err := errAgain
	for errors.Is(err, errAgain) && ctx.Err() == nil {
		err = s.sendHeartbeat(ctx, h)
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Debug("lease renewal failed, trying again", "error", err)
		s.events.renewalFailed(err)
		signal(s.hurry)
	}
}

// sendHeartbeat makes an attempt, unless a later heartbeat has been written: over
// that, h would look like somebody else's doing. errAgain says that the document has
// another revision than we knew, and that h may be sent on that.
func (s *session) sendHeartbeat(ctx context.Context, h *heartbeat) error {
	var a attempt
	overtaken := false
	s.stall()
	s.update(func() {
		a, overtaken = s.attemptHeartbeat(h), s.renewal.beat >= h.number
	})
	if overtaken {
		return nil
	}
	rev, err := s.store.Put(ctx, a.key, a.value, a.guard)
	s.update(func() { err = s.answered(h, a, rev, err) })
	return err
}

// attempt is a write as it is sent.
type attempt struct {
	key     string
	value   []byte
	guard   int64
	picture int64 // the revision of our picture then
}

// attemptHeartbeat makes the next attempt to write h. For update.
func (s *session) attemptHeartbeat(h *heartbeat) attempt {
	r := &s.renewal
	if r.rev == 0 {
		r.making = h.number
	}
	return attempt{s.keys.node(s.id), h.value, r.rev, s.mirror.rev}
}

// answered takes in the answer to an attempt. For update.
func (s *session) answered(h *heartbeat, a attempt, rev int64, err error) error {
	var conflict *ConflictError
	switch {
	case err == nil:
		s.confirmedAt(rev, a.picture)
		s.committed(h.number, rev)
		return nil
	case !errors.As(err, &conflict):
		return err
	case conflict.Known:
		return s.refused(h, a, conflict.There)
	case s.renewal.beat >= h.number:
		return nil
	case s.renewal.rev > a.guard:
		return errAgain // the feed has told
	}
	s.renewal.refused = max(a.guard, 1) // the feed will tell
	return nil
}

// refused looks at what is in place of what a heartbeat was to replace. For update.
func (s *session) refused(h *heartbeat, a attempt, there Document) error {
	r := &s.renewal
	var v nodeValue
	err := s.keys.decode(s.keys.node(s.id), there.Value, &v)
	switch {
	case err == nil && v.State == stateBuried:
		s.end(errBuried)
		return s.lost
	case there.Revision != 0 && there.Revision < a.guard: // where it was when we knew better
		s.mirror.replaced(s.clock.now())
		s.end(errHistory)
		return s.lost
	case there.Revision != 0 && there.Revision < r.rev: // more is known by now
		v.Beat = r.beat
	case err != nil, v.State != "", v.Beat < r.beat, v.Beat > r.number:
		s.end(errTornAway)
		return s.lost
	default:
		s.committed(v.Beat, there.Revision)
	}
	if v.Beat < h.number {
		return errAgain
	}
	return nil // it has been written, or a later one has
}

// committed takes in that the heartbeat with a number is in the store, at rev. For
// update.
func (s *session) committed(number, rev int64) {
	r := &s.renewal
	if rev > r.rev {
		r.rev, r.beat = rev, number
	}
	if rev > s.mirror.rev && rev > r.acked {
		if r.acked <= s.mirror.rev {
			r.owed, r.refeeds = s.clock.now(), 0
		}
		r.acked = rev
		signal(s.retime)
	}
	if h := r.beats[number]; h != nil {
		s.register(h.documents)
	}
	s.prove()
}

// recognizeHeartbeat takes in our node document as the picture shows it. For
// update.
func (s *session) recognizeHeartbeat(n *node, now time.Duration) {
	r := &s.renewal
	if !n.readable || n.value.State != "" || n.rev < r.rev {
		return
	}
	if n.value.Beat > r.number {
		s.mirror.tear(errTornAway)
		return
	}
	s.committed(n.value.Beat, n.rev)
	if s.mirror.torn == nil {
		s.witness(n.value.Beat, now)
	}
	if r.refused != 0 && n.rev > r.refused {
		r.refused = 0
		signal(s.hurry)
	}
}

// witness extends the validity: a heartbeat has come back at now. It counts from
// when it was sent. One that comes back too late is worth nothing: others may have
// begun to lead. For update.
func (s *session) witness(number int64, now time.Duration) {
	h := s.renewal.beats[number]
	if h == nil || s.lost != nil {
		return
	}
	delete(s.renewal.beats, number)
	until := h.sent + s.timing.validity()
	old := time.Duration(s.validUntil.Load())
	first := old == 0
	if first {
		old = until
	}
	if now >= old-s.timing.grace {
		s.end(errExpired)
		return
	}
	s.validUntil.Store(int64(max(old, until)))
	s.forgetBeats(h.sent)
	if until > old {
		sent := h.sent
		s.reports = append(s.reports, func() { s.events.renewed(now-sent, old-now) })
	}
}

// forgetBeats drops heartbeats that were sent so long before that they could
// extend nothing any more.
func (s *session) forgetBeats(sent time.Duration) {
	for n, h := range s.renewal.beats {
		if h.sent < sent-s.timing.ttl {
			delete(s.renewal.beats, n)
		}
	}
}

// ready reports whether claims may be written. For update.
func (s *session) ready() bool {
	n := s.mirror.nodes[s.id]
	return s.validUntil.Load() != 0 && n != nil && n.readable && n.value.Beat > s.renewal.making
}

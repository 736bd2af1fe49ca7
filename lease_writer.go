package distributed

import (
	"context"
	"errors"
	"time"
)

const (
	// maxClaims is how many claims a document holds. With more, handing over a
	// single one takes longer; with fewer, there are more documents to write.
	maxClaims = 64

	// maxNames is how many bytes the names in a document have at most, so that it
	// is not too long whatever they are made of: none takes more than two bytes for
	// one in JSON.
	maxNames = (maxDocument - 8<<10) / 2

	maxParallel = 16      // documents that are written one by one at the same time
	maxMade     = 64      // documents that are made at the same time
	maxBatch    = 1 << 19 // bytes that are written in one round trip
)

// writer keeps the claims of a session in its documents. What is asked for while a
// document is being written goes with the next write of it; documents do not wait
// for one another. All is guarded by the session's mu.
//
// The writes of a document go strictly one after the other, each on condition that
// the document still is as the one before left it. So each takes effect once,
// however often it was sent, and even if a copy that was given up for lost reaches
// the store long after.
type writer struct {
	perDocument int                   // maxClaims
	candidacies map[string]*candidacy // by job
	pending     []*candidacy          // that have no document yet
	documents   []*ownDocument        // by k
	cursor      int                   // no registered document before it has room
	registered  int                   // documents that are registered
	making      int                   // documents under way that are being made
	claiming    int                   // writes under way that bring claims in
	failing     int                   // writes under way that fail while heartbeats do not
	gate        int64                 // no more of them before the picture has come to this revision
	unproven    map[*ownDocument]struct{}
}

// candidacy is our part in the queue of a job, from when it is asked for until the
// store has confirmed that it is no more.
type candidacy struct {
	job      string
	election *election // whose it is; nil while it is to be released
	document *ownDocument
	standing               // zero before the write that brings the claim in
	stored   bool          // a write that has it was sent, and none without it confirmed
	gone     chan struct{} // closed when what was to be released is
	seen     time.Duration // when our claim was first in the picture
}

// ownDocument is a document of claims that we write.
type ownDocument struct {
	k        int
	rev      int64 // as last known
	seq      int64 // of the last write confirmed
	made     int64 // revision of the first one, 0 before that is confirmed
	members  []*candidacy
	names    int           // bytes of their names
	dirty    bool          // there are claims to bring in
	urgent   bool          // there are claims to release: others wait for them
	numberAt time.Duration // when positions of 0 are to be replaced, 0 if there are none
	flight   *flight
}

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

// makeDocument makes another document, empty. For update.
func (s *session) makeDocument() *flight {
	w := &s.writer
	d := &ownDocument{k: len(w.documents)}
	w.documents = append(w.documents, d)
	w.making++
	return s.compose(d)
}

// registrable returns how many documents are there, and the sum of when they were
// made.
func (w *writer) registrable() (documents int, made int64) {
	for _, d := range w.documents {
		if d.made == 0 {
			break
		}
		documents++
		made += d.made
	}
	return documents, made
}

// register takes in that so many documents are registered. For update.
func (s *session) register(documents int) {
	if documents > s.writer.registered {
		s.writer.registered = documents
		signal(s.wakeup)
	}
}

// compose makes the next write of a document. For update.
func (s *session) compose(d *ownDocument) *flight {
	f := &flight{document: d, seq: d.seq + 1, guard: d.rev, since: s.clock.now()}
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

// forget drops a candidacy of which nothing is in the store. For update.
func (s *session) forget(c *candidacy) {
	if s.writer.candidacies[c.job] == c {
		delete(s.writer.candidacies, c.job)
	}
	d := c.document
	if d == nil {
		return
	}
	for i, member := range d.members {
		if member == c {
			last := len(d.members) - 1
			d.members[i], d.members[last] = d.members[last], nil
			d.members = d.members[:last]
			d.names -= len(c.job)
			s.writer.cursor = min(s.writer.cursor, d.k)
			return
		}
	}
}

// take returns the writes that are to be sent now. Releases go at once, and with
// them what else there is for their document; claims wait until the picture shows
// the last ones. For update.
func (s *session) take() (flights []*flight) {
	w := &s.writer
	if s.lost != nil || !s.ready() {
		return nil
	}
	now := s.clock.now()
	open := w.claiming == 0 && s.mirror.rev >= w.gate
	if open {
		flights = s.assign()
	}
	for _, d := range w.documents[:w.registered] {
		due := d.urgent || (d.dirty && open) || (d.numberAt != 0 && d.numberAt <= now)
		if d.flight == nil && due {
			flights = append(flights, s.compose(d))
		}
	}
	return flights
}

// assign gives a document to candidacies that have none, and makes more documents
// if there is no room. For update.
func (s *session) assign() (flights []*flight) {
	w := &s.writer
	rest := w.pending[:0]
	for _, c := range w.pending {
		if c.election == nil || c.document != nil {
			continue
		}
		d := s.roomFor(c)
		if d == nil {
			rest = append(rest, c)
			continue
		}
		c.document = d
		d.members = append(d.members, c)
		d.names += len(c.job)
		d.dirty = true
	}
	clear(w.pending[len(rest):])
	w.pending = rest
	if cap(w.pending) > 1024 && len(rest) == 0 {
		w.pending = nil
	}
	coming := (len(w.documents) - w.registered) * w.perDocument
	for len(rest) > coming && w.making < maxMade && len(w.documents) < maxClaimDocuments {
		flights = append(flights, s.makeDocument())
		coming += w.perDocument
	}
	return flights
}

// roomFor returns a registered document with room for c. For update.
func (s *session) roomFor(c *candidacy) *ownDocument {
	w := &s.writer
	for k := w.cursor; k < w.registered; k++ {
		d := w.documents[k]
		if len(d.members) < w.perDocument && d.names+len(c.job) <= maxNames {
			return d
		}
		if k == w.cursor && len(d.members) >= w.perDocument {
			w.cursor++
		}
	}
	return nil
}

// openGate wakes write if claims may be written now that wait. For update.
func (s *session) openGate() {
	if w := &s.writer; w.claiming == 0 && w.gate != 0 && s.mirror.rev >= w.gate {
		w.gate = 0
		signal(s.wakeup)
	}
}

// renumber wakes write when positions of 0 are to be replaced, and returns how long
// until there are others; 0 if there are none. For update.
func (s *session) renumber(now time.Duration) (left time.Duration) {
	for _, d := range s.writer.documents {
		switch {
		case d.numberAt == 0:
		case d.numberAt <= now:
			signal(s.wakeup)
		case left == 0 || d.numberAt-now < left:
			left = d.numberAt - now
		}
	}
	return left
}

// write sends what there is to write, until the session is over.
func (s *session) write() {
	places := make(chan struct{}, maxParallel)
	for {
		var flights []*flight
		s.update(func() { flights = s.take() })
		if len(flights) > 0 {
			s.launch(flights, places)
			continue
		}
		select {
		case <-s.wakeup:
		case <-s.ctx.Done():
			return
		}
	}
}

// launch sends flights, several in one round trip if the store can do that.
func (s *session) launch(flights []*flight, places chan struct{}) {
	batches, ok := s.store.(BatchStore)
	if ok && len(flights) > 1 {
		s.loops.Go(func() { s.fly(s.sendAll(batches, flights), places) })
		return
	}
	s.fly(flights, places)
}

// fly sends flights one by one, but not one after the other.
func (s *session) fly(flights []*flight, places chan struct{}) {
	for _, f := range flights {
		s.loops.Go(func() {
			select {
			case places <- struct{}{}:
			case <-s.ctx.Done():
				return
			}
			s.persist(f)
			<-places
		})
	}
}

// sendAll sends flights together, once, and returns those that are not confirmed.
func (s *session) sendAll(store BatchStore, flights []*flight) (rest []*flight) {
	for len(flights) > 0 {
		var attempts []attempt
		var writes []Write
		size := 0
		s.update(func() {
			for _, f := range flights {
				a := s.attempt(f)
				if size += len(a.value); size > maxBatch && len(writes) > 0 {
					return
				}
				attempts, writes = append(attempts, a), append(writes, Write{a.key, a.value, a.guard})
			}
		})
		if s.ctx.Err() != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
		results := store.PutAll(ctx, writes)
		cancel()
		s.update(func() {
			for i, r := range results {
				if err := s.settle(flights[i], attempts[i], r.Revision, r.Err); err != nil && !flights[i].done {
					rest = append(rest, flights[i])
				}
			}
		})
		flights = flights[len(writes):]
	}
	return rest
}

// persist sends f until it is confirmed, or the session is over. To make a document
// is tried for no longer than others wait for it.
func (s *session) persist(f *flight) {
	pace := backoff{limit: s.timing.attempt()}
	for sleep(s.ctx, pace.next()) == nil {
		if f.seq == 1 && s.clock.now() > f.since+s.timing.ttl {
			s.update(func() { s.end(errExpired) })
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
		s.update(func() { f.cancel = cancel })
		err := s.send(ctx, f)
		cancel()
		if err == nil {
			return
		}
		s.update(func() { s.noteFailure(f, err) })
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

// send makes an attempt. errAgain says that the document has another revision than
// we knew, and that f may be sent on that.
func (s *session) send(ctx context.Context, f *flight) error {
	var a attempt
	var done bool
	s.update(func() { a, done = s.attempt(f), f.done })
	if done {
		return nil
	}
	rev, err := s.store.Put(ctx, a.key, a.value, a.guard)
	s.update(func() { err = s.settle(f, a, rev, err) })
	return err
}

// attempt makes the next attempt to write f. For update.
func (s *session) attempt(f *flight) attempt {
	d := f.document
	a := attempt{key: s.keys.claims(s.id, d.k), guard: f.guard, picture: s.mirror.rev}
	var err error
	v := claimsValue{TTL: s.timing.ttl.Milliseconds(), Drift: s.timing.drift, Seq: f.seq, Made: d.made, Guard: f.guard}
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

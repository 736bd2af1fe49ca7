package distributed

import "time"

const (
	// maxClaims is how many claims a document holds. With more, handing over a
	// single one takes longer; with fewer, there are more documents to write.
	maxClaims = 64

	// maxNames is how many bytes the names in a document have at most, so that it
	// is not too long whatever they are made of: none takes more than two bytes for
	// one in JSON.
	maxNames = (maxDocument - 8<<10) / 2

	maxMade = 64 // documents that are made at the same time
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

package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// session is a node's life in the store. Five loops run from join to close: follow
// takes in what the feed tells, renew sends heartbeats, keepTime does what is due at
// some time, write sends changes of claims, and bury ends what dead nodes have left.
// They share the fields below mu, and make no calls while they hold it; keepTime
// makes none at all. None of them ever runs code of the user.
type session struct {
	store    Store
	keys     keys
	id       string
	instance string
	timing   timing
	clock    *clock
	log      *slog.Logger // as events: neither blocks, nor runs code of the user
	events   LeaseEvents
	remember func(memory)
	stall    func() // called by whoever is about to make an attempt to write

	loops  sync.WaitGroup
	life   context.Context // until close is done: of follow
	quit   context.CancelFunc
	ctx    context.Context // until the session is over: of all that writes
	stop   context.CancelFunc
	ended  chan struct{} // closed when the session is over
	moved  chan struct{} // wakes join; capacity 1, as all that follow
	retime chan struct{} // wakes keepTime
	hurry  chan struct{} // wakes renew after an attempt that failed
	beatIt chan struct{} // wakes renew at once
	wakeup chan struct{} // wakes write
	dig    chan struct{} // wakes bury

	// validUntil is when, on our clock, others may lead at the earliest, in
	// nanoseconds; 0 before the first heartbeat has come back, and after the end.
	validUntil atomic.Int64

	views       views
	mu          sync.Mutex
	mirror      *mirror
	announcer   announcer
	renewal     renewal
	writer      writer
	created     bool          // we may have made documents
	makingUntil time.Duration // when we stop to try
	heardAt     time.Duration
	ordered     chan struct{}            // closed when there are other orders; nil while nobody asked
	refeed      context.CancelFunc       // ends the feed; another begins
	watched     map[string]chan struct{} // by job: closed when something else is on record of it
	lost        error                    // why the session is over, nil while it is not
	cause       error                    // the same, without ErrLeadershipLost
	closed      bool
	decisions   []decision
	cancels     []func() // of leaderships that have ended, to be called once mu is free
	reports     []func() // of what has happened, to be called after them
}

// sessionOptions are what a session needs.
type sessionOptions struct {
	store    Store
	prefix   string // of all keys of the app, ends in "/"
	id       string // a fresh one
	instance string
	timing   timing
	clock    *clock        // of the process
	known    memory        // what the process remembers
	claims   int           // a document, at most; 0 for maxClaims
	garbage  time.Duration // how long a node is void before its documents go, at least; 0 for garbageAge
	remember func(memory)
	stall    func() // keeps an attempt to write from being made for a while, as a scheduler may; nil but in simulations
	log      *slog.Logger
	events   LeaseEvents
}

func newSession(o sessionOptions) *session {
	s := &session{
		store: o.store, keys: keys{o.prefix}, id: o.id, instance: o.instance, timing: o.timing, clock: o.clock,
		log: o.log.With("lease", o.id), events: o.events, remember: o.remember,
		ended: make(chan struct{}), moved: make(chan struct{}, 1), retime: make(chan struct{}, 1),
		hurry: make(chan struct{}, 1), beatIt: make(chan struct{}, 1), wakeup: make(chan struct{}, 1), dig: make(chan struct{}, 1),
	}
	if s.stall = o.stall; s.stall == nil {
		s.stall = func() {}
	}
	s.mirror = newMirror(s.keys, s.id, o.timing, o.known)
	s.announcer.wake = make(chan struct{}, 1)
	s.mirror.garbageAge = cmp.Or(o.garbage, garbageAge)
	s.renewal.beats = map[int64]*heartbeat{}
	s.writer.perDocument = cmp.Or(o.claims, maxClaims)
	s.writer.candidacies, s.writer.unproven = map[string]*candidacy{}, map[*ownDocument]struct{}{}
	s.life, s.quit = context.WithCancel(context.Background())
	s.ctx, s.stop = context.WithCancel(s.life)
	return s
}

// update runs f under mu, and then, without it, tells how campaigns have been decided
// in f, and ends the leaderships that have ended in it; and when that is done, tells.
func (s *session) update(f func()) {
	s.mu.Lock()
	f()
	s.views.expire(s.mirror, s.lost != nil)
	decisions, cancels, reports := s.decisions, s.cancels, s.reports
	s.decisions, s.cancels, s.reports = nil, nil, nil
	s.mu.Unlock()
	for _, d := range decisions {
		d.tell()
	}
	for _, cancel := range cancels {
		cancel()
	}
	for _, report := range reports {
		report()
	}
}

// over returns why the session is over, or nil.
func (s *session) over() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// end ends the session: nobody leads under it any more, all at once, and it is
// never valid again. What it has in the store counts until close. For update.
func (s *session) end(cause error) {
	if s.lost != nil {
		return
	}
	s.lost, s.cause = fmt.Errorf("%w: %w", ErrLeadershipLost, cause), cause
	s.validUntil.Store(0)
	s.remember(s.mirror.memory())
	s.stop()
	close(s.ended)
	s.reorder()
	for job := range s.watched {
		s.unwatch(job)
	}
	for _, c := range s.writer.candidacies {
		if c.election != nil {
			c.election.dethrone(s.lost)
			c.election.cancel(c.election.bid)
		}
	}
	if !s.closed {
		s.reports = append(s.reports, func() { s.events.lost(cause) })
	}
}

// signal wakes whoever waits on a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Why a session is over.
var (
	errExpired  = errors.New("no heartbeat came back in time")
	errTornAway = errors.New("a document of the node was changed or deleted by somebody else")
	errBuried   = errors.New("another node has waited for a heartbeat long enough, and buried this one")
	errEpoch    = errors.New("the documents of the app were deleted, or put back from a backup")
	errHistory  = fmt.Errorf("%w: the store goes on from an earlier state", errEpoch)
)

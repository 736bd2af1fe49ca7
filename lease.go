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

// follow takes in the feed until close is done.
func (s *session) follow() {
	pace := backoff{limit: s.timing.attempt()}
	for sleep(s.life, pace.next()) == nil {
		started := time.Now()
		ctx, cancel := context.WithCancel(s.life)
		var after int64
		s.update(func() { s.refeed, after = cancel, s.mirror.rev })
		err := s.store.Follow(ctx, s.keys.prefix, after, s.apply)
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

// update runs f under mu, and then, without it, ends the leaderships that have
// ended in f; and when that is done, tells.
func (s *session) update(f func()) {
	s.mu.Lock()
	f()
	s.views.expire(s.mirror, s.lost != nil)
	cancels, reports := s.cancels, s.reports
	s.cancels, s.reports = nil, nil
	s.mu.Unlock()
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
			c.election.notify()
		}
	}
	if !s.closed {
		s.reports = append(s.reports, func() { s.events.lost(cause) })
	}
}

// Close implements [Lease]. Whatever ran under the session has returned.
func (s *session) Close(ctx context.Context) error {
	var again bool
	s.update(func() {
		again, s.closed = s.closed, true
		for _, c := range s.writer.candidacies {
			if c.election != nil {
				c.election.leading.Store(false) // who led has stopped, and needs no call
			}
		}
		s.end(ErrClosed)
	})
	if again {
		return nil
	}
	err := s.drain(ctx)
	s.quit()
	s.loops.Wait()
	return errors.Join(err, s.store.Close())
}

// abandon ends a session that was not handed out.
func (s *session) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.log.Debug("left an unused lease for others to bury", "error", err)
	}
}

// drain says that nothing runs here any more, whatever there is to say it on:
// nobody needs to wait for us, and nothing that we claim counts.
func (s *session) drain(ctx context.Context) error {
	var guard int64
	var b []byte
	var err error
	s.update(func() {
		if s.created {
			guard = s.renewal.rev
			b, err = s.keys.encode(s.keys.node(s.id), s.nodeValue(s.renewal.number+1, stateDrained))
		}
	})
	if b == nil || err != nil {
		return err
	}
	pace := backoff{limit: s.timing.attempt()}
	for err = nil; ; {
		if e := sleep(ctx, pace.next()); e != nil {
			return fmt.Errorf("say that the node has drained: %w", errors.Join(e, err))
		}
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		_, err = s.store.Put(attempt, s.keys.node(s.id), b, guard)
		cancel()
		if err == nil || s.isVoid() {
			return nil
		}
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			continue
		}
		if guard = s.shownRevision(guard); conflict.Known {
			guard = conflict.There.Revision
			var v nodeValue
			if s.keys.decode(s.keys.node(s.id), conflict.There.Value, &v) == nil && v.State != "" {
				return nil
			}
			pace = backoff{limit: pace.limit}
		}
	}
}

// isVoid reports whether our picture shows that we are void.
func (s *session) isVoid() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.mirror.nodes[s.id]
	return n != nil && n.void
}

// shownRevision returns the revision of our node document in the picture, if that
// has come to rev.
func (s *session) shownRevision(rev int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := s.mirror.nodes[s.id]; {
	case s.mirror.rev < rev:
		return rev
	case n == nil:
		return 0
	default:
		return n.rev
	}
}

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
// the store or this machine that is busy, and to begin again and again would keep
// them so: the next ones get more and more time.
func (s *session) checkFeed(now time.Duration) time.Duration {
	r := &s.renewal
	if r.acked <= s.mirror.rev {
		r.refeeds = 0
		return s.timing.period()
	}
	patience := min(s.timing.lag()<<max(r.refeeds-1, 0), s.timing.ttl)
	late := max(r.ackedAt, s.heardAt) + patience - now
	if late > 0 {
		return late
	}
	s.log.Debug("feed lags behind, starting another", "revision", s.mirror.rev, "confirmed", r.acked)
	r.ackedAt = now
	r.refeeds = min(r.refeeds+1, 16)
	if s.refeed != nil {
		s.refeed()
	}
	return patience
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

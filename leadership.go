package distributed

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Leadership is this node's hold on one name, from winning the election until it is
// resigned or lost. After a loss the name stays busy until the leadership is resigned,
// as only the caller knows when the work under it has stopped. All methods are safe for
// concurrent use.
type Leadership struct {
	name     string
	owner    *Concurrency
	lease    *heldLease
	election Election

	ctx    context.Context
	cancel context.CancelCauseFunc

	token int64     // set once, before anybody else sees the Leadership
	since time.Time // likewise

	released  atomic.Pointer[chan struct{}] // closed when the first Resign is done; nil before that is called
	lost      atomic.Pointer[error]         // why, if it was lost
	ready     atomic.Pointer[func()]        // called when Work says that it is ready; nil if that is not to come
	ending    atomic.Pointer[func()]        // called when ctx is done; nil if nobody asked for that, or it was
	sign      atomic.Int64                  // how long after since Alive was called last
	announced atomic.Bool                   // the victory has been reported
	ended     atomic.Bool                   // the end is to be reported
	reported  atomic.Bool                   // the end has been reported
}

type leadershipKey struct{}

// LeadershipFromContext returns the Leadership that ctx belongs to: the context given
// to a Work, that of [Leadership.Context], or a context derived from either. It returns
// false for any other context. It does not block.
func LeadershipFromContext(ctx context.Context) (*Leadership, bool) {
	l, ok := ctx.Value(leadershipKey{}).(*Leadership)
	return l, ok
}

// newLeadership prepares the context of a leadership still to be won. It keeps
// the values of ctx but not its end: ctx bounds the campaign, and a campaign
// with a deadline must not yield a leadership with the same deadline.
func newLeadership(ctx context.Context, c *Concurrency, h *heldLease, name string) *Leadership {
	l := &Leadership{name: name, owner: c, lease: h, election: h.lease.Election(name)}
	l.ctx, l.cancel = context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), leadershipKey{}, l))
	return l
}

// end ends the context, with the first cause that it is called with. Who calls it may
// hold locks.
func (l *Leadership) end(cause error) {
	l.cancel(cause)
	if f := l.ending.Swap(nil); f != nil {
		(*f)()
	}
}

// onEnd has f called, once, when the context is done. It must not block: see end.
func (l *Leadership) onEnd(f func()) {
	l.ending.Store(&f)
	if l.ctx.Err() != nil {
		l.end(nil) // which may have been before
	}
}

// Name returns the name that this node leads.
func (l *Leadership) Name() string { return l.name }

// Context returns a context that is done when the leadership ends, for whatever reason,
// and before anybody else can lead. context.Cause says why: [ErrLeadershipLost],
// [ErrResigned] or [ErrClosed], and inside a Work also the other causes listed at
// [Job].Work. It has the values of the context given to Campaign, but does not end with
// it. Context does not block.
func (l *Leadership) Context() context.Context {
	if err := l.made(); err != nil {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(err)
		return ctx
	}
	return l.ctx
}

// Token returns the fencing token: it is strictly greater than that of every earlier
// leader of the same name. Send it along with every change that the work makes, and let
// the database reject a token smaller than the greatest that it has seen. This is the
// only protection from a process that was frozen and does not know it yet. The token is
// the revision of the write with which this node joined the queue for the name, and
// rises as long as the store keeps its history. It does not block.
func (l *Leadership) Token() int64 { return l.token }

// Valid reports whether this node leads, and nobody else can, right now. It reads the
// clock, so it is right even if the process was frozen until a moment ago and Context
// is not done yet. If this node itself has ended Context, such as at the end of a term,
// Valid stays true until Resign, as nobody else can lead before that. It takes some 50
// ns, does not allocate, and never waits for the store.
func (l *Leadership) Valid() bool {
	return l.made() == nil && l.released.Load() == nil && l.election.Valid() // the election may serve the next leadership by now
}

// Resign ends the leadership. It cancels Context, with cause [ErrResigned], and blocks
// until the store has accepted the resignation, so that the next candidate can lead at
// once, or until ctx is done. It tries for at least a second even if ctx is done
// already, as the end of ctx may be the reason to resign. Call it only after everything
// that runs under the leadership has stopped.
//
// Whatever it returns, the leadership is over, and the node may campaign for the name
// again. An error means that the store has not confirmed yet: the lease keeps trying
// for as long as it lives, and the next leader has to wait for that. Resign returns nil
// for a leadership that was lost. A second Resign waits for the first, or until ctx is
// done, and returns nil.
//
// The leadership of a [Job] is released when its Work has returned, not before. There,
// Resign cancels Context and returns nil at once.
func (l *Leadership) Resign(ctx context.Context) error {
	if err := l.made(); err != nil {
		return err
	}
	if l.owner.managed {
		l.end(ErrResigned)
		return nil
	}
	attempt, cancel := notBefore(ctx, resignAttempt)
	defer cancel()
	err := l.release(attempt, func() {})
	if err != nil && attempt.Err() != nil {
		return fmt.Errorf("distributed: resign %q: %w", l.name, ctx.Err())
	}
	return err
}

// resignAttempt is how long Resign tries in any case.
const resignAttempt = time.Second

// release gives the leadership up, once, and calls released when that is done
// and before it is reported. Another call waits for the first.
func (l *Leadership) release(ctx context.Context, released func()) error {
	done := make(chan struct{})
	if l.released.CompareAndSwap(nil, &done) {
		defer close(done)
		return l.giveUp(ctx, released)
	}
	done = *l.released.Load()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	default:
		return ctx.Err()
	}
}

func (l *Leadership) made() error {
	if l.owner == nil {
		return notMade("Leadership", "Campaign")
	}
	return nil
}

func (l *Leadership) giveUp(ctx context.Context, released func()) error {
	l.end(ErrResigned)
	err := l.election.Resign(ctx)
	l.owner.leave(l)
	released()
	l.reportEnd()
	if l.lost.Load() != nil {
		return nil
	}
	return err
}

// lose is what the provider calls when the leadership is gone, possibly before
// the campaign has returned to us. It calls nothing of the user's: there may be
// ten thousand others to be told after this one.
func (l *Leadership) lose(cause error) {
	l.lost.Store(&cause) // first: nobody shall take this end for a resignation
	l.end(cause)
	l.reportEnd()
}

// expired reports whether the leadership is over, whether or not the provider has
// said so yet: a process that was frozen may get here before it.
func (l *Leadership) expired() bool {
	if l.ctx.Err() == nil && !l.Valid() {
		l.lose(errNotValid)
	}
	return l.lost.Load() != nil
}

var errNotValid = fmt.Errorf("%w: it is not valid any more", ErrLeadershipLost)

// announce reports the victory, and the end if that has come already.
func (l *Leadership) announce(waited time.Duration) {
	gap, handedOver := l.election.Gap()
	switch {
	case !l.owner.talks(): // ten thousand jobs may be won at once
	case handedOver:
		l.owner.log.Info("leadership won", "job", l.name, "token", l.token, "waited", waited, "gap", gap)
	default:
		l.owner.log.Info("leadership won", "job", l.name, "token", l.token, "waited", waited)
	}
	l.owner.hooks.elected(l.name, l.token, waited)
	if handedOver {
		l.owner.hooks.handedOver(l.name, l.token, gap)
	}
	l.announced.Store(true)
	if l.ended.Load() {
		l.reportEnd()
	}
}

// reportEnd reports how the leadership ended, once, and not before announce, which
// does it if somebody was faster: a Resign by name, or a loss.
func (l *Leadership) reportEnd() {
	l.ended.Store(true)
	if !l.announced.Load() || !l.reported.CompareAndSwap(false, true) {
		return
	}
	held := time.Since(l.since)
	if cause := l.lost.Load(); cause != nil {
		l.owner.log.Warn("leadership lost", "job", l.name, "token", l.token, "held", held, "cause", *cause)
		l.owner.hooks.lost(l.name, l.token, held, *cause)
		return
	}
	cause := context.Cause(l.ctx)
	if l.owner.talks() {
		l.owner.log.Info("leadership resigned", "job", l.name, "token", l.token, "held", held, "cause", cause)
	}
	l.owner.hooks.resigned(l.name, l.token, held, cause)
}

// ErrResigned is the cause of a leadership's context after [Leadership.Resign].
var ErrResigned = errors.New("distributed: leadership resigned")

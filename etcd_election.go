package distributed

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// etcdElection is a lease's part in one election. Its fields are guarded by the
// lease's mu; evaluate moves it along when the mirror or the clock does.
type etcdElection struct {
	lease *etcdLease
	job   string
	wake  chan struct{} // capacity 1: something has changed for Campaign

	lost     context.CancelCauseFunc // of the campaign or leadership under way
	standing bool                    // we want a candidacy
	put      *write                  // the write that makes it, while it waits to be sent
	after    int64                   // only a key newer than this is ours; none while a release is under way
	rev      int64                   // create revision of our key once seen, 0 before
	made     int64                   // revision at which our key was written, once that is confirmed, 0 before
	torn     bool                    // the key was taken away from us
	failed   error                   // the candidacy was refused for good
	rank     rank                    // of our key in the queue, as last seen
	vacated  time.Duration           // when the last candidate before it was seen to release, 0 if not
	leading  atomic.Bool

	counted bool // the writer's: our key is among those it has written
}

// releasing reports whether a release has not been confirmed yet.
func (e *etcdElection) releasing() bool { return e.after == math.MaxInt64 }

// Campaign implements [Election]. It blocks on wake alone: the loops of the
// lease do the rest.
func (e *etcdElection) Campaign(ctx context.Context, lost context.CancelCauseFunc) (int64, error) {
	e.lease.update(func() { e.stand(lost) })
	for {
		if token, done, err := e.outcome(ctx); done {
			return token, err
		}
		select {
		case <-e.wake:
		case <-ctx.Done():
		}
	}
}

// outcome looks at how the campaign stands. A cancelled campaign never wins,
// and a key that was taken away is given up properly and put again.
func (e *etcdElection) outcome(ctx context.Context) (token int64, done bool, err error) {
	e.lease.update(func() {
		switch {
		case e.lease.lost != nil:
			err = ErrLeaseLost
		case e.failed != nil:
			err = e.failed
		case ctx.Err() != nil:
			err = ctx.Err()
		case e.leading.Load():
			token, done = e.rev, true
			return
		case e.torn:
			lost := e.lost
			e.withdraw()
			e.stand(lost)
			return
		default:
			return
		}
		done = true
		e.withdraw()
	})
	return token, done, err
}

// Valid implements [Election].
func (e *etcdElection) Valid() bool {
	return e.leading.Load() && int64(e.lease.clock.now()) < e.lease.validUntil.Load()
}

// Resign implements [Election]. It waits no longer than the lease lives.
func (e *etcdElection) Resign(ctx context.Context) error {
	var release *write
	var over bool
	e.lease.update(func() { release, over = e.withdraw(), e.lease.lost != nil })
	if release == nil || over {
		return nil // the candidacy goes with the lease, or in the background before
	}
	select {
	case <-release.done:
		return release.err
	case <-e.lease.ended:
		return ErrLeaseLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stand asks for a candidacy. For update.
func (e *etcdElection) stand(lost context.CancelCauseFunc) {
	select {
	case <-e.wake: // meant for an earlier campaign
	default:
	}
	e.lost, e.rev, e.made, e.torn, e.failed = lost, 0, 0, false, nil
	e.rank, e.vacated = rankUnknown, 0
	if e.lease.lost == nil {
		e.standing = true
		e.put = e.lease.written.enqueue(e, putCandidate)
	}
}

// withdraw gives the candidacy or leadership up and returns the write that tells
// etcd, or nil if there is nothing to tell. For update.
func (e *etcdElection) withdraw() *write {
	if !e.standing {
		return nil
	}
	e.standing = false
	e.leading.Store(false)
	if e.put != nil && e.lease.written.cancel(e.put) {
		e.put = nil
		return nil
	}
	e.put = nil
	e.after = math.MaxInt64 // until the release is confirmed
	return e.lease.written.enqueue(e, deleteCandidate)
}

// evaluate decides where the election stands, from the mirror, as of now. For
// update.
func (e *etcdElection) evaluate(now time.Duration) {
	if !e.standing || e.torn {
		return
	}
	rev, there := e.lease.mirror.standing(e.job, e.after)
	expected := e.rev != 0 || (e.made != 0 && e.made <= e.lease.mirror.rev)
	if expected && (!there || (e.rev != 0 && rev != e.rev)) {
		e.torn = true
		e.dethrone(errKeyDeleted)
		e.notify()
		return
	}
	e.rev = rev
	e.look(now)
	if e.leading.Load() || !e.lease.current(now) {
		return
	}
	if e.lease.mirror.leads(e.job, e.after) {
		e.leading.Store(true)
		e.notify()
	}
}

// rank is who stands before a candidate.
type rank int

const (
	rankUnknown     rank = iota // our key has not been seen, or not since a listing
	rankFirst                   // nobody
	rankBehindLive              // a candidate that is there
	rankBehindGhost             // one that was lost, and may not know yet
)

// look notes when whoever stood before us has released. For update.
func (e *etcdElection) look(now time.Duration) {
	rank := e.lease.mirror.rank(e.job, e.rev)
	if e.rank == rankBehindLive && rank == rankFirst {
		e.vacated = now
	}
	e.rank = rank
}

// Gap implements [Successor].
func (e *etcdElection) Gap() (gap time.Duration, ok bool) {
	e.lease.mu.Lock()
	defer e.lease.mu.Unlock()
	return e.lease.clock.now() - e.vacated, e.vacated != 0
}

// dethrone ends a leadership that we have lost. For update.
func (e *etcdElection) dethrone(cause error) {
	if e.leading.CompareAndSwap(true, false) {
		lost := e.lost
		e.lease.calls = append(e.lease.calls, func() { lost(cause) })
	}
}

func (e *etcdElection) notify() { signal(e.wake) }

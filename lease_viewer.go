package distributed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// viewer looks on at an app without a lease.
type viewer struct {
	store  Store
	keys   keys
	timing timing
	clock  *clock
	log    *slog.Logger
	events LeaseEvents

	loops  sync.WaitGroup
	ctx    context.Context // of the loops
	stop   context.CancelFunc
	first  chan struct{} // closed when there is a picture
	failed chan error    // why the first attempt to get one has failed; capacity 1
	retime chan struct{} // wakes keepTime; capacity 1

	views   views
	mu      sync.Mutex
	mirror  *mirror
	heardAt time.Duration      // when the feed said something last
	endedAt time.Duration      // when one was ended that had said nothing
	silence time.Duration      // how long it may say nothing: longer for each in a row, as a listing may be large
	warned  bool               // of a document in an unknown format, and there is one still
	refeed  context.CancelFunc // ends the feed; another begins
	closed  bool
}

// look begins to look on. It returns when there is a first picture, an attempt has
// failed, or ctx is done; and closes the store if it fails.
func look(ctx context.Context, store Store, k keys, t timing, c *clock, req LeaseRequest) (*viewer, error) {
	v := &viewer{
		store: store, keys: k, timing: t, clock: c, log: req.Logger, events: req.Events,
		silence: feedSilence,
		first:   make(chan struct{}), failed: make(chan error, 1), retime: make(chan struct{}, 1),
		mirror: newMirror(k, "", t, memory{}),
	}
	v.ctx, v.stop = context.WithCancel(context.Background())
	v.loops.Go(v.follow)
	var err error
	select {
	case <-v.first:
		v.loops.Go(v.keepTime)
		return v, nil
	case err = <-v.failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, v.Close())
}

// follow takes in the feed until Close.
func (v *viewer) follow() {
	pace := backoff{limit: v.timing.attempt()}
	for sleep(v.ctx, pace.next()) == nil {
		started := time.Now()
		ctx, cancel := context.WithCancel(v.ctx)
		v.update(func(time.Duration) { v.refeed = cancel })
		err := v.store.Follow(ctx, v.keys.prefix, v.apply)
		cancel()
		if v.ctx.Err() != nil {
			return
		}
		select {
		case v.failed <- err: // look takes the first, if there is no picture yet
		default:
		}
		v.log.Debug("feed ended, starting another", "error", err)
		v.events.renewalFailed(err)
		pace.lasted(time.Since(started))
	}
}

// apply takes in a step.
func (v *viewer) apply(step Step) {
	v.update(func(now time.Duration) {
		v.mirror.step(step, now)
		v.warn()
		v.heardAt, v.silence = now, feedSilence
		select {
		case <-v.first:
		default:
			close(v.first)
		}
	})
	v.events.renewed(0, 0)
	signal(v.retime)
}

// warn says once that there is a document which this build cannot read.
func (v *viewer) warn() {
	err := v.mirror.unknown()
	if err != nil && !v.warned {
		v.log.Warn("a document is in a newer format, nobody is shown to lead", "error", err)
	}
	v.warned = err != nil
}

func (v *viewer) update(f func(now time.Duration)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(v.clock.sync())
	v.views.expire(v.mirror, v.closed)
}

// feedSilence is how long a feed may say nothing: stores tell that they are alive more
// often than that. longestFeedSilence is for one that may be listing; a store that is back
// is noticed that much later at worst.
const (
	feedSilence        = 5 * time.Second
	longestFeedSilence = 4 * feedSilence
)

var errSilent = errors.New("distributed: the store has not been heard of")

// keepTime lets go of doubts, and starts another feed if this one says nothing.
func (v *viewer) keepTime() {
	for v.ctx.Err() == nil {
		var wait time.Duration
		silent := false
		v.update(func(now time.Duration) {
			v.mirror.expire(now)
			wait = max(v.heardAt, v.endedAt) + v.silence - now
			if silent = wait <= 0; silent {
				v.endedAt, v.silence = now, min(2*v.silence, longestFeedSilence)
				wait = v.silence
				v.refeed()
			}
			if at, ok := v.mirror.nextExpiry(); ok {
				wait = min(wait, max(at-now, time.Millisecond))
			}
		})
		if silent {
			v.events.renewalFailed(errSilent)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-v.retime:
		case <-v.ctx.Done():
		}
		timer.Stop()
	}
}

// View implements [Viewer].
func (v *viewer) View() (*View, <-chan struct{}, error) {
	view, outdated := v.views.get(&v.mu, v.mirror)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, nil, ErrClosed
	}
	return view, outdated, nil
}

// Silence implements [Viewer].
func (v *viewer) Silence() map[string]time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mirror.nodesSilence(v.clock.now())
}

// Age implements [Viewer].
func (v *viewer) Age() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.clock.now() - v.heardAt
}

// Close implements [Viewer].
func (v *viewer) Close() error {
	v.mu.Lock()
	again := v.closed
	v.closed = true
	v.views.expire(v.mirror, true)
	v.mu.Unlock()
	if again {
		return nil
	}
	v.stop()
	v.loops.Wait()
	return v.store.Close()
}

package distributed

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 5 * time.Second
)

// backoff paces attempts: the first at once, then with pauses that double up to
// limit, each shortened by up to a half at random so that nodes which failed
// together do not try together.
type backoff struct {
	limit time.Duration // 0 is backoffMax
	pause time.Duration
}

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	if b.pause == 0 {
		b.pause = backoffMin
		return 0
	}
	d := b.pause
	b.pause = min(2*d, b.max())
	return d/2 + rand.N(d/2+1)
}

// lasted starts over if what the last attempt brought about lasted for d and
// that was long enough to call it a success.
func (b *backoff) lasted(d time.Duration) {
	if d > b.max() {
		b.pause = 0
	}
}

func (b *backoff) max() time.Duration {
	if b.limit == 0 {
		return backoffMax
	}
	return b.limit
}

// sleep waits for d, or returns ctx's error when ctx is done earlier.
func sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eitherDone returns a context that is done when either of the two is.
func eitherDone(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() { stop(); cancel(nil) }
}

// notBefore returns a context with the values of ctx that is done when ctx is,
// but not before d has passed.
func notBefore(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	least := time.Now().Add(d)
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(time.Until(least), cancel) })
	return later, func() { stop(); cancel() }
}

package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
)

// Every returns a Work that calls f every d, with the time that the call is for: at the
// multiples of d since the year 1 in UTC, so every hour on the hour, every day at
// midnight, every week on Monday. It returns an error that wraps
// [distributed.ErrInvalidConfig] if d is less than a second, or if f or an option is
// nil.
//
// The Work may be used for several jobs. For each, f is called by one goroutine at a
// time, that of the job's Work. f must not call [distributed.Leadership.Save], as the
// schedule uses it. ctx is that of Work, and is not done when the next time comes. The
// package documentation says what happens after an error.
func Every(d time.Duration, f func(ctx context.Context, at time.Time) error, opts ...Option) (func(ctx context.Context) error, error) {
	if d < time.Second {
		return nil, fmt.Errorf("%w: Every(%v): must be at least 1s", distributed.ErrInvalidConfig, d)
	}
	return newWork(every(d), f, opts)
}

type every time.Duration

func (e every) next(after time.Time) time.Time {
	return after.Truncate(time.Duration(e)).Add(time.Duration(e))
}

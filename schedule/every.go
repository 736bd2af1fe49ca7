package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
)

// Every returns a Work that calls f every d, with the time that it is for: at the
// multiples of d since the year 1 in UTC, so every hour on the hour, every day at
// midnight, every week on Monday. It returns what wraps [distributed.ErrInvalidConfig]
// if d is less than a second, or f or an option is nil.
//
// The Work may be called from many goroutines, for jobs of different names; for each, f
// is called by one at a time, in the goroutine of the job. The job's saved data belongs
// to the schedule: f must not call [distributed.Leadership.Save]. ctx is that of Work,
// and is not done when the next time comes. See the package for what becomes of errors.
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

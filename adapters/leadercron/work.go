// Package leadercron runs a robfig/cron on one node only, the one that leads a job. Take
// it for a cron with many entries that you have already, if a time may be missed while
// nobody leads, or done twice; take the package schedule for times that must be neither.
package leadercron

import (
	"context"

	"github.com/robfig/cron/v3"
)

// Work returns the Work of a job that runs a cron with the entries that add puts into
// it. ctx is that of Work. The entries should end when it is done, as Work returns only
// when none of them runs any more. An error of add is returned by Work.
func Work(add func(ctx context.Context, c *cron.Cron) error, opts ...cron.Option) func(context.Context) error {
	return func(ctx context.Context) error {
		c := cron.New(opts...)
		if err := add(ctx, c); err != nil {
			return err
		}
		c.Start()
		<-ctx.Done()
		<-c.Stop().Done()
		return ctx.Err()
	}
}

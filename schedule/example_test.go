package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/schedule"
)

// A report for each day, at 3 in the morning in Berlin, by one node of those that run.
// If none runs then, the first one that starts makes up for it.
func ExampleCron() {
	nightly, err := schedule.Cron("CRON_TZ=Europe/Berlin 0 3 * * *", func(ctx context.Context, at time.Time) error {
		fmt.Println("the report of", at.AddDate(0, 0, -1).Format(time.DateOnly))
		return ctx.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", distributed.NewMemoryLeaseProvider(nil), nil)
	fmt.Println(processor.AddJob(distributed.Job{Name: "report", Work: nightly}))

	_, err = schedule.Cron("0 25 * * *", func(context.Context, time.Time) error { return nil })
	fmt.Println(errors.Is(err, distributed.ErrInvalidConfig))

	// Output:
	// <nil>
	// true
}

// Each second, whatever was missed included.
func ExampleEvery() {
	var last time.Time
	tick, err := schedule.Every(time.Second, func(_ context.Context, at time.Time) error {
		if !last.IsZero() {
			fmt.Println("later by", at.Sub(last))
			return distributed.ErrDone // enough for an example
		}
		last = at
		return nil
	}, schedule.WithMissed(schedule.All))
	if err != nil {
		log.Fatal(err)
	}

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	done := distributed.WithHooks(distributed.Hooks{Done: func(string, int64) { stop() }})
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", distributed.NewMemoryLeaseProvider(nil), nil, done)
	if err := processor.AddJob(distributed.Job{Name: "tick", Work: tick}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(processor.Execute(ctx))

	// Output:
	// later by 1s
	// <nil>
}

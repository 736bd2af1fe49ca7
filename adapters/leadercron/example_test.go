package leadercron_test

import (
	"context"
	"fmt"

	"github.com/robfig/cron/v3"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/adapters/leadercron"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	work := leadercron.Work(func(_ context.Context, c *cron.Cron) error {
		_, err := c.AddFunc("@every 1s", func() {
			fmt.Println("newsletter sent")
			stop()
		})
		return err
	})
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "shop-1", distributed.NewMemoryLeaseProvider(nil),
		[]distributed.Job{{Name: "newsletters", Work: work}})
	if err := processor.Execute(ctx); err != nil {
		panic(err)
	}
	// Output: newsletter sent
}

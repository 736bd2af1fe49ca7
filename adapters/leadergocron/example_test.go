package leadergocron_test

import (
	"context"
	"fmt"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/adapters/leadergocron"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	elector := new(leadergocron.Elector)
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(elector))
	if err != nil {
		panic(err)
	}
	ran := make(chan struct{}, 100)
	_, err = scheduler.NewJob(gocron.DurationJob(5*time.Millisecond), gocron.NewTask(elector.Task(func(context.Context) error {
		ran <- struct{}{}
		return nil
	})))
	if err != nil {
		panic(err)
	}
	scheduler.Start() // on all nodes
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "shop-1", distributed.NewMemoryLeaseProvider(nil),
		[]distributed.Job{{Name: "scheduler", Work: elector.Work}})
	go func() {
		<-ran
		stop()
	}()
	if err := processor.Execute(ctx); err != nil {
		panic(err)
	}
	fmt.Println("ran while it led; leads:", elector.IsLeader(context.Background()) == nil)
	if err := scheduler.Shutdown(); err != nil {
		panic(err)
	}
	// Output: ran while it led; leads: false
}

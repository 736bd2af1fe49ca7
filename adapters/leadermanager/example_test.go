package leadermanager_test

import (
	"context"
	"fmt"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/adapters/leadermanager"
)

// manager is in place of a manager.Manager of controller-runtime.
type manager struct{ stop context.CancelFunc }

func (m manager) Start(ctx context.Context) error {
	fmt.Println("controllers run")
	m.stop()
	<-ctx.Done()
	return nil
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	work := leadermanager.Work(func(context.Context) (manager, error) {
		return manager{stop}, nil // ctrl.NewManager(config, ctrl.Options{LeaderElection: false}), with its controllers
	})
	processor := distributed.NewLeadershipBasedJobProcessor("operator", "pod-1", distributed.NewMemoryLeaseProvider(nil),
		[]distributed.Job{{Name: "controllers", Work: work}})
	if err := processor.Execute(ctx); err != nil {
		panic(err)
	}
	// Output: controllers run
}

// Package managertest compiles leadermanager against controller-runtime: a module of its
// own, so that nobody else has that among the dependencies.
package managertest

import (
	"context"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/b2552be4/distributed/adapters/leadermanager"
)

func TestAManagerRunsUntilItsContextIsDone(t *testing.T) {
	started := make(chan struct{})
	work := leadermanager.Work(func(context.Context) (manager.Manager, error) {
		m, err := manager.New(&rest.Config{Host: "http://127.0.0.1:1"}, manager.Options{Metrics: metrics.Options{BindAddress: "0"}})
		if err != nil {
			return nil, err
		}
		return m, m.Add(manager.RunnableFunc(func(ctx context.Context) error {
			close(started)
			<-ctx.Done()
			return nil
		}))
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if err := work(ctx); err != nil {
		t.Fatal(err)
	}
}

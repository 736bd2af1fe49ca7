package kubernetes_test

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/rest"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/kubernetes"
)

// A pod that runs a job. The Downward API gives it its name.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	provider := kubernetes.NewLeaseProvider(kubernetes.Config{REST: config, Namespace: "distributed"})
	processor := distributed.NewLeadershipBasedJobProcessor("shop", os.Getenv("POD_NAME"), provider, nil)
	err = processor.AddJob(distributed.Job{Name: "invoices", Work: func(ctx context.Context) error {
		<-ctx.Done() // work until then
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := processor.Execute(ctx); err != nil {
		log.Fatal(err)
	}
}

package nats_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/nats"
)

// A job on a server in this process. With three servers, leave out Replicas.
func Example() {
	url, shutdown := startServer()
	defer shutdown()
	provider := nats.NewLeaseProvider(nats.Config{Servers: []string{url}, Replicas: 1}, distributed.WithLeaseTTL(5*time.Second))

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", provider, nil)
	err := processor.AddJob(distributed.Job{Name: "invoices", Work: func(ctx context.Context) error {
		leadership, _ := distributed.LeadershipFromContext(ctx)
		fmt.Println("leads:", leadership.Valid())
		stop()
		<-ctx.Done()
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ended:", processor.Execute(ctx))

	// Output:
	// leads: true
	// ended: <nil>
}

func startServer() (url string, shutdown func()) {
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, SyncAlways: true, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not start")
	}
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
}

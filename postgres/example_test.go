//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/postgres"
)

// A service that has a database and no etcd: of all its nodes one sends the invoices.
func Example() {
	ctx, quit := context.WithCancel(context.Background())
	provider := postgres.NewLeaseProvider(postgres.Config{URL: os.Getenv("DATABASE_URL")}, distributed.WithLeaseTTL(5*time.Second))
	jobs := []distributed.Job{{Name: "invoices", Work: func(ctx context.Context) error {
		leadership, _ := distributed.LeadershipFromContext(ctx)
		fmt.Println("sends invoices:", leadership.Valid())
		quit() // as when the process is told to stop
		<-ctx.Done()
		return nil
	}}}
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", provider, jobs)
	fmt.Println("stopped in order:", processor.Execute(ctx) == nil)

	// Output:
	// sends invoices: true
	// stopped in order: true
}

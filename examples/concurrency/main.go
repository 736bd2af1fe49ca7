// Concurrency shows leadership without jobs: a program campaigns for a name, does
// something while it leads, and resigns. Look at how long node-2 waits when node-1
// resigns, at what it learns when it loses the lead through no doing of its own,
// and at the tokens, which only rise.
//
//	go run ./examples/concurrency
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/example"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() { example.Main(run) }

func run(ctx context.Context, endpoints []string, out io.Writer) error {
	// Two nodes; in real life each is a process of its own.
	one := distributed.NewConcurrency("examples", "node-1", distributed.NewETCDLeaseProvider(endpoints))
	two := distributed.NewConcurrency("examples", "node-2", distributed.NewETCDLeaseProvider(endpoints))

	err := lead(ctx, endpoints, out, one, two)
	return errors.Join(err, one.Close(), two.Close()) // Close resigns whatever is still led
}

func lead(ctx context.Context, endpoints []string, out io.Writer, one, two *distributed.Concurrency) error {
	first, err := one.Campaign(ctx, "migration") // blocks until node-1 leads
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "node-1 leads, with token %d\n", first.Token())

	// node-2 wants to lead as well, and has to wait for its turn.
	turn := make(chan result, 1)
	go func() {
		l, err := two.Campaign(ctx, "migration")
		turn <- result{l, err, time.Now()}
	}()
	migrate(first.Context())

	// Resign only when the work has stopped: somebody else leads right after it.
	resigned := time.Now()
	if err := first.Resign(ctx); err != nil {
		return err
	}
	second := <-turn
	if second.err != nil {
		return second.err
	}
	fmt.Fprintf(out, "node-1 has resigned: node-2 leads %.1f ms later, with token %d\n",
		float64(second.at.Sub(resigned).Microseconds())/1000, second.Token())

	// Now node-2 loses the lead, through no doing of its own.
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if err := example.Expel(ctx, client, "examples", two); err != nil {
		return err
	}
	migrate(second.Context()) // returns as soon as the context is done, which is before anybody else can lead
	fmt.Fprintf(out, "node-2 has lost the lead: %v; valid: %v\n", context.Cause(second.Context()), second.Valid())

	// Its name is free to be campaigned for again once it has said that its work has stopped.
	if _, err := two.Campaign(ctx, "migration"); errors.Is(err, distributed.ErrBusy) {
		fmt.Fprintln(out, "node-2 may not campaign before it has resigned what it lost")
	}
	if err := second.Resign(ctx); err != nil {
		return err
	}
	third, err := two.Campaign(ctx, "migration") // under a new lease
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "node-2 leads again, with token %d\n", third.Token())
	return third.Resign(ctx)
}

// result is what came of a campaign.
type result struct {
	*distributed.Leadership
	err error
	at  time.Time
}

// migrate is the work: whatever must not happen in two places at once.
func migrate(ctx context.Context) {
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
}

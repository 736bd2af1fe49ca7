package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/b2552be4/distributed"
)

// Two jobs, each of which runs on one of the nodes that execute this program.
func Example() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a real program
	defer stop()
	invoicing := make(chan struct{})
	invoices := func(ctx context.Context) error {
		fmt.Println("sending invoices")
		close(invoicing)
		<-ctx.Done() // this node does not lead the job any more, or shuts down
		fmt.Println("stopped sending invoices")
		return nil
	}
	newsletter := func(context.Context) error {
		<-invoicing
		fmt.Println("sending the newsletter")
		stop()
		return nil
	}

	provider := distributed.NewMemoryLeaseProvider(nil) // NewETCDLeaseProvider in a real program
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", provider, nil)
	if err := errors.Join(
		processor.AddJob(distributed.Job{Name: "invoices", Work: invoices}),
		processor.AddJob(distributed.Job{Name: "newsletter", Work: newsletter}),
	); err != nil {
		log.Fatal(err)
	}
	if err := processor.Execute(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// sending invoices
	// sending the newsletter
	// stopped sending invoices
}

// A program that decides itself when to lead: campaign, work, resign, close.
func ExampleConcurrency() {
	ctx := context.Background()
	hub := new(distributed.MemoryHub)
	one := distributed.NewConcurrency("shop", "node-1", distributed.NewMemoryLeaseProvider(hub))
	two := distributed.NewConcurrency("shop", "node-2", distributed.NewMemoryLeaseProvider(hub))
	defer one.Close()
	defer two.Close()

	leadership, err := one.Campaign(ctx, "migration") // blocks until node-1 leads
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("node-1 leads:", leadership.Valid())

	var next sync.WaitGroup
	next.Go(func() {
		leadership, err := two.Campaign(ctx, "migration") // waits for its turn
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("node-2 leads:", leadership.Valid())
	})

	// Do something here, until it is done or leadership.Context() is.
	if err := leadership.Resign(ctx); err != nil {
		log.Println(err)
	}
	fmt.Println(context.Cause(leadership.Context()))
	next.Wait()

	// Unordered output:
	// node-1 leads: true
	// distributed: leadership resigned
	// node-2 leads: true
}

// register is a resource that is guarded by fencing tokens.
type register struct {
	mu    sync.Mutex
	token int64 // the greatest seen
	value string
}

func (r *register) write(token int64, value string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token < r.token {
		return fmt.Errorf("the writer of %q is not the leader any more", value)
	}
	r.token, r.value = token, value
	return nil
}

// A node that was frozen, and does not know yet that it leads no more, can still
// write. The fencing token lets the written tell.
func ExampleLeadershipFromContext() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	hub := new(distributed.MemoryHub)
	var stored register
	terms, frozen := 0, int64(0)
	counter := func(ctx context.Context) error {
		leadership, _ := distributed.LeadershipFromContext(ctx)
		terms++
		if err := stored.write(leadership.Token(), fmt.Sprint("term ", terms)); err != nil {
			return err
		}
		if terms == 1 {
			frozen = leadership.Token()
			hub.Expire("node-1") // the store takes the lease away
			<-ctx.Done()
			fmt.Println(context.Cause(ctx))
			return nil
		}
		fmt.Println(stored.write(frozen, "late news from term 1"))
		fmt.Println("stored:", stored.value)
		stop()
		return nil
	}
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", distributed.NewMemoryLeaseProvider(hub),
		[]distributed.Job{{Name: "counter", Work: counter}})
	if err := processor.Execute(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// distributed: leadership lost: a document of the node was changed or deleted by somebody else
	// the writer of "late news from term 1" is not the leader any more
	// stored: term 2
}

// How to test jobs of your own: on the memory provider, in virtual time.
func TestInvoicesMoveWhenTheLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var nodes sync.WaitGroup
		var hub distributed.MemoryHub // the store of both nodes
		for _, node := range []string{"node-1", "node-2"} {
			jobs := []distributed.Job{{Name: "invoices", Work: untilDone}}
			p := distributed.NewLeadershipBasedJobProcessor("shop", node, distributed.NewMemoryLeaseProvider(&hub), jobs)
			nodes.Go(func() { _ = p.Execute(ctx) })
			synctest.Wait()
		}
		hub.Expire("node-1")
		synctest.Wait()
		if leader, _ := hub.Leader("shop", "invoices"); leader != "node-2" {
			t.Errorf("led by %q", leader)
		}
		stop()
		nodes.Wait()
	})
}

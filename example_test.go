package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// A job that always fails pauses, and does no harm to the others.
func Example_poisonJob() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	running := make(chan struct{})
	healthy := func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		fmt.Println("healthy ran until the end")
		return nil
	}
	poison := func(context.Context) error {
		<-running
		return errors.New("no such table")
	}
	hooks := distributed.Hooks{Failed: func(r distributed.JobRecord, err error) {
		fmt.Printf("%s failed, time %d in a row: %v\n", r.Job, r.Failures, err)
		fmt.Println("pauses for a second at most:", r.Pause <= time.Second)
		stop()
	}}
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", distributed.NewMemoryLeaseProvider(nil),
		[]distributed.Job{{Name: "healthy", Work: healthy}, {Name: "poison", Work: poison}},
		distributed.WithHooks(hooks), distributed.WithLogger(slog.New(slog.DiscardHandler)))
	if err := processor.Execute(ctx); err != nil {
		log.Fatal(err)
	}

	// Unordered output:
	// poison failed, time 1 in a row: no such table
	// pauses for a second at most: true
	// healthy ran until the end
}

// A migration runs once, on one of the nodes, and never again.
func Example_migration() {
	var hub distributed.MemoryHub // the store, which outlives the nodes
	for _, node := range []string{"node-1", "node-2"} {
		ctx, stop := context.WithCancel(context.Background())
		migrate := func(context.Context) error {
			fmt.Println("migrating on", node)
			return distributed.ErrDone
		}
		serve := func(context.Context) error {
			fmt.Println("serving on", node)
			stop()
			return nil
		}
		processor := distributed.NewLeadershipBasedJobProcessor("shop", node, distributed.NewMemoryLeaseProvider(&hub),
			[]distributed.Job{{Name: "migrate", Work: migrate}})
		executed := make(chan error)
		go func() { executed <- processor.Execute(ctx) }()
		for !isDone(processor) {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("migrated, says", node)
		if err := processor.AddJob(distributed.Job{Name: "serve", Work: serve}); err != nil {
			log.Fatal(err)
		}
		if err := <-executed; err != nil {
			log.Fatal(err)
		}
	}

	// Output:
	// migrating on node-1
	// migrated, says node-1
	// serving on node-1
	// migrated, says node-2
	// serving on node-2
}

func isDone(processor *distributed.LeadershipBasedJobProcessor) bool {
	jobs := processor.Status().Jobs
	return len(jobs) > 0 && jobs[0].State == distributed.JobDone
}

// A shard of a counter goes on where the last node has left off. Prepare reads what is
// big and changes seldom before the shard moves; Saved has the rest.
func Example_warmShard() {
	var hub distributed.MemoryHub
	for _, node := range []string{"node-1", "node-2"} {
		ctx, stop := context.WithCancel(context.Background())
		var catalogue map[string]int // of this node
		load := func(context.Context) error {
			catalogue = map[string]int{"apple": 30}
			return nil
		}
		shard := distributed.Job{
			Name:      "shard-1",
			SaysReady: true,
			Prepare:   load, // while another node still runs the shard
			Work: func(ctx context.Context) error {
				if catalogue == nil {
					_ = load(ctx) // there was no time to prepare
				}
				leadership, _ := distributed.LeadershipFromContext(ctx)
				saved, err := leadership.Saved(ctx)
				if err != nil {
					return err
				}
				sold, _ := strconv.Atoi(string(saved))
				leadership.Ready()
				sold += catalogue["apple"]
				fmt.Println(node, "has sold", sold)
				stop()
				<-ctx.Done()
				return leadership.Save(ctx, strconv.AppendInt(nil, int64(sold), 10)) // may take a second
			},
		}
		processor := distributed.NewLeadershipBasedJobProcessor("shop", node, distributed.NewMemoryLeaseProvider(&hub),
			[]distributed.Job{shard}, distributed.WithLoadBalancing())
		if err := processor.Execute(ctx); err != nil {
			log.Fatal(err)
		}
	}

	// Output:
	// node-1 has sold 30
	// node-2 has sold 60
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

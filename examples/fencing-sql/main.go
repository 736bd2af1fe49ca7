// Fencing-sql guards a table of an SQL database by the fencing token. A node
// checks that it leads, finds that it does, and freezes before it writes; when it
// wakes, another node leads and has written. No check before the write can prevent
// what follows: only the database can, in the transaction that writes. Look at
// ledger.go for how, and at what becomes of the late write.
//
// It is a module of its own, for the sake of SQLite, and needs no server:
//
//	go run -C examples/fencing-sql .
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/example"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() { example.Main(run) }

func run(ctx context.Context, endpoints []string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "fencing-sql-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bills, err := openLedger(ctx, filepath.Join(dir, "bills.db"))
	if err != nil {
		return err
	}
	one, two := newNode("node-1", endpoints), newNode("node-2", endpoints)
	err = play(ctx, endpoints, bills, out, one, two)
	return errors.Join(err, one.Close(), two.Close(), bills.close())
}

func newNode(name string, endpoints []string) *distributed.Concurrency {
	// What a crash costs. A service would rather leave it at 10 s.
	ttl := distributed.WithLeaseTTL(2 * time.Second)
	return distributed.NewConcurrency("examples", name, distributed.NewETCDLeaseProvider(endpoints, ttl))
}

func play(ctx context.Context, endpoints []string, bills *ledger, out io.Writer, one, two *distributed.Concurrency) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	first, err := one.Campaign(ctx, "billing")
	if err != nil {
		return err
	}
	number, err := bills.issue(ctx, first.Token(), "node-1")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "node-1 leads, with token %d, and has issued bill %d\n", first.Token(), number)

	// node-1 is about to issue another. It checks that it leads, and it does.
	fmt.Fprintf(out, "node-1 leads (%v) and is about to issue a bill, when it freezes\n", first.Valid())
	if err := example.Expel(ctx, client, "examples", one); err != nil {
		return err
	}
	second, err := two.Campaign(ctx, "billing") // leads when node-1 must have stopped, if it is not frozen
	if err != nil {
		return err
	}
	if number, err = bills.issue(ctx, second.Token(), "node-2"); err != nil {
		return err
	}
	fmt.Fprintf(out, "node-2 leads, with token %d, and has issued bill %d\n", second.Token(), number)

	// node-1 wakes: the transaction that it was about to begin goes out.
	_, late := bills.issue(ctx, first.Token(), "node-1")
	fmt.Fprintf(out, "node-1 wakes and issues a bill: %v\n", late)
	if late == nil {
		return errors.New("the late transaction was accepted")
	}
	issued, err := bills.count(ctx)
	fmt.Fprintf(out, "%d bills have been issued\n", issued)
	return err
}

// Fencing-etcd guards keys in etcd by the fencing token. A node checks that it
// leads, finds that it does, and freezes before it writes; when it wakes, another
// node leads and has written. No check before the write can prevent what follows:
// only the store can, as it executes the write. Look at store.go for how, and at
// what becomes of the late write.
//
//	go run ./examples/fencing-etcd
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
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	one, two := newNode("node-1", endpoints), newNode("node-2", endpoints)
	err = play(ctx, client, out, one, two)
	return errors.Join(err, one.Close(), two.Close(), client.Close())
}

func newNode(name string, endpoints []string) *distributed.Concurrency {
	// What a crash costs. A service would rather leave it at 10 s.
	ttl := distributed.WithLeaseTTL(2 * time.Second)
	return distributed.NewConcurrency("examples", name, distributed.NewETCDLeaseProvider(endpoints, ttl))
}

func play(ctx context.Context, client *clientv3.Client, out io.Writer, one, two *distributed.Concurrency) error {
	accounts := newStore(client, "examples-data/accounts/")

	first, err := one.Campaign(ctx, "accounts")
	if err != nil {
		return err
	}
	if err := deposit(ctx, accounts, first, 100); err != nil {
		return err
	}
	fmt.Fprintf(out, "node-1 leads, with token %d, and has deposited 100\n", first.Token())

	// node-1 is about to write 150. It checks that it leads, and it does.
	fmt.Fprintf(out, "node-1 leads (%v) and is about to write 150, when it freezes\n", first.Valid())
	if err := example.Expel(ctx, client, "examples", one); err != nil {
		return err
	}
	second, err := two.Campaign(ctx, "accounts") // leads when node-1 must have stopped, if it is not frozen
	if err != nil {
		return err
	}
	if err := deposit(ctx, accounts, second, 20); err != nil {
		return err
	}
	fmt.Fprintf(out, "node-2 leads, with token %d, and has deposited 20\n", second.Token())

	// node-1 wakes: the write that it had in hand goes out.
	late := accounts.write(ctx, first.Token(), "alice", 150)
	fmt.Fprintf(out, "node-1 wakes and writes 150: %v\n", late)
	if late == nil {
		return errors.New("the late write was accepted")
	}
	balance, err := accounts.read(ctx, "alice")
	fmt.Fprintf(out, "the account holds %d\n", balance)
	return err
}

// deposit is what a leader does at the beginning of its term: it claims the store,
// and only then reads and writes.
func deposit(ctx context.Context, accounts *store, l *distributed.Leadership, amount int) error {
	if err := accounts.claim(ctx, l.Token()); err != nil {
		return err
	}
	balance, err := accounts.read(ctx, "alice")
	if err != nil {
		return err
	}
	return accounts.write(ctx, l.Token(), "alice", balance+amount)
}

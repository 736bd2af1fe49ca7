// Testing is a job that is tested in virtual time, with the memory provider: a day
// with restarts, lost leases and a store that is away takes milliseconds. Look at
// mailer_test.go; mailer.go is the job, and this file only runs it.
//
//	go test -v ./examples/testing
//	go run ./examples/testing
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/example"
)

func main() { example.Main(run) }

// run lets two nodes send three mails.
func run(ctx context.Context, endpoints []string, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	outbox := &memoryOutbox{}
	for _, mail := range []string{"welcome", "your order", "your invoice"} {
		outbox.add(mail)
	}
	var nodes sync.WaitGroup
	var errs [2]error
	for i, node := range []string{"node-1", "node-2"} {
		m := &mailer{outbox: outbox, interval: 100 * time.Millisecond, send: func(_ context.Context, mail string) error {
			fmt.Fprintf(out, "%s sends %q\n", node, mail)
			return nil
		}}
		m.idle = stop // all has been sent
		p := distributed.NewLeadershipBasedJobProcessor("examples", node, distributed.NewETCDLeaseProvider(endpoints),
			[]distributed.Job{{Name: "mailer", Work: m.work}})
		nodes.Go(func() { errs[i] = p.Execute(ctx) })
	}
	nodes.Wait()
	fmt.Fprintln(out, "all is sent; now see how it is tested: go test -v ./examples/testing")
	return errors.Join(errs[:]...)
}

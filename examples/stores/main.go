// Stores is the quickstart on the store that you have: it runs jobs on three nodes,
// restarts each node, and proves from what they recorded that no job ever ran twice at
// once. Say where the store is:
//
//	go run . -store postgres://user@host/database
//	go run . -store nats://host:4222
//	go run . -store kubernetes://namespace
//	go run . -store etcd://host:2379
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/verify"
)

const (
	nodes = 3
	jobs  = 29
)

func main() {
	store := flag.String("store", "", "where the store is: etcd://HOST:PORT, postgres://…, nats://HOST:PORT or kubernetes://NAMESPACE")
	run := flag.Duration("for", 15*time.Second, "run for this `time`; the restarts are spread over it")
	flag.Parse()
	provide, err := parse(*store)
	if err != nil {
		fmt.Fprintln(os.Stderr, "-store:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	ok, err := show(ctx, provide, *run, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// show restarts each node, one after the other, and judges what they have recorded.
func show(ctx context.Context, provide func() distributed.LeaseProvider, run time.Duration, out io.Writer) (ok bool, err error) {
	records, err := play.OpenRecords("")
	if err != nil {
		return false, err
	}
	defer records.Close()
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	var names []string
	var fleet []*node
	running := new(atomic.Int32)
	for i := range nodes {
		n := &node{name: fmt.Sprintf("node-%d", i+1), provide: provide, running: running, failed: failed}
		n.file = records.File(n.name)
		n.start()
		defer n.stop()
		names, fleet = append(names, n.name), append(fleet, n)
	}
	fmt.Fprintf(out, "%d jobs on %d nodes\n", jobs, nodes)
	steady := func() bool { return play.Sleep(ctx, run/(nodes+1)) && awaitAll(ctx, running) }
	all := steady()
	for i := 0; all && i < nodes; i++ {
		fmt.Fprintln(out, fleet[i].name, "is restarted")
		fleet[i].stop()
		fleet[i].start()
		all = steady()
	}
	for _, n := range fleet {
		n.stop()
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return false, cause
	}
	report, err := records.Check(verify.Rules{}, names...)
	if err != nil {
		return false, err
	}
	var wrong []string
	for _, v := range report.Violations {
		wrong = append(wrong, v.String())
	}
	if report.Jobs < jobs {
		wrong = append(wrong, play.Count(jobs-report.Jobs, "job")+" never ran")
	}
	return play.PrintVerdict(out, report, wrong), nil
}

// awaitAll waits until all jobs run, for a minute at most, and returns whether they do: a
// node that starts first waits a moment for the others.
func awaitAll(ctx context.Context, running *atomic.Int32) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for running.Load() < jobs {
		if !play.Sleep(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

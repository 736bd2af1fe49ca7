// Quickstart runs jobs on three nodes, restarts each node, and proves from what
// the jobs recorded that no job ever ran twice at once. Run it with -h for more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/b2552be4/distributed/examples/internal/play"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(quickstart(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// quickstart is main without the process around it; it returns the exit code.
func quickstart(ctx context.Context, args []string, out, errOut io.Writer) int {
	cfg, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help(out)
		return 0
	case err != nil:
		fmt.Fprintf(errOut, "quickstart: %v\nThe flag -h explains the flags.\n", err)
		return 2
	}
	store, err := openStore(ctx, cfg.etcd)
	if err != nil {
		fmt.Fprintf(errOut, "quickstart: %v\n", err)
		return 1
	}
	defer store.Close()

	records, err := play.OpenRecords(cfg.records)
	if err != nil {
		fmt.Fprintf(errOut, "quickstart: -records: %v\n", err)
		return 2
	}
	defer records.Close()

	return newScene(cfg, store, records, out, errOut).judge(ctx, out)
}

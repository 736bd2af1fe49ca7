// Command distributed shows what an app does whose nodes share a store, and gives
// orders to it: which nodes there are, who runs what and why, and what is to move.
//
//	distributed --store etcd://etcd-1:2379,etcd-2:2379 --app shop jobs
//	distributed --store postgres://db/shop --app shop jobs    # or nats://nats-1:4222, or kubernetes://NAMESPACE
//	distributed watch                 # with DISTRIBUTED_STORE and DISTRIBUTED_APP set
//	distributed verify node-*.jsonl   # what services recorded with the package verify
//
// To install it, run go get -tool github.com/b2552be4/distributed/cmd/distributed in the
// module of a service, then go tool distributed; or go install . here, in a clone. go
// install with @latest refuses a module that has replace directives.
//
// distributed help explains the rest. Verbs that look change no documents; they need
// the permission to read, and the others that to write below orders/. The schema of
// PostgreSQL and the stream of NATS are made if they are not there, as by a node.
// Output is a table, or JSON with -o json. It exits with 0 if all is well, with 1 if
// the answer is no (there is no such job, or a run was not exclusive), and with 2 if
// it was called wrongly or the store cannot be reached.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const (
	exitNo     = 1
	exitFailed = 2
)

// no is an answer, and no failure.
type no struct{ error }

func (n no) Unwrap() error { return n.error }

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot(&conn{in: in, errs: errs})
	root.SetArgs(doubleDashes(root, args))
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return exitNo
	}
	fmt.Fprintln(errs, "distributed:", strings.TrimPrefix(err.Error(), "distributed: "))
	if errors.As(err, new(no)) {
		return exitNo
	}
	return exitFailed
}

// errSilent is a no that has been said.
var errSilent = errors.New("no")

func newRoot(c *conn) *cobra.Command {
	root := &cobra.Command{
		Use:           "distributed",
		Short:         "Show who runs what in an app, and give orders to it",
		Long:          "Shows who runs what in an app, and gives orders to it.\n\n" + storesHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.flags(root.PersistentFlags())
	for _, name := range []string{"store", "app"} {
		_ = root.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions) // both exist
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "order", Title: "Order:"}, &cobra.Group{ID: "other", Title: "Other:"})
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	root.AddCommand(nodesCommand(c), jobsCommand(c), watchCommand(c), explainCommand(c), planCommand(c), ordersCommand(c), verifyCommand())
	for _, v := range verbs {
		root.AddCommand(v.command(c))
	}
	return root
}

// doubleDashes lets -store mean --store, as Go's own flags are written.
func doubleDashes(root *cobra.Command, args []string) []string {
	long := map[string]bool{}
	note := func(f *pflag.Flag) { long[f.Name] = true }
	root.PersistentFlags().VisitAll(note)
	for _, c := range root.Commands() {
		c.Flags().VisitAll(note)
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && len(name) > 1 && long[name] {
			args[i] = "-" + arg
		}
	}
	return args
}

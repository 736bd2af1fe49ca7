//go:build unix

package demo

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
	"github.com/b2552be4/distributed/internal/process"
)

// Demo is a play, and what it is played with.
type Demo struct {
	Name  string // of the program
	Title string
	Help  string // what -h says first
	Apps  []App
	Flags func(*flag.FlagSet) // further flags; nil for none

	// Play runs until it has played enough or ctx is done.
	Play func(ctx context.Context, s *Stage)

	config config
}

// Main makes the program a node if its parent wants that, or else plays the demo
// and exits.
func Main(d *Demo) {
	RunRole()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(d.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// RunRole makes this process a node if its parent wants that, and does not return
// then. A TestMain calls it first thing.
func RunRole() {
	process.RunRole(map[string]process.Role{nodeRole: process.RoleOf(runNode)})
}

// Run plays the demo until ctx is done, and returns the exit code.
func (d *Demo) Run(ctx context.Context, args []string, out, errOut io.Writer) int {
	err := d.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		d.help(out)
		return 0
	case err != nil:
		fmt.Fprintf(errOut, "%s: %v\nThe flag -h explains the flags.\n", d.Name, err)
		return 2
	}
	store, err := play.OpenStore(ctx, d.Name, d.config.etcd)
	if err != nil {
		fmt.Fprintf(errOut, "%s: %v\n", d.Name, err)
		return 1
	}
	defer store.Close()

	records, err := play.OpenRecords(d.config.records)
	if err != nil {
		fmt.Fprintf(errOut, "%s: -records: %v\n", d.Name, err)
		return 2
	}
	defer records.Close()

	s, err := d.open(ctx, store, records, out)
	if err != nil {
		fmt.Fprintf(errOut, "%s: %v\n", d.Name, err)
		return 1
	}
	return s.play(ctx, out)
}

// play plays, prints the verdict, and returns the exit code.
func (s *Stage) play(ctx context.Context, out io.Writer) int {
	defer s.close()
	playing := ctx
	if s.demo.config.run > 0 {
		var cancel context.CancelFunc
		playing, cancel = context.WithTimeout(ctx, s.demo.config.run)
		defer cancel()
	}
	s.demo.Play(playing, s)
	s.freezeTallies()
	if ctx.Err() != nil {
		s.Say("Interrupted: all nodes stop.")
	} else {
		s.Say("All nodes stop.")
	}
	s.fleet.stop()
	s.Say("All nodes have stopped.")
	fmt.Fprintln(out)
	ok := s.judge(ctx.Err() != nil, out)
	fmt.Fprintf(out, "\n%s\n", s.records.Hint())
	if !ok {
		return 1
	}
	return 0
}

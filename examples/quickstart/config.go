package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/b2552be4/distributed/examples/internal/play"
)

const (
	maxNodes = 9 // a node is shown as a digit
	maxJobs  = 1000
)

// config is what the flags say.
type config struct {
	etcd    []string // empty: run one here
	run     time.Duration
	jobs    int
	nodes   int
	records string // empty: do not keep them
}

// parse reads the flags. It returns flag.ErrHelp for -h.
func parse(args []string) (config, error) {
	c, fs := newFlags()
	if err := fs.Parse(args); err != nil {
		return *c, err
	}
	if fs.NArg() > 0 {
		return *c, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return *c, c.validate()
}

// newFlags returns the defaults, and the flags that change them.
func newFlags() (*config, *flag.FlagSet) {
	c := &config{run: 15 * time.Second, jobs: 29, nodes: 3}
	fs := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main prints the error, and the help where it is asked for
	fs.Func("etcd", "use the etcd cluster at these `URL,URL` (default: run one inside this process)", func(urls string) (err error) {
		c.etcd, err = play.ParseEndpoints(urls)
		return err
	})
	fs.DurationVar(&c.run, "for", c.run, "run for this `time`; the restarts are spread over it")
	fs.IntVar(&c.jobs, "jobs", c.jobs, fmt.Sprintf("`number` of jobs, 1 to %d", maxJobs))
	fs.IntVar(&c.nodes, "nodes", c.nodes, fmt.Sprintf("`number` of nodes, 1 to %d", maxNodes))
	fs.StringVar(&c.records, "records", "", "keep what the nodes record in this new `directory` (default: remove it)")
	return c, fs
}

func (c *config) validate() error {
	if c.jobs < 1 || c.jobs > maxJobs {
		return fmt.Errorf("-jobs %d: must be from 1 to %d", c.jobs, maxJobs)
	}
	if c.nodes < 1 || c.nodes > maxNodes {
		return fmt.Errorf("-nodes %d: must be from 1 to %d", c.nodes, maxNodes)
	}
	if least := time.Duration(c.nodes+1) * time.Second; c.run < least {
		return fmt.Errorf("-for %v: must be at least %v, a second before, between and after the restarts of %d nodes", c.run, least, c.nodes)
	}
	return nil
}

// help prints what -h shows.
func help(w io.Writer) {
	fmt.Fprint(w, `Usage: go run ./examples/quickstart [flags]

Runs jobs on several nodes (all in this process, each with a connection to etcd
of its own), every job on one node at a time. It shows which node runs what,
restarts each node once, and then checks, from what the nodes recorded, that no
job ever ran twice at once, and that the counters which the jobs keep in etcd
neither lost nor repeated a step. It exits with 0 if so, with 1 if not, and with
2 if it was called wrongly. Ctrl-C ends it early; it then judges what there was.

Flags:
`)
	_, fs := newFlags()
	fs.SetOutput(w)
	fs.PrintDefaults()
}

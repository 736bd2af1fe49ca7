package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

const (
	maxNodes = 9 // a node is shown as a digit
	maxJobs  = 1000
)

// config is what the flags say.
type config struct {
	etcd  []string // empty: run one here
	run   time.Duration
	jobs  int
	nodes int
}

// parse reads the flags. It returns flag.ErrHelp for -h.
func parse(args []string) (config, error) {
	c := config{run: 15 * time.Second, jobs: 29, nodes: 3}
	var etcd string
	fs := c.flags(&etcd)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if isSet(fs, "etcd") {
		c.etcd = strings.Split(etcd, ",")
	}
	return c, c.validate()
}

func (c *config) flags(etcd *string) *flag.FlagSet {
	fs := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main prints the error, and the help where it is asked for
	fs.StringVar(etcd, "etcd", "", "use the etcd cluster at these `URL,URL` (default: run one inside this process)")
	fs.DurationVar(&c.run, "for", c.run, "run for this `time`; the restarts are spread over it")
	fs.IntVar(&c.jobs, "jobs", c.jobs, fmt.Sprintf("`number` of jobs, 1 to %d", maxJobs))
	fs.IntVar(&c.nodes, "nodes", c.nodes, fmt.Sprintf("`number` of nodes, 1 to %d", maxNodes))
	return fs
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
	for _, endpoint := range c.etcd {
		if err := validateEndpoint(endpoint); err != nil {
			return fmt.Errorf("-etcd %q: %w", endpoint, err)
		}
	}
	return nil
}

func validateEndpoint(endpoint string) error {
	scheme, rest, ok := strings.Cut(endpoint, "://")
	if !ok {
		scheme, rest = "http", endpoint
	}
	if scheme != "http" && scheme != "https" {
		return errors.New("must be a URL such as http://127.0.0.1:2379")
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || strings.Trim(u.Path, "/") != "" {
		return errors.New("must be a URL such as http://127.0.0.1:2379")
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
		return errors.New("must have a host and a port, such as http://127.0.0.1:2379")
	}
	return nil
}

func isSet(fs *flag.FlagSet, name string) (set bool) {
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// help prints what -h shows.
func help(w io.Writer) {
	fmt.Fprint(w, `Usage: go run ./examples/quickstart [flags]

Runs jobs on several nodes (all in this process, each with a connection to etcd
of its own), every job on one node at a time. It shows which node runs what,
restarts each node once, and then checks, from what the jobs recorded, that none
ever ran twice at once and that the counters which they keep in etcd neither lost
nor repeated a step. It exits with 0 if so, with 1 if not, and with 2 if it was
called wrongly. Ctrl-C ends it early; it then judges what there was.

Flags:
`)
	c := config{run: 15 * time.Second, jobs: 29, nodes: 3}
	var etcd string
	fs := c.flags(&etcd)
	fs.SetOutput(w)
	fs.PrintDefaults()
}

//go:build unix

package demo

import (
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/b2552be4/distributed/examples/internal/play"
)

// handyAddress is where the page is, unless that is taken or another is wanted.
const handyAddress = "127.0.0.1:8080"

// config is what the flags say.
type config struct {
	listen  string   // empty: handyAddress, or else any free one
	etcd    []string // empty: run one here
	run     time.Duration
	pause   time.Duration // between two acts, so that one can be told from the next
	records string        // empty: do not keep them
}

// parse reads the flags. It returns flag.ErrHelp for -h.
func (d *Demo) parse(args []string) error {
	fs := d.flags()
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if d.config.run < 0 {
		return fmt.Errorf("-for %v: must not be negative", d.config.run)
	}
	if d.config.pause < 0 {
		return fmt.Errorf("-pause %v: must not be negative", d.config.pause)
	}
	return nil
}

func (d *Demo) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(d.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // Run prints the error, and the help where it is asked for
	fs.StringVar(&d.config.listen, "listen", "", "serve the page at this `address` (default: "+handyAddress+", or a free port if that is taken)")
	fs.Func("etcd", "use the etcd cluster at these `URL,URL` (default: run one inside this process)", func(urls string) (err error) {
		if strings.Contains(urls, "https://") {
			return fmt.Errorf("nodes reach etcd through a proxy here, which knows no https")
		}
		d.config.etcd, err = play.ParseEndpoints(urls)
		return err
	})
	fs.DurationVar(&d.config.run, "for", 0, "end after this `time` (default: at Ctrl-C)")
	fs.DurationVar(&d.config.pause, "pause", 2*time.Second, "wait for this `time` between two acts")
	fs.StringVar(&d.config.records, "records", "", "keep what the nodes record and log in this new `directory` (default: remove it)")
	if d.Flags != nil {
		d.Flags(fs)
	}
	return fs
}

// help prints what -h shows.
func (d *Demo) help(w io.Writer) {
	fmt.Fprintf(w, "Usage: go run ./examples/%s [flags]\n\n%s\nFlags:\n", d.Name, d.Help)
	fs := d.flags()
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// open listens where the flags say.
func (c *config) open() (net.Listener, error) {
	if c.listen != "" {
		return net.Listen("tcp", c.listen)
	}
	if l, err := net.Listen("tcp", handyAddress); err == nil {
		return l, nil
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

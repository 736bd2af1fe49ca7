// Kubernetes is a service as an orchestrator runs it: it says when it is ready,
// and when it is told to stop it finishes what it has in hand, hands its jobs over,
// and goes on answering requests until that is done. deployment.yaml runs it on
// Kubernetes and jobs.service under systemd; look at how their times follow from
// the ones below. Stop it with Ctrl-C, or kill -TERM.
//
//	go run ./examples/kubernetes
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/example"
	"github.com/b2552be4/distributed/statuspage"
)

// From SIGTERM until the process has ended it takes these three, one after the
// other, at most.
const (
	workTime    = 14 * time.Second // until every Work has returned
	releaseTime = 6 * time.Second  // until etcd has been told, if it does not answer
	serveTime   = 5 * time.Second  // until the last request has been answered
)

type config struct{ etcd, listen, node string }

func main() {
	var c config
	hostname, _ := os.Hostname()
	flag.StringVar(&c.etcd, "etcd", os.Getenv("ETCD_ENDPOINTS"), "use the etcd cluster at these `URL,URL` (default: run one inside this process)")
	flag.StringVar(&c.listen, "listen", "127.0.0.1:8080", "serve the status page at this `address`")
	flag.StringVar(&c.node, "node", cmp.Or(os.Getenv("POD_NAME"), hostname), "`name` of this node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) // the orchestrator starts another
	}
}

func run(ctx context.Context, c config, out io.Writer) (err error) {
	endpoints, closeETCD, err := example.OpenETCD(ctx, c.etcd)
	if err != nil {
		return err
	}
	defer closeETCD()

	provider := distributed.NewETCDLeaseProvider(endpoints)
	processor := distributed.NewLeadershipBasedJobProcessor("examples-kubernetes", c.node, provider,
		[]distributed.Job{{Name: "invoices", Work: work(out)}, {Name: "reports", Work: work(out)}},
		distributed.WithLoadBalancing())
	observer, err := distributed.Observe(ctx, "examples-kubernetes", provider)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, observer.Close()) }()

	page := statuspage.New(observer, statuspage.WithProcessor(processor))
	mux := http.NewServeMux()
	mux.Handle("/status/", page)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: serveTime}
	server.RegisterOnShutdown(func() { _ = page.Close() }) // or Shutdown would wait for those who look at the page
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return errors.Join(err, page.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() {
		defer stop() // a node that cannot be looked at shall not go on
		served <- server.Serve(listener)
	}()
	fmt.Fprintf(out, "%s serves http://%s/status/\n", c.node, listener.Addr())
	context.AfterFunc(ctx, func() { fmt.Fprintln(out, "told to stop: not ready any more, the jobs finish what they have in hand") })

	// Execute returns when every Work has returned and all is released. The server
	// goes on until then: readyz says that this node is leaving.
	err = processor.Execute(ctx)
	fmt.Fprintln(out, "all jobs are handed over: the server stops")
	closing, done := context.WithTimeout(context.WithoutCancel(ctx), serveTime)
	defer done()
	err = errors.Join(err, server.Shutdown(closing), page.Close())
	if failure := <-served; !errors.Is(failure, http.ErrServerClosed) {
		err = errors.Join(err, failure)
	}
	return err
}

// item is how long a piece of work takes here.
const item = 2 * time.Second

// work does one item after the other. When the node stops, it finishes the one in
// hand, for which it has workTime: nobody else begins before it returns. When the
// leadership is lost it must give up within the lease's grace.
func work(out io.Writer) func(context.Context) error {
	return func(ctx context.Context) error {
		l, _ := distributed.LeadershipFromContext(ctx)
		fmt.Fprintf(out, "%s: runs here, with token %d\n", l.Name(), l.Token())
		for ctx.Err() == nil {
			inHand := time.NewTimer(item)
			select {
			case <-inHand.C:
				continue
			case <-ctx.Done():
			}
			if !errors.Is(context.Cause(ctx), distributed.ErrLeadershipLost) {
				<-inHand.C
			}
		}
		fmt.Fprintf(out, "%s: has stopped: %v\n", l.Name(), context.Cause(ctx))
		return nil
	}
}

// Package example is what the smaller examples share: a main function, an etcd,
// and a way to harm a node.
package example

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Main runs an example on the etcd that the flag -etcd names, or else on one
// inside this process, and ends the process when run fails. Ctrl-C and SIGTERM
// end the context.
func Main(run func(ctx context.Context, endpoints []string, out io.Writer) error) {
	urls := flag.String("etcd", "", "use the etcd cluster at these `URL,URL` (default: run one inside this process)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	err := withETCD(ctx, *urls, func(endpoints []string) error { return run(ctx, endpoints, os.Stdout) })
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func withETCD(ctx context.Context, urls string, run func(endpoints []string) error) error {
	endpoints, closeETCD, err := OpenETCD(ctx, urls)
	if err != nil {
		return err
	}
	defer closeETCD()
	return run(endpoints)
}

// OpenETCD returns the endpoints in urls, which are separated by commas. If there
// are none it runs an etcd in this process, which closeETCD stops. It returns when
// etcd answers.
func OpenETCD(ctx context.Context, urls string) (endpoints []string, closeETCD func(), err error) {
	if urls != "" {
		if endpoints, err = play.ParseEndpoints(urls); err != nil {
			return nil, nil, fmt.Errorf("-etcd %s: %w", urls, err)
		}
	}
	store, err := play.OpenStore(ctx, "example", endpoints)
	if err != nil {
		return nil, nil, err
	}
	return store.Endpoints, store.Close, nil
}

// Expel ends the lease of a node of app, although the node is alive, by deleting the
// document that says so. That is an example of what makes a node lose its leaderships:
// that it is cut off from etcd, or frozen for too long.
func Expel(ctx context.Context, client *clientv3.Client, app string, node *distributed.Concurrency) error {
	view, ok := node.View()
	if !ok {
		return errors.New("the node has no lease")
	}
	_, err := client.Delete(ctx, app+"/nodes/"+view.Self)
	return err
}

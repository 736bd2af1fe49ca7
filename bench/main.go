// Command bench measures the library next to what etcd itself takes, in the
// same run: the handover of one job, the start and drain of many, and the crash
// of a node.
//
//	go run ./bench
//	go run ./bench -only handover -n 1000
//	go run ./bench -etcd http://127.0.0.1:2379
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed/internal/etcdtest"
)

type options struct {
	etcd  string
	only  string
	n     int
	jobs  int
	nodes int
	ttl   time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == nodeCommand {
		runNode(os.Args[2:])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.StringVar(&o.etcd, "etcd", "", "client `URLs` of an etcd cluster, separated by commas (default: one is started)")
	flag.StringVar(&o.only, "only", "", "run only this `benchmark`: handover, jobs or crash")
	flag.IntVar(&o.n, "n", 200, "handovers to measure")
	flag.IntVar(&o.jobs, "jobs", 1000, "jobs to start, drain and crash with")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes, at least 2")
	flag.DurationVar(&o.ttl, "ttl", 3*time.Second, "lease TTL of the node that crashes")
	flag.Parse()
	return o
}

// bench is one run: an etcd and what is asked of it.
type bench struct {
	options
	endpoints []string
	client    *clientv3.Client
	app       string
}

func run(ctx context.Context, o options) (err error) {
	if o.n < 10 || o.jobs < 1 || o.nodes < 2 {
		return errors.New("-n must be at least 10, -jobs at least 1, -nodes at least 2")
	}
	b := &bench{options: o}
	if o.etcd != "" {
		b.endpoints = strings.Split(o.etcd, ",")
	} else {
		cluster, err := etcdtest.Start(ctx, etcdtest.Config{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cluster.Close()) }()
		b.endpoints = cluster.Endpoints()
	}
	b.client, err = clientv3.New(clientv3.Config{Endpoints: b.endpoints, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.client.Close()) }()
	return b.all(ctx)
}

func (b *bench) all(ctx context.Context) error {
	found := b.only == ""
	for _, m := range []struct {
		name    string
		measure func(context.Context) error
	}{{"handover", b.handover}, {"jobs", b.manyJobs}, {"crash", b.crash}} {
		if b.only != "" && b.only != m.name {
			continue
		}
		found = true
		b.app = fmt.Sprintf("bench-%s-%d", m.name, time.Now().UnixNano())
		fmt.Printf("## %s\n\n", m.name)
		if err := m.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Println()
	}
	if !found {
		return fmt.Errorf("-only %s: there is no such benchmark", b.only)
	}
	return nil
}

// commits returns how many entries etcd has committed so far.
func (b *bench) commits(ctx context.Context) (uint64, error) {
	s, err := b.client.Status(ctx, b.endpoints[0])
	if err != nil {
		return 0, err
	}
	return s.RaftIndex, nil
}

// percentile sorts d.
func percentile(d []time.Duration, p float64) time.Duration {
	slices.Sort(d)
	return d[min(int(p*float64(len(d))), len(d)-1)]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/verify"
)

// node is one instance of the service. In real life it is a process of its own;
// here it has a lease provider, and with it a connection to etcd, of its own.
type node struct {
	name    string
	records string // the file in which it records when its jobs run
	provide func() distributed.LeaseProvider
	jobs    func(*verify.Writer) []distributed.Job
	options []distributed.ProcessorOption

	stop context.CancelFunc // nil while the node is down
	wg   sync.WaitGroup
	err  error // of Execute, once wg is done
}

// start starts the node. failed is called if it ends with an error.
func (n *node) start(failed func(error)) {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.wg.Go(func() {
		if err := n.execute(ctx); err != nil {
			n.err = fmt.Errorf("%s: %w", n.name, err)
			failed(n.err)
		}
	})
}

// execute is what main would do in a process of its own.
func (n *node) execute(ctx context.Context) error {
	runs, err := verify.Open(n.records, n.name)
	if err != nil {
		return err
	}
	p := distributed.NewLeadershipBasedJobProcessor("quickstart", n.name, n.provide(), n.jobs(runs), n.options...)
	err = p.Execute(ctx)
	return errors.Join(err, runs.Close()) // what could not be recorded cannot be judged
}

// shutdown stops the node as a service should be stopped: its jobs are told,
// and when they have returned, others may take them. It returns when all that is
// done.
func (n *node) shutdown() {
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	n.wg.Wait()
}

// nodes are all instances.
type nodes []*node

func (ns nodes) names() (names []string) {
	for _, n := range ns {
		names = append(names, n.name)
	}
	return names
}

// shutdown stops all at once.
func (ns nodes) shutdown() error {
	var wg sync.WaitGroup
	errs := make([]error, len(ns))
	for i, n := range ns {
		wg.Go(func() {
			n.shutdown()
			errs[i] = n.err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/b2552be4/distributed"
)

// node is one instance of the service. In real life it is a process of its own;
// here it has a lease provider, and with it a connection to etcd, of its own.
type node struct {
	name    string
	provide func() distributed.LeaseProvider
	jobs    []distributed.Job
	options []distributed.ProcessorOption

	stop context.CancelFunc // nil while the node is down
	wg   sync.WaitGroup
	err  error // of Execute, once wg is done
}

// start starts the node. failed is called if it ends with an error.
func (n *node) start(failed func(error)) {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	p := distributed.NewLeadershipBasedJobProcessor("quickstart", n.name, n.provide(), n.jobs, n.options...)
	n.wg.Go(func() {
		if err := p.Execute(ctx); err != nil {
			n.err = fmt.Errorf("%s: %w", n.name, err)
			failed(n.err)
		}
	})
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

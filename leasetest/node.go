package leasetest

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/b2552be4/distributed"
)

// node is a lease and what stands under it.
type node struct {
	*run
	app, instance string
	lease         distributed.Lease
	acquired      context.CancelFunc // ends the context of AcquireLease
	candidates    []*candidate
}

// node returns one more node of the case's app.
func (r *run) node() *node { return r.nodeOf(r.app, r.instance()) }

func (r *run) instance() string { return fmt.Sprintf("node-%d", len(r.nodes)+1) }

func (r *run) nodeOf(app, instance string) *node {
	ctx, acquired := context.WithTimeout(context.Background(), r.patience)
	lease, err := r.store.Provider().AcquireLease(ctx, distributed.LeaseRequest{
		App: app, Instance: instance, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		acquired()
		r.require(false, "AcquireLease failed: %v", err)
	}
	n := &node{run: r, app: app, instance: instance, lease: lease, acquired: acquired}
	r.nodes = append(r.nodes, n)
	return n
}

// lead stands in the election and waits until the node leads.
func (n *node) lead(election string) *candidate {
	c := n.stand(election)
	c.awaitLead()
	return c
}

// queue stands in the election and waits until the store has place candidates.
func (n *node) queue(election string, place int) *candidate {
	c := n.stand(election)
	n.awaitCandidates(election, place)
	n.settle()
	c.requireWaiting()
	return c
}

// expire takes the lease away.
func (n *node) expire() { n.store.Expire(n.app, n.instance) }

// close ends what runs under the lease, closes it and returns the error.
func (n *node) close(ctx context.Context) (err error) {
	for _, c := range n.candidates {
		c.leave()
	}
	n.returns(func() { err = n.lease.Close(ctx) }, "Close of %s has not returned", n.instance)
	return err
}

func (n *node) mustClose() {
	err := n.close(context.Background())
	n.require(err == nil, "Close of %s failed: %v", n.instance, err)
}

// withdraw ends everything that a context ends.
func (n *node) withdraw() {
	for _, c := range n.candidates {
		c.cancel()
		c.leave()
	}
	n.acquired()
}

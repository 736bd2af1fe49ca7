// Package simetcd is an etcd for simulations: the services that the etcd client
// calls, over connections in memory, with faults on demand. Inside a bubble of
// testing/synctest it runs in virtual time, so that minutes of a protocol cost
// milliseconds.
//
// It keeps what clients rely on: one order of revisions, transactions as a
// whole, watches without gaps, leases that expire in a scan each half second and
// go in one revision with all their keys. It is one member that never fails, to
// which links can be cut and calls befall a [Fate]; what a cluster of several
// adds, such as a deposed leader that revokes a healthy lease or renews none, is
// called by its effect.
package simetcd

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Cluster is a simulated etcd. Create it with [New], inside the bubble. All
// methods are safe for concurrent use.
type Cluster struct {
	store  *store
	faults Faults
	server *grpc.Server
	loops  sync.WaitGroup // the scan, listeners, and calls executed again
	stop   context.CancelFunc

	mu      sync.Mutex
	running chan struct{} // closed while etcd answers
	streams map[*watchStream]bool
	stalled map[string]bool // nodes to which watches tell nothing
}

// New starts a cluster. The caller closes it.
func New(faults Faults) *Cluster {
	ctx, stop := context.WithCancel(context.Background())
	c := &Cluster{
		store: newStore(), faults: faults, stop: stop,
		running: make(chan struct{}),
		streams: map[*watchStream]bool{},
		stalled: map[string]bool{},
	}
	close(c.running)
	c.server = grpc.NewServer(
		grpc.UnaryInterceptor(c.befall),
		grpc.ReadBufferSize(bufferSize),
		grpc.NumStreamWorkers(16), // a goroutine for each call costs a growing stack for each
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	pb.RegisterKVServer(c.server, kvService{store: c.store})
	pb.RegisterLeaseServer(c.server, leaseService{cluster: c})
	pb.RegisterWatchServer(c.server, watchService{cluster: c})
	c.loops.Go(func() { c.scan(ctx) })
	return c
}

// Close stops everything. It blocks until all calls have been executed, those as
// well whose callers have given up.
func (c *Cluster) Close() {
	c.stop()
	c.server.Stop()
	c.loops.Wait()
}

// Pause makes etcd hang: calls wait, and are executed when it resumes; watches
// tell nothing; no lease expires.
func (c *Cluster) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.running:
		c.running = make(chan struct{})
	default:
	}
}

// Resume ends a pause. If extend, all leases get a full TTL, as from a new
// leader; else those expire that have run out meanwhile.
func (c *Cluster) Resume(extend bool) {
	if extend {
		c.store.extendLeases()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.running:
	default:
		close(c.running)
	}
	c.wakeStreams()
}

// up returns a channel that is closed while etcd answers.
func (c *Cluster) up() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

func (c *Cluster) isUp() bool {
	select {
	case <-c.up():
		return true
	default:
		return false
	}
}

// scan expires leases as etcd does.
func (c *Cluster) scan(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if c.isUp() {
			c.store.expireLeases()
		}
	}
}

// Revoke revokes all leases that node was granted, however healthy they are.
func (c *Cluster) Revoke(node string) { c.store.revokeOf(node) }

// Delete deletes a key, as an operator may, and reports whether it was there.
func (c *Cluster) Delete(key string) bool { return c.store.delete(key) }

// Compact forgets all history until now.
func (c *Cluster) Compact() { c.store.compactNow() }

// Keys returns all keys, in order.
func (c *Cluster) Keys() []string { return c.store.keys() }

// Leases returns how many leases there are.
func (c *Cluster) Leases() int { return c.store.leaseCount() }

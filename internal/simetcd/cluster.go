// Package simetcd is an etcd for simulations: the services that the etcd client
// calls, over connections in memory, with faults on demand. Inside a bubble of
// testing/synctest it runs in virtual time, so that minutes of a protocol cost
// milliseconds.
//
// It keeps what clients rely on: one order of revisions, transactions as a
// whole, with others in them, and watches without gaps, which tell how far they are
// when asked. It is one member that never fails, to which links can be cut and
// calls befall a [Fate]. It knows no leases.
package simetcd

import (
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
	loops  sync.WaitGroup // listeners, and calls executed again

	mu      sync.Mutex
	running chan struct{} // closed while etcd answers
	streams map[*watchStream]bool
	stalled map[string]bool // nodes to which watches tell nothing
}

// New starts a cluster. The caller closes it.
func New(faults Faults) *Cluster {
	c := &Cluster{
		store: newStore(), faults: faults,
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
	pb.RegisterWatchServer(c.server, watchService{cluster: c})
	return c
}

// Close stops everything. It blocks until all calls have been executed, those as
// well whose callers have given up.
func (c *Cluster) Close() {
	c.server.Stop()
	c.loops.Wait()
}

// Pause makes etcd hang: calls wait, and are executed when it resumes; watches
// tell nothing.
func (c *Cluster) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.running:
		c.running = make(chan struct{})
	default:
	}
}

// Resume ends a pause.
func (c *Cluster) Resume() {
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

// Delete deletes a key, as an operator may, and reports whether it was there.
func (c *Cluster) Delete(key string) bool { return c.store.delete(key) }

// Put writes a key, as an operator may.
func (c *Cluster) Put(key string, value []byte) { c.store.put(key, value) }

// Value returns what a key holds, nil if it is not there.
func (c *Cluster) Value(key string) []byte { return c.store.value(key) }

// Compact forgets all history until now.
func (c *Cluster) Compact() { c.store.compactNow() }

// Keys returns all keys, in order.
func (c *Cluster) Keys() []string { return c.store.keys() }

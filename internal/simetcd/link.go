package simetcd

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// bufferSize is how much one end of a connection may send before the other reads,
// and how much either reads at once. Small, for there are many connections.
const bufferSize = 16 << 10

// Link is a node's way to etcd and back. Its faults are those of a network: what
// it holds up arrives when it is healed.
type Link struct {
	node     string
	listener *bufconn.Listener

	mu      sync.Mutex
	up      chan struct{} // closed while bytes get to etcd
	down    chan struct{} // closed while bytes get back
	refuses bool
	dead    bool
	conns   map[*conn]bool
}

// Link makes a link for node, which must have none yet.
func (c *Cluster) Link(node string) *Link {
	l := &Link{
		node: node, listener: bufconn.Listen(bufferSize),
		up: make(chan struct{}), down: make(chan struct{}),
		conns: map[*conn]bool{},
	}
	close(l.up)
	close(l.down)
	c.loops.Go(func() { _ = c.server.Serve(accepting{l.listener, l}) }) // until the server stops
	return l
}

// Dial connects to etcd, as grpc.WithContextDialer wants it.
func (l *Link) Dial(ctx context.Context, _ string) (net.Conn, error) {
	l.mu.Lock()
	refuses := l.refuses
	l.mu.Unlock()
	if refuses {
		return nil, &net.OpError{Op: "dial", Net: "sim", Err: net.ErrClosed}
	}
	c, err := l.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return l.keep(c, l.downGate), nil
}

// Hold holds what is sent, to etcd, from it, or both, until Heal.
func (l *Link) Hold(up, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healLocked()
	if up {
		l.up = make(chan struct{})
	}
	if down {
		l.down = make(chan struct{})
	}
}

// Refuse closes all connections and takes no more, until Heal.
func (l *Link) Refuse() {
	l.mu.Lock()
	l.refuses = true
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // of a connection in memory
	}
}

// Heal ends Hold and Refuse.
func (l *Link) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healLocked()
}

// Kill is Refuse for good.
func (l *Link) Kill() {
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	l.Refuse()
}

func (l *Link) healLocked() {
	l.refuses = l.dead
	for _, gate := range []chan struct{}{l.up, l.down} {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
}

func (l *Link) upGate() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

func (l *Link) downGate() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *Link) keep(c net.Conn, gate func() <-chan struct{}) *conn {
	kept := &conn{Conn: c, link: l, gate: gate, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[kept] = true
	return kept
}

// accepting is a link's listener as the server sees it.
type accepting struct {
	net.Listener
	link *Link
}

func (a accepting) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return a.link.keep(c, a.link.upGate), nil
}

// conn is one end of a connection. What it reads has to pass the gate.
type conn struct {
	net.Conn
	link   *Link
	gate   func() <-chan struct{}
	once   sync.Once
	closed chan struct{}
}

// RemoteAddr tells the server which node calls.
func (c *conn) RemoteAddr() net.Addr { return nodeAddr(c.link.node) }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.gate():
		return n, err
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.link.mu.Lock()
		delete(c.link.conns, c)
		c.link.mu.Unlock()
	})
	return c.Conn.Close()
}

// nodeAddr is the address of a node: its name.
type nodeAddr string

func (nodeAddr) Network() string  { return "sim" }
func (a nodeAddr) String() string { return string(a) }

// Package link is the network between two processes, for tests and demos that
// break it: a TCP proxy that can be cut, made to refuse, or held in each direction.
package link

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Link is the network between a node and an etcd member. All methods
// are safe for concurrent use.
//
// A held direction delivers nothing, and delivers it all later, in order, when
// it is released: so does TCP when packets got lost for a while. New connections
// are accepted meanwhile, as by a kernel that nobody asks, and hear nothing.
type Link struct {
	addr, target string

	up, down gate // to the member, to the node

	mu       sync.Mutex
	rationed bool
	ration   int          // bytes that may still go to the node, if rationed
	listener net.Listener // nil while it refuses
	conns    map[*conn]bool
	wg       sync.WaitGroup
	closed   bool
}

// conn is a connection through a link.
type conn struct {
	node, member *net.TCPConn
	silence      gate // of this one alone, both ways
	once         sync.Once
	gone         chan struct{}
}

// reset ends both halves with a RST.
func (c *conn) reset() {
	c.once.Do(func() {
		close(c.gone)
		for _, half := range []*net.TCPConn{c.node, c.member} {
			_ = half.SetLinger(0)
			_ = half.Close()
		}
	})
}

// gate lets through while it is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while open; closed to open it
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// pass waits until the gate is open; it returns false if gone comes first.
func (g *gate) pass(gone <-chan struct{}) bool {
	for {
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut == nil {
			return true
		}
		select {
		case <-shut:
		case <-gone:
			return false
		}
	}
}

// New returns a working link to target. The caller closes it.
func New(target string) (*Link, error) {
	l := &Link{target: target, conns: map[*conn]bool{}}
	listener, err := Listen()
	if err != nil {
		return nil, err
	}
	l.addr = listener.Addr().String()
	l.serve(listener)
	return l, nil
}

// Addr is what the node connects to.
func (l *Link) Addr() string { return l.addr }

// Cut resets all connections. New ones are possible at once.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.reset()
	}
}

// CutAfter is Cut as soon as n more bytes have gone to the node, not counting
// what cannot be delivered.
func (l *Link) CutAfter(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rationed, l.ration = true, n
}

// take returns how many of the next n bytes may go to the node, and whether the
// link is to be cut then.
func (l *Link) take(n int) (taken int, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.rationed:
		return n, false
	case n < l.ration:
		l.ration -= n
		return n, false
	}
	l.rationed = false
	return l.ration, true
}

// toNode is the half of a connection that CutAfter counts.
type toNode struct {
	*net.TCPConn
	link *Link
}

func (w toNode) Write(b []byte) (int, error) {
	n, cut := w.link.take(len(b))
	n, err := w.TCPConn.Write(b[:n])
	if cut {
		w.link.Cut()
		return n, net.ErrClosed
	}
	return n, err
}

// Refuse is Cut, and no new ones until Heal.
func (l *Link) Refuse() {
	l.mu.Lock()
	listener := l.listener
	l.listener = nil
	l.mu.Unlock()
	if listener != nil {
		_ = listener.Close()
	}
	l.Cut()
}

// HoldUp holds what goes to the member.
func (l *Link) HoldUp() { l.up.hold() }

// HoldDown holds what goes to the node.
func (l *Link) HoldDown() { l.down.hold() }

// ReleaseDown delivers what was held for the node, and holds no more.
func (l *Link) ReleaseDown() { l.down.release() }

// Silence holds what goes through the connections that there are, both ways; new
// ones work. So does a balancer that has forgotten them.
func (l *Link) Silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.silence.hold()
	}
}

// Heal makes the link work again, and delivers what was held.
func (l *Link) Heal() {
	l.up.release()
	l.down.release()
	l.mu.Lock()
	for c := range l.conns {
		c.silence.release()
	}
	refusing := l.listener == nil && !l.closed
	l.mu.Unlock()
	if !refusing {
		return
	}
	for { // nobody else may have the port; see Listen
		listener, err := net.Listen("tcp", l.addr)
		if err == nil {
			l.serve(listener)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Close frees everything.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.Refuse()
	l.wg.Wait()
}

func (l *Link) serve(listener net.Listener) {
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	l.wg.Go(func() {
		for {
			half, err := listener.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.carry(half.(*net.TCPConn)) })
		}
	})
}

// carry pumps both ways until one half ends.
func (l *Link) carry(node *net.TCPConn) {
	member, err := net.DialTimeout("tcp", l.target, time.Second)
	if err != nil {
		_ = node.SetLinger(0)
		_ = node.Close()
		return
	}
	c := &conn{node: node, member: member.(*net.TCPConn), gone: make(chan struct{})}
	l.mu.Lock()
	l.conns[c] = true
	refusing := l.listener == nil
	l.mu.Unlock()
	if refusing { // meanwhile
		c.reset()
	}
	var wg sync.WaitGroup
	wg.Go(func() { pump(c, c.node, c.member, &l.up) })
	wg.Go(func() { pump(c, c.member, toNode{c.node, l}, &l.down) })
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func pump(c *conn, from io.Reader, to io.Writer, g *gate) {
	defer c.reset()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !g.pass(c.gone) || !c.silence.pass(c.gone) { // the end is news too
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Listen listens on a loopback port below those that the system hands out to
// clients, so that no client can take it while its owner is away.
func Listen() (net.Listener, error) {
	const first, last = 20000, 32000
	var err error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", first+rand.N(last-first))
		if _, taken := handedOut.LoadOrStore(addr, true); taken {
			continue // its owner may be away
		}
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("find a free port: %w", err)
}

var handedOut sync.Map // addresses that Listen has returned

// FreeAddr returns an address nobody listens on at the moment.
func FreeAddr() (string, error) {
	l, err := Listen()
	if err != nil {
		return "", err
	}
	defer l.Close() //nolint:errcheck // it was never used
	return l.Addr().String(), nil
}

//go:build unix

package postgres_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
)

// narrows is a network to a server that can keep the last bytes of what a client sends.
type narrows struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	back   int           // how many to keep of what is sent next; 0: none
	passed chan struct{} // closed when the rest has passed
}

func newNarrows(t *testing.T, target string) *narrows {
	listener, err := link.Listen()
	require.NoError(t, err)
	n := &narrows{listener: listener}
	n.wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			n.mu.Lock()
			n.conns = append(n.conns, client, server)
			n.mu.Unlock()
			n.wg.Go(func() { _, _ = io.Copy(client, server) })
			n.wg.Go(func() { n.carry(client, server) })
		}
	})
	t.Cleanup(n.close)
	return n
}

func (n *narrows) addr() string { return n.listener.Addr().String() }

// holdBack keeps the last bytes of what is sent next, for good.
func (n *narrows) holdBack(bytes int) (passed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.back, n.passed = bytes, make(chan struct{})
	return n.passed
}

func (n *narrows) carry(client, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		got, err := client.Read(buf)
		if err != nil {
			return // and leave the server with what it has, as a client that is frozen does
		}
		n.mu.Lock()
		back, passed := n.back, n.passed
		n.back = 0
		n.mu.Unlock()
		if _, err := server.Write(buf[:max(0, got-back)]); err != nil {
			return
		}
		if back > 0 {
			close(passed)
			return
		}
	}
}

func (n *narrows) close() {
	_ = n.listener.Close()
	n.mu.Lock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

//go:build unix

package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// conns dials, and can break what it has dialed: without a proxy, whose processor time
// would be measured as well.
type conns struct {
	mu     sync.Mutex
	dialed []net.Conn // since the last reset; some are closed
}

func (c *conns) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialed = append(c.dialed, conn)
	return conn, nil
}

// count returns how many were dialed since the last reset.
func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.dialed)
}

// reset closes all connections.
func (c *conns) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.dialed {
		_ = conn.Close() // it may be closed already
	}
	c.dialed = nil
}

// reconnect resets the connections of so many nodes at once, as when a proxy before etcd
// starts anew: each watches again, and reads all that there is.
func (m *measurement) reconnect(ctx context.Context, nodes int) error {
	before, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return err
	}
	m.conns.reset()
	began := time.Now()
	for after := before; m.conns.count() < nodes || after.total(watchersMetric) < before.total(watchersMetric); {
		if time.Since(began) > scalePatience {
			return errors.New("some nodes do not watch again")
		}
		time.Sleep(10 * time.Millisecond)
		if after, err = readMetrics(ctx, m.Endpoints); err != nil {
			return err
		}
	}
	m.book.add(m.name("ScaleWatch"), m.Jobs, ns("ns/op", time.Since(began)))
	time.Sleep(m.Idle) // while the last of them read
	return nil
}

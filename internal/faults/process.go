//go:build unix

package faults

import (
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/b2552be4/distributed/internal/process"
)

const (
	memberRole = "member"
	nodeRole   = "node"
)

// RunRole makes this process a member or a node if its parent wants that, and
// does not return then. TestMain calls it first thing.
func RunRole() {
	process.RunRole(map[string]process.Role{
		memberRole: process.RoleOf(runMember),
		nodeRole:   process.RoleOf(runNode),
	})
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// stallMeter measures how late the machine wakes who sleeps: what it cannot do
// in time, no library can.
type stallMeter struct {
	stop chan struct{}
	done chan struct{}
	mu   sync.Mutex
	most time.Duration
}

func startStallMeter() *stallMeter {
	m := &stallMeter{stop: make(chan struct{}), done: make(chan struct{})}
	go m.run()
	return m
}

func (m *stallMeter) run() {
	defer close(m.done)
	const nap = 2 * time.Millisecond
	for {
		began := time.Now()
		select {
		case <-m.stop:
			return
		case <-time.After(nap):
		}
		late := time.Since(began) - nap
		m.mu.Lock()
		m.most = max(m.most, late)
		m.mu.Unlock()
	}
}

func (m *stallMeter) worst() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}

func (m *stallMeter) close() {
	close(m.stop)
	<-m.done
}

var silent = zapcore.NewNopCore()

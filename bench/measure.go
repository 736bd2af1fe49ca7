//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// fleetTTL is the TTL of leases, for all subjects. Nothing crashes here.
const fleetTTL = 10 * time.Second

// fleetTimeout bounds the measurement of a fleet.
const fleetTimeout = 12 * time.Minute

// fleetSpec is what the process that measures a fleet is told.
type fleetSpec struct {
	By          string
	Jobs, Nodes int
	Crowd       bool          // all nodes start at once
	Scale       bool          // the nodes balance; the last one joins later
	Apart       time.Duration // how long one after the other they start then
	Idle        time.Duration // how long to watch the fleet at rest; 0 leaves that out
	Endpoints   []string
	Profiles    string // directory; "" writes none
}

// name returns the name of a measurement of this fleet.
func (s fleetSpec) name(what string) string {
	if s.Scale {
		return fmt.Sprintf("%s/jobs=%d/nodes=%d/apart=%v", what, s.Jobs, s.Nodes-1, s.Apart)
	}
	return fmt.Sprintf("%s/jobs=%d/nodes=%d/by=%s", what, s.Jobs, s.Nodes, s.By)
}

// fleet measures a fleet in a process of its own, and enters what that prints.
func (b *bench) fleet(ctx context.Context, spec fleetSpec) error {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	spec.Endpoints = b.endpoints
	c, err := startChild(ctx, "fleet", spec)
	if err != nil {
		return err
	}
	for c.lines.Scan() {
		name, n, values, err := parseLine(c.lines.Text())
		if err != nil {
			c.stop()
			return err
		}
		b.book.add(name, n, values...)
	}
	if err := c.wait(); err != nil {
		return err
	}
	b.perJob(spec)
	return b.compact(ctx)
}

// compact gives everybody the same etcd: without the history of those before.
func (b *bench) compact(ctx context.Context) error {
	resp, err := b.client.Get(ctx, "bench", clientv3.WithCountOnly())
	if err == nil {
		_, err = b.client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
	}
	return err
}

// measurement is the work of that process.
type measurement struct {
	*fleet
	client   *clientv3.Client
	book     *book
	others   int      // leases that are not of this fleet
	profiled []string // kinds of profiles that there are
}

func measureFleet(ctx context.Context, arg []byte) (err error) {
	var spec fleetSpec
	if err := json.Unmarshal(arg, &spec); err != nil {
		return err
	}
	client, err := newClient(spec.Endpoints)
	if err != nil {
		return err
	}
	defer client.Close()
	m := &measurement{fleet: newFleet(spec), client: client, book: newBook(os.Stdout)}
	m.profileWaiting()
	defer func() { err = errors.Join(err, m.writeProfile("block"), m.writeProfile("mutex")) }()
	if spec.By == byLimit {
		return m.limit(ctx)
	}
	if m.others, err = m.leases(ctx); err != nil {
		return err
	}
	life := m.life
	switch {
	case m.Crowd:
		life = m.crowd
	case m.Scale:
		life = m.scale
	}
	return errors.Join(life(ctx), m.stopAll(), m.awaitGone(ctx))
}

// awaitGone waits until the leases of the fleet have left etcd, so that they are not
// in the way of the next: what a session could not give up, as etcd refuses too many
// requests at once, goes with its lease. Documents that are left, of nodes that have
// drained, are deleted.
func (m *measurement) awaitGone(ctx context.Context) error {
	expired := time.Now().Add(fleetTTL + 5*time.Second) // later leases are not of this fleet
	for {
		leases, err := m.leases(ctx)
		if err != nil {
			return err
		}
		if leases <= m.others || time.Now().After(expired) {
			_, err := m.client.Delete(ctx, m.app+"/", clientv3.WithPrefix())
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leases returns how many there are in etcd.
func (m *measurement) leases(ctx context.Context) (int, error) {
	resp, err := m.client.Leases(ctx)
	if err != nil {
		return 0, err
	}
	return len(resp.Leases), nil
}

// cost runs f, which does something to n jobs, and returns what each of them has
// cost meanwhile: entries that etcd has committed, bytes that it has written to
// its log and sent to clients, and time on processors, of etcd and of all nodes.
func (m *measurement) cost(ctx context.Context, n int, f func() error) ([]value, error) {
	before, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return nil, err
	}
	ownBefore := processorTime()
	if err := f(); err != nil {
		return nil, err
	}
	ownAfter := processorTime()
	after, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return nil, err
	}
	return []value{
		{"commits", after.first(commitsMetric) - before.first(commitsMetric)},
		{"commits/job", (after.first(commitsMetric) - before.first(commitsMetric)) / float64(n)},
		{"wal-B/job", (after.first(walMetric) - before.first(walMetric)) / float64(n)},
		{"sent-B/job", (after.total(sentMetric) - before.total(sentMetric)) / float64(n)},
		{"etcd-cpu-ns/job", (after.total(processorMetric) - before.total(processorMetric)) * 1e9 / float64(n)},
		{"nodes-cpu-ns/job", float64(ownAfter-ownBefore) / float64(n)},
	}, nil
}

// processorTime returns how long this process has run on processors.
func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

//go:build unix

package main

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed"
)

// scalePatience is how long a fleet may take to become even.
const scalePatience = 100 * time.Second

// scales measures balancing.
func (b *bench) scales(ctx context.Context) error {
	for _, plan := range b.scale {
		for _, jobs := range plan.jobs {
			for _, apart := range b.apart {
				spec := fleetSpec{By: byOurs, Jobs: jobs, Nodes: plan.nodes + 1, Scale: true, Apart: apart, Idle: b.idle, Profiles: b.profiles}
				if err := b.fleet(ctx, spec); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// scale is the life of a fleet that balances: its nodes start, and rest; all lose their
// connections at once; the last one joins when they are even; a job comes and goes; one
// stops, and another is killed; and then each is restarted.
func (m *measurement) scale(ctx context.Context) error {
	last := m.Nodes - 1
	before := heapInUse()
	if err := m.episode(ctx, "ScaleStart", last, func() error {
		for i := range last {
			m.start(i)
			if i < last-1 {
				time.Sleep(m.Apart)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := m.atRest(ctx, before, last); err != nil {
		return err
	}
	if err := m.aside(ctx, last); err != nil {
		return err
	}
	if err := m.episode(ctx, "ScaleReconnect", last, func() error { return m.reconnect(ctx, last) }); err != nil {
		return err
	}
	err := m.episode(ctx, "ScaleJoin", m.Nodes, func() error { m.start(last); return nil })
	if err != nil {
		return err
	}
	if err := m.oneJobMore(ctx); err != nil {
		return err
	}
	if err := m.episode(ctx, "ScaleStop", last, func() error { m.nodes[0].stop(); return nil }); err != nil {
		return err
	}
	if err := m.killed(ctx, last); err != nil {
		return err
	}
	return m.episode(ctx, "ScaleRestart", last, func() error { return m.restartAll(ctx) })
}

// killed has a process of its own join, and kills it when it has its share.
func (m *measurement) killed(ctx context.Context, nodes int) error {
	victim, err := startChild(ctx, "node", nodeSpec{
		By: byOurs, Jobs: m.Jobs, TTL: fleetTTL, Endpoints: m.Endpoints, App: m.app, Instance: "victim", Balanced: true,
	})
	if err != nil {
		return err
	}
	began := time.Now()
	for !m.shared(nodes, nodes+1) && time.Since(began) < scalePatience {
		time.Sleep(10 * time.Millisecond)
	}
	return m.episode(ctx, "ScaleKill", nodes, func() error { victim.kill(); return nil })
}

// shared reports whether so many nodes have what is theirs of the jobs if all of them
// are on more nodes.
func (m *measurement) shared(nodes, all int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := 0
	for _, n := range m.busy {
		if n > 0 {
			used++
		}
		if n > (m.Jobs+all-1)/all {
			return false
		}
	}
	return used == nodes && (m.running == m.Jobs-m.Jobs/all || m.running == m.Jobs-(m.Jobs+all-1)/all)
}

// restartAll restarts one node after the other, each a second after the one before.
func (m *measurement) restartAll(ctx context.Context) error {
	for i, n := range m.nodes {
		select {
		case <-n.ended:
			continue // it was stopped before
		default:
		}
		n.stop()
		if err := m.stopped(ctx, i); err != nil {
			return err
		}
		m.start(i)
		time.Sleep(time.Second)
	}
	return nil
}

// oneJobMore adds a job on all nodes, and removes it.
func (m *measurement) oneJobMore(ctx context.Context) error {
	time.Sleep(m.Idle) // what the others wait for has changed as well
	if err := awaitNumbered(ctx, m.client, m.app); err != nil {
		return err
	}
	runs := make(chan struct{}, 1)
	job := distributed.Job{Name: "one-more", Work: func(ctx context.Context) error {
		runs <- struct{}{}
		<-ctx.Done()
		return nil
	}}
	if err := m.change(ctx, "ScaleAddJob", func(p *distributed.LeadershipBasedJobProcessor) error { return p.AddJob(job) }, func() { <-runs }); err != nil {
		return err
	}
	return m.change(ctx, "ScaleRemoveJob", func(p *distributed.LeadershipBasedJobProcessor) error { return p.RemoveJob(ctx, job.Name) }, func() {})
}

// change calls a method of all nodes at once, and enters what the store sends them
// until nothing more changes: how long the documents are that it tells each of them, but
// for heartbeats.
func (m *measurement) change(ctx context.Context, what string, call func(*distributed.LeadershipBasedJobProcessor) error, await func()) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	events := m.client.Watch(watching, m.app+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	began := time.Now()
	failed := make([]error, len(m.nodes))
	var calls sync.WaitGroup
	for i, n := range m.nodes {
		calls.Go(func() { failed[i] = call(n.processor) })
	}
	calls.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	await()
	took := time.Since(began)
	calm := time.AfterFunc(m.Idle+fleetTTL/2, cancel)
	defer calm.Stop()
	var size, documents float64
	for resp := range events {
		for _, e := range resp.Events {
			if !strings.HasPrefix(string(e.Kv.Key), m.app+"/nodes/") {
				size += float64(len(e.Kv.Key) + len(e.Kv.Value))
				documents++
			}
		}
	}
	m.book.add(m.name(what), m.Nodes, ns("ns/op", took), value{"documents", documents}, value{"told-B", size * float64(m.Nodes)})
	return nil
}

// quiet is longer than it takes nodes to settle, and then to forget what they need when
// something changes.
const quiet = 30 * time.Second

// atRest watches the fleet while nothing happens.
func (m *measurement) atRest(ctx context.Context, before int64, nodes int) error {
	time.Sleep(m.Idle) // what there was to do is done
	stopProfile, err := m.profileCPU("ScaleRest.cpu")
	if err != nil {
		return err
	}
	began := processorTime()
	const times = 4 // so that a collection of garbage weighs as much as it should
	time.Sleep(times * m.Idle)
	used := processorTime() - began
	stopProfile()
	if err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	heap := heapInUse() - before
	if err := m.writeProfile("heap"); err != nil {
		return err
	}
	m.book.add(m.name("ScaleRest"), m.Jobs, []value{
		{"%-of-a-core/node", 100 * float64(used) / float64(times*m.Idle) / float64(nodes)},
		{"heap-B/job/node", float64(heap) / float64(m.Jobs*nodes)},
		{"goroutines", float64(runtime.NumGoroutine())},
	}...)
	return nil
}

// aside measures what a job takes on a node that neither leads it nor waits for it: one
// more, which drains.
func (m *measurement) aside(ctx context.Context, i int) error {
	before := heapInUse()
	m.startWith(i, func(p *distributed.LeadershipBasedJobProcessor) {
		_ = p.Drain(ctx) // it has nothing yet
	})
	for {
		view, ok := m.nodes[i].processor.View()
		if ok && len(view.Nodes) == i+1 && len(view.Jobs) == m.Jobs {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	m.book.add(m.name("ScaleAside"), m.Jobs, value{"heap-B/job", float64(heapInUse()-before) / float64(m.Jobs)})
	m.nodes[i].stop()
	return m.stopped(ctx, i)
}

// awaitQuiet waits until nothing but heartbeats has been written for a while.
func (m *measurement) awaitQuiet(ctx context.Context) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	events := m.client.Watch(watching, m.app+"/", clientv3.WithPrefix())
	forgotten := time.NewTimer(quiet)
	defer forgotten.Stop()
	for {
		select {
		case resp := <-events:
			if slices.ContainsFunc(resp.Events, func(e *clientv3.Event) bool { return !strings.HasPrefix(string(e.Kv.Key), m.app+"/nodes/") }) {
				forgotten.Reset(quiet)
			}
		case <-forgotten.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func heapInUse() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// episode does something, and waits until all jobs run, evenly on so many nodes.
func (m *measurement) episode(ctx context.Context, what string, nodes int, begin func() error) error {
	before, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return err
	}
	m.takeGaps()
	starts, lost, cpu := m.starts, m.lost, processorTime()
	began := time.Now()
	stopProfile, err := m.profileCPU(what + ".cpu")
	if err != nil {
		return err
	}
	if err := begin(); err != nil {
		return err
	}
	begun := time.Now()
	uneven := 0.
	for !m.even(nodes) {
		if time.Since(begun) > scalePatience {
			uneven = 1
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	took, sinceLast := time.Since(began), time.Since(begun)
	stopProfile()
	used := processorTime() - cpu
	after, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return err
	}
	gaps := append(m.takeGaps(), 0)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.book.add(m.name(what), m.Jobs, []value{
		ns("ns/op", took), ns("after-last-ns", sinceLast), {"uneven", uneven}, {"starts", float64(m.starts - starts)},
		{"starts/job", float64(m.starts-starts) / float64(m.Jobs)}, ns("max-gap-ns", slices.Max(gaps)),
		{"events", after.total(eventsMetric) - before.total(eventsMetric)}, {"sent-B", after.total(sentMetric) - before.total(sentMetric)},
		{"commits", after.first(commitsMetric) - before.first(commitsMetric)},
		ns("nodes-cpu-ns", used), ns("etcd-cpu-ns", time.Duration((after.total(processorMetric)-before.total(processorMetric))*1e9)),
		{"leases-lost", float64(m.lost - lost)},
	}...)
	return nil
}

// even reports whether all jobs run on so many nodes, none of which has two more than
// another.
func (m *measurement) even(nodes int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running < m.Jobs {
		return false
	}
	used := 0
	for _, n := range m.busy {
		if n > 0 {
			used++
		}
		if n > 0 && n < m.Jobs/nodes || n > (m.Jobs+nodes-1)/nodes {
			return false
		}
	}
	return used == min(nodes, m.Jobs)
}

//go:build unix

package main

import (
	"context"
	"runtime"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// snapshot is what a fleet occupies, here and in etcd.
type snapshot struct {
	goroutines, heap, stack float64
	metrics                 metrics
}

// rest waits until the fleet is at rest and returns what it occupies. It does
// nothing in rounds in which that is not measured.
func (m *measurement) rest(ctx context.Context) (s snapshot, err error) {
	if m.Idle == 0 {
		return s, nil
	}
	if err := m.settle(ctx); err != nil {
		return s, err
	}
	runtime.GC()
	runtime.GC() // the second frees what pools kept over the first
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s = snapshot{goroutines: float64(runtime.NumGoroutine()), heap: float64(mem.HeapAlloc), stack: float64(mem.StackInuse)}
	s.metrics, err = readMetrics(ctx, m.Endpoints)
	return s, err
}

// settle waits until etcd has the same watchers for a while and none of them
// has to catch up: a watch that begins in the past, as those of etcd's elections
// do, is caught up with every 100 ms. Their number can be off by some below zero:
// etcd sets it without those that it is just moving (syncWatchers, moveVictims).
func (m *measurement) settle(ctx context.Context) error {
	last := -1.0
	for calm := 0; calm < 4; {
		now, err := readMetrics(ctx, m.Endpoints)
		if err != nil {
			return err
		}
		if watchers := now.total(watchersMetric); watchers == last && now.total(slowMetric) <= 0 {
			calm++
		} else {
			last, calm = watchers, 0
		}
		select {
		case <-time.After(60 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// watchIdle measures the fleet at rest, against how things were before it
// started (none), and when its first node ran all jobs (first).
func (m *measurement) watchIdle(ctx context.Context, none, first snapshot) error {
	if m.By == byOurs {
		if err := awaitNumbered(ctx, m.client, m.app); err != nil {
			return err
		}
	}
	all, err := m.rest(ctx)
	if err != nil {
		return err
	}
	beatsBefore, err := m.heartbeats(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	before, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return err
	}
	select {
	case <-time.After(m.Idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := readMetrics(ctx, m.Endpoints)
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	beatsAfter, err := m.heartbeats(ctx)
	if err != nil {
		return err
	}
	if err := m.writeProfile("heap"); err != nil {
		return err
	}
	commits := after.first(commitsMetric) - before.first(commitsMetric)
	m.book.add(m.name("Idle"), int(seconds),
		value{"commits/s", commits / seconds},
		value{"heartbeats/s", (beatsAfter - beatsBefore) / seconds},
		value{"excess-commits", max(commits-(beatsAfter-beatsBefore), 0)},
		value{"requests/s", (after.total(requestsMetric) - before.total(requestsMetric)) / seconds},
		value{"wal-B/s", (after.first(walMetric) - before.first(walMetric)) / seconds},
		value{"sent-B/s", (after.total(sentMetric) - before.total(sentMetric)) / seconds},
		value{"watchers", all.metrics.total(watchersMetric) - none.metrics.total(watchersMetric)},
		value{"keys", all.metrics.first(keysMetric) - none.metrics.first(keysMetric)},
		value{"db-B", all.metrics.first(databaseMetric) - none.metrics.first(databaseMetric)},
		value{"goroutines", all.goroutines - none.goroutines},
		value{"heap-B", all.heap - none.heap},
		value{"stack-B", all.stack - none.stack},
		value{"waiting-goroutines", all.goroutines - first.goroutines},
		value{"waiting-heap-B", all.heap - first.heap},
		value{"waiting-stack-B", all.stack - first.stack})
	return nil
}

// heartbeats returns how often our nodes have written their node documents. Called
// before and after a span, it counts at least the heartbeats in that.
func (m *measurement) heartbeats(ctx context.Context) (n float64, err error) {
	resp, err := m.client.Get(ctx, m.app+"/nodes/", clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	for _, kv := range resp.Kvs {
		n += float64(kv.Version)
	}
	return n, nil
}

// perJob enters what a job costs on each node, and on each node on which it
// waits: what a fleet occupies beyond one with a single job.
func (b *bench) perJob(s fleetSpec) {
	if s.Idle == 0 || s.Crowd || s.Jobs == 1 || s.By == byLimit {
		return
	}
	single := s
	single.Jobs = 1
	for _, of := range []struct {
		what, prefix string
		nodes        int
	}{{"PerJob", "", s.Nodes}, {"PerWaitingJob", "waiting-", s.Nodes - 1}} {
		var values []value
		for _, unit := range []string{"goroutines", "heap-B", "stack-B"} {
			with, ok := b.book.median(s.name("Idle"), of.prefix+unit)
			without, okay := b.book.median(single.name("Idle"), of.prefix+unit)
			if !ok || !okay {
				return
			}
			values = append(values, value{unit, (with - without) / float64((s.Jobs-1)*of.nodes)})
		}
		b.book.add(s.name(of.what), 1, values...)
	}
}

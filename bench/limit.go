//go:build unix

package main

import (
	"context"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// txnOps is how many operations etcd takes in one transaction.
const txnOps = 128

// limit measures what etcd takes for as many keys as there are jobs, in
// transactions as large as it allows, one after the other: from the first until
// the last key made is seen by another client that watches, and then likewise
// until each is seen deleted.
func (m *measurement) limit(ctx context.Context) error {
	watcher, err := newClient(m.Endpoints)
	if err != nil {
		return err
	}
	defer watcher.Close()
	lease, err := m.client.Grant(ctx, int64(fleetTTL/time.Second)*10)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	events := watcher.Watch(watching, m.app+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	puts, deletes := make([]clientv3.Op, m.Jobs), make([]clientv3.Op, m.Jobs)
	for i, name := range m.names {
		puts[i] = clientv3.OpPut(m.app+"/"+name+"/leader/limit", "", clientv3.WithLease(lease.ID))
		deletes[i] = clientv3.OpDelete(m.app + "/" + name + "/leader/limit")
	}
	for _, batch := range []struct {
		what string
		ops  []clientv3.Op
	}{{"Start", puts}, {"Drain", deletes}} {
		var seen []time.Duration
		cost, err := m.cost(ctx, m.Jobs, func() (err error) {
			seen, err = m.transact(ctx, batch.ops, events)
			return err
		})
		if err != nil {
			return err
		}
		m.book.add(m.name(batch.what), m.Jobs, append([]value{ns("ns/op", percentile(seen, 1)), ns("p50-ns", percentile(seen, .5)),
			ns("p99-ns", percentile(seen, .99)), ns("max-ns", percentile(seen, 1))}, cost...)...)
	}
	_, err = m.client.Revoke(ctx, lease.ID)
	return err
}

// transact returns when each operation was seen, counted from the start of all.
func (m *measurement) transact(ctx context.Context, ops []clientv3.Op, events clientv3.WatchChan) ([]time.Duration, error) {
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		for batch := range slices.Chunk(ops, txnOps) {
			if _, err := m.client.Txn(ctx).Then(batch...).Commit(); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var seen []time.Duration
	for len(seen) < len(ops) {
		select {
		case resp := <-events:
			if err := resp.Err(); err != nil {
				return nil, err
			}
			at := time.Since(began)
			for range resp.Events {
				seen = append(seen, at)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return seen, <-sent
}

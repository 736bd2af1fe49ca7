//go:build unix

package main

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// crowd is the life of a fleet all of whose nodes start at once, and campaign for all
// jobs: until they do, and then at rest.
func (m *measurement) crowd(ctx context.Context) error {
	inLine, err := awaitCandidates(ctx, m.client, m.app, m.Jobs*m.Nodes)
	if err != nil {
		return err
	}
	var took time.Duration
	cost, err := m.cost(ctx, m.Jobs*m.Nodes, func() error {
		stopProfile, err := m.profileCPU("cpu")
		if err != nil {
			return err
		}
		defer stopProfile()
		began := time.Now()
		for i := range m.nodes {
			m.start(i)
		}
		if err := inLine(); err != nil {
			return err
		}
		took = time.Since(began)
		_, err = m.allRun(ctx, -1)
		return err
	})
	if err != nil {
		return err
	}
	if err := awaitNumbered(ctx, m.client, m.app); err != nil {
		return err
	}
	resp, err := m.client.Get(ctx, m.app+"/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	size := 0
	for _, kv := range resp.Kvs {
		size += len(kv.Key) + len(kv.Value)
	}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	m.book.add(m.name("Crowd"), m.Jobs*m.Nodes, append([]value{ns("ns/op", took), {"leases-lost", float64(m.lost)},
		{"keys", float64(len(resp.Kvs))}, {"B", float64(size)},
		{"rest-sent-B/s", (after.total(sentMetric) - before.total(sentMetric)) / m.Idle.Seconds()}}, cost...)...)
	return nil
}

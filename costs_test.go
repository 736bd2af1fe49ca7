//go:build unix

package distributed_test

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/nodetest"
)

// For the table in docs/stores.md.
func BenchmarkCosts(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		var hub distributed.MemoryHub
		nodetest.Costs(b, func(_ context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
			return hub.Open(req.Instance), nil
		})
	})
	b.Run("etcd", func(b *testing.B) {
		cluster := etcdtest.New(b, etcdtest.Config{Members: 1})
		nodetest.Costs(b, func(context.Context, distributed.LeaseRequest) (distributed.Store, error) {
			return distributed.OpenETCDStore(cluster.Endpoints(), clientv3.Config{})
		})
	})
}

package distributed_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/leasetest"
)

func TestETCDProviderConforms(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("members=%d", members), func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.New(t, etcdtest.Config{Members: members, UnsafeNoFsync: true})
			leasetest.Run(t, func(t *testing.T) leasetest.Store {
				t.Parallel()
				return conformingETCD(t, cluster)
			})
		})
	}
}

func conformingETCD(t *testing.T, cluster *etcdtest.Cluster) leasetest.Store {
	const ttl = 3 * time.Second
	var calls atomic.Int64
	count := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		calls.Add(1)
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	store := openETCDStore(t, cluster, clientv3.Config{})
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return leasetest.Store{
		Provider: func() distributed.LeaseProvider {
			return distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl),
				distributed.WithETCDConfig(clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(count)}}))
		},
		TTL:   ttl,
		Calls: func() int { return int(calls.Load()) },
	}.OnDocuments(t, store)
}

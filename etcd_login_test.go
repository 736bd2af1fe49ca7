package distributed_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
)

// A restart of etcd makes it forget who has logged in. Each node then logs in once,
// not once a call and stream: etcd checks passwords slowly on purpose, and would be
// busy with that for longer than leases live.
func TestNodesLogInOnceWhenETCDComesBack(t *testing.T) {
	t.Parallel()
	const nodes = 8
	var logins atomic.Int64
	cluster := authClusterWith(t, func(c *embed.Config) {
		c.BcryptCost = 4
		c.GRPCAdditionalServerOptions = append(c.GRPCAdditionalServerOptions, grpc.ChainUnaryInterceptor(
			func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
				if info.FullMethod == pb.Auth_Authenticate_FullMethodName {
					logins.Add(1)
				}
				return handle(ctx, req)
			}))
	})
	var held []*distributed.Leadership
	renewed := make([]atomic.Int64, nodes)
	for i := range nodes {
		c := distributed.NewConcurrency("app", fmt.Sprint("node-", i), distributed.NewETCDLeaseProvider(cluster.Endpoints(), config(clientv3.Config{Username: "user", Password: "secret"})),
			distributed.WithHooks(distributed.Hooks{LeaseRenewed: func(_, _ time.Duration) { renewed[i].Add(1) }}))
		t.Cleanup(func() { _ = c.Close() }) // its errors, if any, are not what the test is about
		held = append(held, lead(t, c, fmt.Sprint("job-", i)))
	}
	require.LessOrEqual(t, logins.Load(), int64(3*nodes), "to begin with")
	for range 2 {
		cluster.Members()[0].Stop()
		logins.Store(0)
		require.NoError(t, cluster.Members()[0].Restart(testContext(t)))
		for i := range renewed {
			renewed[i].Store(0)
		}
		for i := range renewed {
			require.Eventually(t, func() bool { return renewed[i].Load() >= 2 || held[i].Context().Err() != nil }, patience, 10*time.Millisecond)
			require.NoError(t, held[i].Context().Err())
		}
		t.Logf("%d logins of %d nodes", logins.Load(), nodes)
		require.LessOrEqual(t, logins.Load(), int64(3*nodes))
	}
}

package distributed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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
	o := &etcdOwner{t, cluster.Client()}
	return leasetest.Store{
		Provider: func() distributed.LeaseProvider {
			return distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl),
				distributed.WithETCDConfig(clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(count)}}))
		},
		TTL:             ttl,
		Expire:          o.deleteNodes,
		RemoveCandidate: o.deleteClaims,
		Candidates:      o.countClaims,
		Calls:           func() int { return int(calls.Load()) },
	}
}

// etcdOwner does what an operator could, who reads the documents and knows their
// names. It may be used by another goroutine than the test's.
type etcdOwner struct {
	t      *testing.T
	client *clientv3.Client
}

// documents returns what there is below app/kind/, by the rest of the key.
func (o *etcdOwner) documents(app, kind string, each func(name string, value []byte)) {
	prefix := app + "/" + kind + "/"
	resp, err := o.client.Get(context.Background(), prefix, clientv3.WithPrefix())
	if o.check(err); err != nil {
		return
	}
	for _, kv := range resp.Kvs {
		each(strings.TrimPrefix(string(kv.Key), prefix), kv.Value)
	}
}

// nodes returns the ids of those called instance, and of all for "", that live.
func (o *etcdOwner) nodes(app, instance string) map[string]bool {
	ids := map[string]bool{}
	o.documents(app, "nodes", func(id string, value []byte) {
		var node struct{ Instance, State string }
		o.check(json.Unmarshal(value, &node))
		if node.State == "" && (instance == "" || node.Instance == instance) {
			ids[id] = true
		}
	})
	return ids
}

// claims returns the names of the documents in which live nodes called instance
// claim the election.
func (o *etcdOwner) claims(app, election, instance string) (names []string) {
	live := o.nodes(app, instance)
	o.documents(app, "claims", func(name string, value []byte) {
		var document struct{ Jobs string }
		o.check(json.Unmarshal(value, &document))
		id, _, _ := strings.Cut(name, "/")
		if slices.Contains(strings.Split(document.Jobs, "\n"), election) && live[id] {
			names = append(names, name)
		}
	})
	return names
}

func (o *etcdOwner) deleteNodes(app, instance string) {
	for id := range o.nodes(app, instance) {
		_, err := o.client.Delete(context.Background(), app+"/nodes/"+id)
		o.check(err)
	}
}

// check is for any goroutine.
func (o *etcdOwner) check(err error) {
	if err != nil {
		o.t.Error(err)
	}
}

func (o *etcdOwner) deleteClaims(app, election, instance string) {
	names := o.claims(app, election, instance)
	require.Len(o.t, names, 1)
	_, err := o.client.Delete(context.Background(), app+"/claims/"+names[0])
	require.NoError(o.t, err)
}

func (o *etcdOwner) countClaims(app, election string) int { return len(o.claims(app, election, "")) }

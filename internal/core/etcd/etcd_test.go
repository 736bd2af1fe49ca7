package etcd_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/core"
	"github.com/b2552be4/distributed/internal/core/etcd"
	"github.com/b2552be4/distributed/internal/core/storetest"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
	"github.com/b2552be4/distributed/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdleak.Options()...) }

// With fsync left out, and members that do not stand for election just because the
// machine is busy: what is tested is a store that is well.
func start(t *testing.T, members int, configure func(*embed.Config)) *etcdtest.Cluster {
	return etcdtest.New(t, etcdtest.Config{Members: members, UnsafeNoFsync: true, Configure: func(cfg *embed.Config) {
		if members > 1 {
			cfg.TickMs, cfg.ElectionMs = 500, 5000
		}
		if configure != nil {
			configure(cfg)
		}
	}})
}

func TestOneMemberConforms(t *testing.T) {
	conforms(t, start(t, 1, nil), 3<<19)
}

func TestThreeMembersConform(t *testing.T) {
	conforms(t, start(t, 3, nil), 3<<19)
}

// Who runs etcd may make it take less at once than the driver thinks.
func TestSmallLimitsConform(t *testing.T) {
	conforms(t, start(t, 1, func(cfg *embed.Config) {
		cfg.MaxTxnOps, cfg.MaxRequestBytes = 10, 100<<10
	}), 100<<10)
}

func TestProgressConforms(t *testing.T) {
	conforms(t, start(t, 1, nil), 3<<19, etcd.WithProgress(time.Millisecond))
}

// conforms opens stores each of which has a link of its own, to one of the members.
func conforms(t *testing.T, cluster *etcdtest.Cluster, tooLarge int, opts ...etcd.Option) {
	endpoints := cluster.Endpoints()
	storetest.Run(t, func(t *testing.T) storetest.Space {
		links := map[core.Store]*link.Link{}
		return storetest.Space{
			Open: func() core.Store {
				l, err := link.New(strings.TrimPrefix(endpoints[len(links)%len(endpoints)], "http://"))
				require.NoError(t, err)
				t.Cleanup(l.Close)
				s := open(t, cluster, "http://"+l.Addr(), opts...)
				links[s] = l
				return s
			},
			TooLarge:     tooLarge,
			HoldRequests: func(s core.Store) func() { links[s].HoldUp(); return links[s].Heal },
			HoldReplies:  func(s core.Store) func() { links[s].HoldDown(); return links[s].Heal },
			Compact: func(rev int64) {
				_, err := cluster.Client().Compact(t.Context(), rev)
				require.NoError(t, err)
			},
		}
	})
}

// open opens a store that closes its client.
func open(t *testing.T, cluster *etcdtest.Cluster, endpoint string, opts ...etcd.Option) *etcd.Store {
	client, err := cluster.NewClient(clientv3.Config{Endpoints: []string{endpoint}})
	require.NoError(t, err)
	return etcd.New(client, client.Close, opts...)
}

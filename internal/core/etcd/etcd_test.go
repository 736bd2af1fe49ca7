package etcd_test

import (
	"context"
	"strings"
	"testing"

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

func TestOneMemberConforms(t *testing.T)   { conforms(t, 1) }
func TestThreeMembersConform(t *testing.T) { conforms(t, 3) }

func conforms(t *testing.T, members int) {
	cluster := start(t, members)
	storetest.Run(t, func(t *testing.T) storetest.Space { return newSpace(t, cluster) })
}

// start makes no member stand for election just because the machine is busy: the
// conformance of a store that is well is what is tested.
func start(t etcdtest.TB, members int) *etcdtest.Cluster {
	return etcdtest.New(t, etcdtest.Config{Members: members, UnsafeNoFsync: true, Configure: func(cfg *embed.Config) {
		if members > 1 {
			cfg.TickMs, cfg.ElectionMs = 500, 5000
		}
	}})
}

// newSpace opens stores each of which has a link of its own, to one of the members.
func newSpace(t *testing.T, cluster *etcdtest.Cluster) storetest.Space {
	links := map[core.Store]*link.Link{}
	endpoints := cluster.Endpoints()
	return storetest.Space{
		Open: func() core.Store {
			l, err := link.New(strings.TrimPrefix(endpoints[len(links)%len(endpoints)], "http://"))
			require.NoError(t, err)
			client, err := cluster.NewClient(clientv3.Config{Endpoints: []string{"http://" + l.Addr()}})
			require.NoError(t, err)
			s := etcd.New(client, client.Close)
			links[s] = l
			t.Cleanup(l.Close)
			return s
		},
		TooLarge:     3 << 19,
		HoldRequests: func(s core.Store) func() { links[s].HoldUp(); return links[s].Heal },
		HoldReplies:  func(s core.Store) func() { links[s].HoldDown(); return links[s].Heal },
		Compact: func(rev int64) {
			_, err := cluster.Client().Compact(context.Background(), rev)
			require.NoError(t, err)
		},
	}
}

package distributed_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/storetest"
)

func TestETCDStoreConformsOnOneMember(t *testing.T)    { etcdStoreConforms(t, 1) }
func TestETCDStoreConformsOnThreeMembers(t *testing.T) { etcdStoreConforms(t, 3) }

func etcdStoreConforms(t *testing.T, members int) {
	cluster := startETCD(t, members)
	storetest.Run(t, func(t *testing.T) storetest.Space { return etcdSpace(t, cluster) })
}

// When nothing changes at all, in no app, etcd does not answer how far a watch is.
// A follower hears that it lives all the same.
func TestFollowersOfAnIdleETCDHearThatItLives(t *testing.T) {
	space := etcdSpace(t, startETCD(t, 1))
	s := space.Open()
	defer func() { require.NoError(t, s.Close()) }()
	rev, err := s.Put(t.Context(), "app/key", []byte("value"), 0)
	require.NoError(t, err)
	for _, after := range []int64{0, rev} {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		err := s.Follow(ctx, "app/", after, func(step distributed.Step) {
			if !step.Whole {
				require.Empty(t, step.Documents)
				require.Equal(t, rev, step.Revision)
				stop()
			}
		})
		require.ErrorIs(t, err, context.Canceled, "nothing was told of an idle etcd")
	}
}

// startETCD makes no member stand for election just because the machine is busy: the
// conformance of a store that is well is what is tested.
func startETCD(t etcdtest.TB, members int) *etcdtest.Cluster {
	return etcdtest.New(t, etcdtest.Config{Members: members, UnsafeNoFsync: true, Configure: func(cfg *embed.Config) {
		if members > 1 {
			cfg.TickMs, cfg.ElectionMs = 500, 5000
		}
	}})
}

// etcdSpace opens stores each of which has a link of its own, to one of the members.
func etcdSpace(t *testing.T, cluster *etcdtest.Cluster) storetest.Space {
	links := map[distributed.Store]*link.Link{}
	endpoints := cluster.Endpoints()
	return storetest.Space{
		Open: func() distributed.Store {
			l, err := link.New(strings.TrimPrefix(endpoints[len(links)%len(endpoints)], "http://"))
			require.NoError(t, err)
			s, err := distributed.OpenETCDStore([]string{"http://" + l.Addr()}, clientv3.Config{})
			require.NoError(t, err)
			links[s] = l
			t.Cleanup(l.Close)
			return s
		},
		TooLarge:     3 << 19,
		HoldRequests: func(s distributed.Store) func() { links[s].HoldUp(); return links[s].Heal },
		HoldReplies:  func(s distributed.Store) func() { links[s].HoldDown(); return links[s].Heal },
		Compact: func(rev int64) {
			_, err := cluster.Client().Compact(context.Background(), rev)
			require.NoError(t, err)
		},
	}
}

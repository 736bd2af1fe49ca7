package etcd_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed/internal/core"
	"github.com/b2552be4/distributed/internal/core/etcd"
	"github.com/b2552be4/distributed/internal/core/storetest"
	"github.com/b2552be4/distributed/internal/simetcd"
)

// weather makes everything take its time.
type weather struct{}

func (weather) Call(string, string) simetcd.Fate {
	return simetcd.Fate{Before: time.Millisecond, After: time.Millisecond}
}

func (weather) Event(string) time.Duration { return 2 * time.Millisecond }

// In virtual time, as simulations of the protocol run it.
func TestSimulatedEtcdConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Space {
		cluster := simetcd.New(weather{})
		t.Cleanup(cluster.Close)
		links := map[core.Store]*simetcd.Link{}
		return storetest.Space{
			Open: func() core.Store {
				l := cluster.Link(fmt.Sprint(len(links)))
				client, err := clientv3.New(clientv3.Config{
					Endpoints: []string{"passthrough:///etcd"}, Logger: zap.NewNop(),
					DialOptions: []grpc.DialOption{grpc.WithContextDialer(l.Dial)},
				})
				require.NoError(t, err)
				s := etcd.New(client, client.Close)
				links[s] = l
				return s
			},
			HoldRequests: func(s core.Store) func() { links[s].Hold(true, false); return links[s].Heal },
			HoldReplies:  func(s core.Store) func() { links[s].Hold(false, true); return links[s].Heal },
		}
	}, storetest.Within(synctest.Test))
}

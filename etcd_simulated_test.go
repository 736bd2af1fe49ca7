package distributed_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/simetcd"
	"github.com/b2552be4/distributed/storetest"
)

// What the simulations run on is an etcd for all that the driver asks for: it passes
// the suite that etcd passes.
func TestSimulatedETCDConforms(t *testing.T) {
	storetest.Run(t, simulatedSpace)
}

// simulatedSpace opens stores each of which has a link of its own.
func simulatedSpace(t *testing.T) storetest.Space {
	etcd := simetcd.New(promptly{})
	t.Cleanup(etcd.Close)
	links := map[distributed.Store]*simetcd.Link{}
	return storetest.Space{
		Open: func() distributed.Store {
			l := etcd.Link(fmt.Sprint("store ", len(links)))
			s, err := distributed.OpenETCDStore([]string{"etcd:2379"}, clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(l.Dial)}})
			require.NoError(t, err)
			links[s] = l
			return s
		},
		HoldRequests: func(s distributed.Store) func() { links[s].Hold(true, false); return links[s].Heal },
		HoldReplies:  func(s distributed.Store) func() { links[s].Hold(false, true); return links[s].Heal },
		Compact:      func(int64) { etcd.Compact() },
	}
}

// promptly lets messages take a millisecond.
type promptly struct{}

func (promptly) Call(string, string) simetcd.Fate {
	return simetcd.Fate{Before: time.Millisecond, After: time.Millisecond}
}

func (promptly) Event(string) time.Duration { return time.Millisecond }

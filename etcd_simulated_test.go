package distributed_test

import (
	"fmt"
	"sync/atomic"
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

// etcd counts the writes of a transaction and those in one of them together: what
// it would refuse is not sent.
func TestBatchesAreAsLargeAsETCDTakes(t *testing.T) {
	for writes, calls := range map[int]int64{1: 1, 127: 1, 128: 2, 254: 2, 300: 3} {
		counting := new(countingCalls)
		etcd := simetcd.New(counting)
		defer etcd.Close()
		s, err := distributed.OpenETCDStore([]string{"etcd:2379"}, clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(etcd.Link("node").Dial)}})
		require.NoError(t, err)
		batch := make([]distributed.Write, writes)
		for i := range batch {
			batch[i] = distributed.Write{Key: fmt.Sprint("app/", i), Value: []byte("value")}
		}
		for _, r := range s.(distributed.BatchStore).PutAll(t.Context(), batch) {
			require.NoError(t, r.Err)
		}
		require.NoError(t, s.Close())
		require.Equal(t, calls, counting.txns.Load(), "%d writes", writes)
	}
}

// countingCalls counts transactions.
type countingCalls struct{ txns atomic.Int64 }

func (c *countingCalls) Call(_, method string) simetcd.Fate {
	if method == "Txn" {
		c.txns.Add(1)
	}
	return simetcd.Fate{}
}

func (*countingCalls) Event(string) time.Duration { return 0 }

// promptly lets messages take a millisecond.
type promptly struct{}

func (promptly) Call(string, string) simetcd.Fate {
	return simetcd.Fate{Before: time.Millisecond, After: time.Millisecond}
}

func (promptly) Event(string) time.Duration { return time.Millisecond }

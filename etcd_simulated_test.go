package distributed_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// Nobody else may use the connection on which a follower waits in vain, so that the
// followers have to find out: the third gets another.
func TestAConnectionOnWhichFollowersAreGivenUpIsDropped(t *testing.T) {
	for name, goesSilent := range map[string]time.Duration{"before the first asks": 0, "when the first is told no more": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				etcd := simetcd.New(promptly{})
				defer etcd.Close()
				link := etcd.Link("node")
				var dials atomic.Int64
				dial := func(ctx context.Context, addr string) (net.Conn, error) {
					dials.Add(1)
					return link.Dial(ctx, addr)
				}
				s, err := distributed.OpenETCDStore([]string{"etcd:2379"}, clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)}})
				require.NoError(t, err)
				defer func() { require.NoError(t, s.Close()) }()
				defer link.Heal()
				_, err = s.Put(t.Context(), "app/key", nil, 0)
				require.NoError(t, err)
				time.AfterFunc(goesSilent, func() { link.Hold(true, true) })
				synctest.Wait()
				for range 2 {
					require.EqualValues(t, 1, dials.Load())
					ctx, giveUp := context.WithTimeout(t.Context(), goesSilent+300*time.Millisecond)
					require.ErrorIs(t, s.Follow(ctx, "app/", func(distributed.Step) {}), context.DeadlineExceeded)
					giveUp()
				}
				time.Sleep(10 * time.Millisecond)
				require.EqualValues(t, 2, dials.Load())
			})
		})
	}
}

// What a stream of the user's does when it is asked for its context keeps no follower
// from ending.
func TestAFollowerEndsWhateverAStreamOfTheUsersDoes(t *testing.T) {
	for name, misbehave := range map[string]func(end <-chan struct{}){
		"panics": func(<-chan struct{}) { panic("no context") },
		"blocks": func(end <-chan struct{}) { <-end },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				etcd := simetcd.New(promptly{})
				defer etcd.Close()
				end := make(chan struct{})
				s, err := distributed.OpenETCDStore([]string{"etcd:2379"}, clientv3.Config{DialOptions: []grpc.DialOption{
					grpc.WithContextDialer(etcd.Link("node").Dial),
					grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
						s, err := open(ctx, desc, cc, method, opts...)
						return contextless{s, func() { misbehave(end) }}, err
					}),
				}})
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.Error(t, s.Follow(ctx, "app/", func(distributed.Step) {}))
				close(end)
				require.NoError(t, s.Close())
			})
		})
	}
}

type contextless struct {
	grpc.ClientStream
	misbehave func()
}

func (s contextless) Context() context.Context { s.misbehave(); return s.ClientStream.Context() }

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

package distributed_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// A heartbeat is about as large as small, 64 claims as large.
var small, large = []byte(strings.Repeat("x", 300)), []byte(strings.Repeat("x", 5000))

// way is one of several ways to do the same.
type way struct {
	name string
	do   func()
}

// compare does it in all ways in turn, so that a busy machine is as busy for each,
// and reports their medians, and that of the first in those of the others.
func compare(b *testing.B, ways ...way) {
	times := make([][]time.Duration, len(ways))
	for b.Loop() {
		for i, w := range ways {
			began := time.Now()
			w.do()
			times[i] = append(times[i], time.Since(began))
		}
	}
	median := func(i int) float64 {
		slices.Sort(times[i])
		return float64(times[i][len(times[i])/2])
	}
	for i, w := range ways {
		b.ReportMetric(median(i)/1e6, w.name+"-ms")
		if i > 0 {
			b.ReportMetric(median(0)/median(i), ways[0].name+"/"+w.name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func benchStore(b *testing.B) (distributed.BatchStore, *clientv3.Client) {
	cluster := etcdtest.New(b, etcdtest.Config{})
	client, err := cluster.NewClient(clientv3.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, client.Close()) })
	return benchStoreOn(b, client), client
}

// benchStoreOn opens a store on the etcd of a client.
func benchStoreOn(b *testing.B, client *clientv3.Client) distributed.BatchStore {
	s, err := distributed.OpenETCDStore(client.Endpoints(), clientv3.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s.(distributed.BatchStore)
}

// One write after the other; etcd's own Put is the limit, txn a transaction with
// the same guard.
func BenchmarkETCDStorePut(b *testing.B) {
	s, client := benchStore(b)
	ctx := context.Background()
	rev, guard := int64(0), int64(0)
	compare(b, way{"store", func() {
		var err error
		rev, err = s.Put(ctx, "document", small, rev)
		require.NoError(b, err)
	}}, way{"limit", func() {
		_, err := client.Put(ctx, "key", string(small))
		require.NoError(b, err)
	}}, way{"txn", func() {
		resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("txn"), "=", guard)).Then(clientv3.OpPut("txn", string(small))).Commit()
		require.NoError(b, err)
		guard = resp.Header.Revision
	}})
}

// From the sending of a write to its being told to a follower, on connections of
// their own; etcd's own Put and Watch are the limit.
func BenchmarkETCDStoreFeed(b *testing.B) {
	writer, client := benchStore(b)
	follower, watcher := benchStoreOn(b, client), benchClient(b, client)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	told := make(chan int64, 1) // the first is of the listing
	wg.Go(func() {
		_ = follower.Follow(ctx, "document", func(step distributed.Step) {
			if step.Whole || len(step.Documents) > 0 {
				told <- step.Revision
			}
		})
	})
	<-told
	watch := watcher.Watch(ctx, "key", clientv3.WithCreatedNotify())
	<-watch
	rev := int64(0)
	compare(b, way{"store", func() {
		var err error
		rev, err = writer.Put(ctx, "document", small, rev)
		require.NoError(b, err)
		require.Equal(b, rev, <-told)
	}}, way{"limit", func() {
		_, err := client.Put(ctx, "key", string(small))
		require.NoError(b, err)
		<-watch
	}})
}

func benchClient(b *testing.B, like *clientv3.Client) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: like.Endpoints()})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, client.Close()) })
	return client
}

// 10,000 claims in 200 documents of 64, 5 KB each. The other ways are transactions
// that are guarded as a whole, a transaction a document, all at once, and a key a
// claim, 128 in a transaction, one after the other.
func BenchmarkETCDStoreClaims(b *testing.B) {
	s, client := benchStore(b)
	ctx := context.Background()
	compare(b,
		way{"store", putAll(b, s, 200)},
		way{"together", putGuardedTogether(b, client, 200)},
		way{"singly", putSingly(b, s, 200)},
		way{"keys", func() {
			for first := 0; first < 10_000; first += 128 {
				var ops []clientv3.Op
				for i := first; i < min(first+128, 10_000); i++ {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("key%d", i), string(small[:80])))
				}
				_, err := client.Txn(ctx).Then(ops...).Commit()
				require.NoError(b, err)
			}
		}})
}

func putAll(b *testing.B, s distributed.BatchStore, n int) func() {
	writes := make([]distributed.Write, n)
	for i := range writes {
		writes[i] = distributed.Write{Key: fmt.Sprintf("document%d", i), Value: large}
	}
	return func() {
		for i, r := range s.PutAll(context.Background(), writes) {
			require.NoError(b, r.Err)
			writes[i].Revision = r.Revision
		}
	}
}

func putGuardedTogether(b *testing.B, client *clientv3.Client, n int) func() {
	revs := make([]int64, n)
	return func() {
		var wg sync.WaitGroup
		for first := 0; first < n; first += 128 {
			part := revs[first:min(first+128, n)]
			wg.Go(func() {
				var guards []clientv3.Cmp
				var puts []clientv3.Op
				for i, rev := range part {
					key := fmt.Sprintf("together%d", first+i)
					guards = append(guards, clientv3.Compare(clientv3.ModRevision(key), "=", rev))
					puts = append(puts, clientv3.OpPut(key, string(large)))
				}
				resp, err := client.Txn(context.Background()).If(guards...).Then(puts...).Commit()
				if err != nil || !resp.Succeeded {
					b.Errorf("%v, %v", resp, err)
					return
				}
				for i := range part {
					part[i] = resp.Header.Revision
				}
			})
		}
		wg.Wait()
	}
}

func putSingly(b *testing.B, s distributed.BatchStore, n int) func() {
	revs := make([]int64, n)
	return func() {
		var wg sync.WaitGroup
		for i := range revs {
			wg.Go(func() {
				var err error
				if revs[i], err = s.Put(context.Background(), fmt.Sprintf("singly%d", i), large, revs[i]); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// From the call of Follow to the first change behind a listing of 10,000 claims,
// while somebody writes without a pause. The other way is to list first and to
// watch then.
func BenchmarkETCDStoreJoin(b *testing.B) {
	s, client := benchStore(b)
	putAll(b, s, 200)()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for rev := int64(0); ctx.Err() == nil; {
			rev, _ = s.Put(ctx, "document", small, rev)
		}
	})
	compare(b, way{"store", func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_ = s.Follow(ctx, "document", func(step distributed.Step) {
			if !step.Whole {
				cancel()
			}
		})
	}}, way{"listed-first", func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		listed, err := client.Get(ctx, "document", clientv3.WithPrefix())
		require.NoError(b, err)
		<-client.Watch(ctx, "document", clientv3.WithPrefix(), clientv3.WithRev(listed.Header.Revision+1))
	}})
}

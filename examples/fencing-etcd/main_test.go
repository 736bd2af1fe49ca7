package main

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheLateWriteIsRejected(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var out strings.Builder
	require.NoError(t, run(t.Context(), cluster.Endpoints(), &out))
	require.Regexp(t, `^node-1 leads, with token \d+, and has deposited 100
node-1 leads \(true\) and is about to write 150, when it freezes
node-2 leads, with token \d+, and has deposited 20
node-1 wakes and writes 150: rejected, as a later leader has claimed the store
the account holds 120
$`, out.String())
}

// Leaders of all tokens write at once, in any order. From the history that etcd
// keeps it must follow that no write came after a claim of a later leader.
func TestNoWriteIsAcceptedAfterALaterClaim(t *testing.T) {
	const leaders, writes = 20, 10
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	s := newStore(cluster.Client(), "test/")
	var wg sync.WaitGroup
	for token := 1; token <= leaders; token++ {
		wg.Go(func() {
			err := s.claim(t.Context(), int64(token))
			for i := 0; i < writes && err == nil; i++ {
				err = s.write(t.Context(), int64(token), "x", token)
			}
			if !errors.Is(err, errStale) {
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.ErrorIs(t, s.write(t.Context(), leaders-1, "x", leaders-1), errStale)
	require.ErrorIs(t, s.claim(t.Context(), leaders-1), errStale)
	require.NoError(t, s.claim(t.Context(), leaders), "claiming again is harmless")
	require.NoError(t, s.write(t.Context(), leaders, "x", leaders))

	last, err := s.read(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, leaders, last)
	guard := ""
	for _, e := range history(t, cluster.Client(), "test/") {
		if string(e.Kv.Key) == s.guard {
			guard = string(e.Kv.Value)
			continue
		}
		require.Equal(t, guard, string(e.Kv.Value), "written at revision %d", e.Kv.ModRevision)
	}
}

// history returns all changes below prefix so far.
func history(t *testing.T, client *clientv3.Client, prefix string) (events []*clientv3.Event) {
	now, err := client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	for resp := range client.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		require.NoError(t, resp.Err())
		events = append(events, resp.Events...)
		if resp.Header.Revision >= now.Header.Revision {
			break
		}
	}
	return events
}

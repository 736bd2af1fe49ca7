package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRequestsFindTheNodeOfTheirShard(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var out strings.Builder
	require.NoError(t, run(t.Context(), cluster.Endpoints(), &out))
	before, after, ok := strings.Cut(out.String(), "node-2 has stopped, and node-1 is asked again:\n")
	require.True(t, ok, out.String())

	answer := regexp.MustCompile(`(?m)^  /(\w+) +(shard-\d), on (node-\d)(, passed on by node-1)?$`)
	first, second := answer.FindAllStringSubmatch(before, -1), answer.FindAllStringSubmatch(after, -1)
	require.Len(t, first, 6, before)
	require.Len(t, second, 6, after)
	for i := range first {
		key, shard, node := first[i][1], first[i][2], first[i][3]
		require.Equal(t, shardOf(key), shard)
		require.Equal(t, shard, second[i][2], "a key stays in its shard")
		require.Equal(t, node != "node-1", first[i][4] != "", "passed on if node-1 does not run it: %s", first[i][0])
		require.NotEqual(t, "node-2", second[i][3])
		if node != "node-2" {
			require.Equal(t, node, second[i][3], "only the shards of node-2 have moved")
		}
	}
}

func TestARequestIsPassedOnOnceOnly(t *testing.T) {
	calls := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	defer other.Close()
	provider := distributed.NewMemoryLeaseProvider(nil)
	shard := distributed.Job{Name: shardOf("apples"), Work: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	processor := distributed.NewLeadershipBasedJobProcessor(app, "node-2", provider, []distributed.Job{shard},
		distributed.WithMetadata(map[string]string{"address": other.URL}), distributed.WithLoadBalancing())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, processor.Execute(ctx)) })
	defer running.Wait()
	defer cancel()
	observer, err := distributed.Observe(t.Context(), app, provider)
	require.NoError(t, err)
	defer observer.Close()
	for leaders := range observer.Updates(t.Context()) {
		if len(leaders) == 1 {
			break
		}
	}

	n := &node{name: "node-1", observer: observer}
	ask := func(by string) int {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/apples", nil)
		request.Header.Set(passedOn, by)
		answer := httptest.NewRecorder()
		n.ServeHTTP(answer, request)
		return answer.Code
	}
	require.Equal(t, http.StatusOK, ask(""))
	require.Equal(t, 1, calls)
	require.Equal(t, http.StatusServiceUnavailable, ask("node-3"), "who passed it on saw another leader")
	require.Equal(t, 1, calls)
	http.DefaultClient.CloseIdleConnections()
	other.Close()
	require.Equal(t, http.StatusServiceUnavailable, ask(""), "the leader is away")
}

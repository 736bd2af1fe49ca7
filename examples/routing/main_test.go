package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/b2552be4/distributed/internal/etcdtest"
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

	answer := regexp.MustCompile(`(?m)^  /(\w+) +(shard-\d), on (node-\d)(, passed on)?$`)
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

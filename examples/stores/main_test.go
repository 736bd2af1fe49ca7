package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNoJobRunsTwiceOnTheStoreOfTheURL(t *testing.T) {
	cluster, err := etcdtest.Start(t.Context(), etcdtest.Config{})
	require.NoError(t, err)
	defer cluster.Close()
	provide, err := parse("etcd://" + strings.TrimPrefix(cluster.Endpoints()[0], "http://"))
	require.NoError(t, err)
	var out bytes.Buffer
	ok, err := show(t.Context(), provide, 4*time.Second, &out)
	require.NoError(t, err)
	require.True(t, ok, out.String())
	require.Contains(t, out.String(), "node-3 is restarted")
}

func TestWhatIsNoStoreIsAnError(t *testing.T) {
	for _, store := range []string{"", "redis://x", "nats://x?replicas=many", "nats://x?replica=1", "kubernetes://x?context=other"} {
		_, err := parse(store)
		require.Error(t, err, store)
	}
}

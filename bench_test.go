package distributed_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func BenchmarkLeadership(b *testing.B) {
	cluster := etcdtest.New(b, etcdtest.Config{UnsafeNoFsync: true})
	c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider(cluster.Endpoints()))
	defer func() { require.NoError(b, c.Close()) }()
	l, err := c.Campaign(b.Context(), "x")
	require.NoError(b, err)
	b.Run("Valid", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !l.Valid() {
				b.Fatal("lost")
			}
		}
	})
	b.Run("FromContext", func(b *testing.B) {
		b.ReportAllocs()
		ctx := l.Context()
		for b.Loop() {
			if _, ok := distributed.LeadershipFromContext(ctx); !ok {
				b.Fatal("not there")
			}
		}
	})
}

//go:build unix

package nodetest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/leasetest"
)

// Leases returns what the package leasetest checks on a store that open opens.
func Leases(t *testing.T, open distributed.OpenStore) leasetest.Store {
	const ttl = 5 * time.Second
	store, err := open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	var writes atomic.Int64
	return leasetest.Store{
		Provider: func() distributed.LeaseProvider {
			return distributed.NewLeaseProvider(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
				s, err := open(ctx, req)
				return counted{s, &writes}, err
			}, distributed.WithLeaseTTL(ttl))
		},
		TTL:   ttl,
		Calls: func() int { return int(writes.Load()) },
	}.OnDocuments(t, store)
}

// counted counts writes.
type counted struct {
	distributed.Store
	writes *atomic.Int64
}

func (c counted) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	c.writes.Add(1)
	return c.Store.Put(ctx, key, value, rev)
}

func (c counted) Delete(ctx context.Context, key string, rev int64) error {
	c.writes.Add(1)
	return c.Store.Delete(ctx, key, rev)
}

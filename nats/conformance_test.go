//go:build unix

package nats

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/leasetest"
	"github.com/b2552be4/distributed/storetest"
)

func TestStoreConformsOnOneServer(t *testing.T)    { storeConforms(t, 1) }
func TestStoreConformsOnThreeServers(t *testing.T) { storeConforms(t, 3) }

func storeConforms(t *testing.T, members int) {
	t.Parallel()
	c := startCluster(t, members)
	storetest.Run(t, func(t *testing.T) storetest.Space { return c.space(t) })
}

func TestProviderConformsOnOneServer(t *testing.T)    { providerConforms(t, 1) }
func TestProviderConformsOnThreeServers(t *testing.T) { providerConforms(t, 3) }

func providerConforms(t *testing.T, members int) {
	t.Parallel()
	c := startCluster(t, members)
	c.open(c.config()).Close()
	leasetest.Run(t, func(t *testing.T) leasetest.Store {
		t.Parallel()
		const ttl = 3 * time.Second
		store := c.open(c.config())
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		var writes atomic.Int64
		return leasetest.Store{
			Provider: func() distributed.LeaseProvider {
				return distributed.NewLeaseProvider(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
					s, err := c.config().open(ctx, req)
					return counted{s, &writes}, err
				}, distributed.WithLeaseTTL(ttl))
			},
			TTL:   ttl,
			Calls: func() int { return int(writes.Load()) },
		}.OnDocuments(t, store)
	})
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

//go:build unix

package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/leasetest"
	"github.com/b2552be4/distributed/postgres"
	"github.com/b2552be4/distributed/storetest"
)

// open opens a store, and closes it when the test ends.
func open(t *testing.T, config postgres.Config) distributed.Store {
	t.Helper()
	s, err := postgres.OpenStore(config)(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	storetest.Run(t, func(t *testing.T) storetest.Space {
		t.Parallel()
		return space(t, s, s.addr)
	})
}

// A pooler that gives each transaction another server process lets no notification
// through.
func TestStoreConformsBehindAPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	addr, _ := s.bouncer("transaction")
	storetest.Run(t, func(t *testing.T) storetest.Space {
		t.Parallel()
		return space(t, s, addr)
	})
}

// space has a network of its own for each store.
func space(t *testing.T, s *server, addr string) storetest.Space {
	var mu sync.Mutex
	links := map[distributed.Store]*link.Link{}
	hold := func(hold func(*link.Link)) func(distributed.Store) func() {
		return func(store distributed.Store) func() {
			mu.Lock()
			defer mu.Unlock()
			l := links[store]
			hold(l)
			return l.Heal
		}
	}
	return storetest.Space{
		Open: func() distributed.Store {
			l := linkTo(t, addr)
			store, err := postgres.OpenStore(s.at(l.Addr()))(context.Background(), distributed.LeaseRequest{Instance: "test"})
			require.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			links[store] = l
			return store
		},
		HoldRequests: hold((*link.Link).HoldUp),
		HoldReplies:  hold((*link.Link).HoldDown),
		Compact: func(rev int64) {
			s.exec("WITH gone AS (DELETE FROM S.document WHERE value IS NULL AND rev <= $1) UPDATE S.counter SET floor = greatest(floor, $1)", rev)
		},
	}
}

func TestProviderConforms(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	leasetest.Run(t, func(t *testing.T) leasetest.Store {
		t.Parallel()
		return leases(t, s, s.addr)
	})
}

func leases(t *testing.T, s *server, addr string) leasetest.Store {
	const ttl = 3 * time.Second
	return leasetest.Store{
		Provider: func() distributed.LeaseProvider {
			return postgres.NewLeaseProvider(s.at(addr), distributed.WithLeaseTTL(ttl))
		},
		TTL: ttl,
	}.OnDocuments(t, open(t, s.at(addr)))
}

//go:build unix

package postgres_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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
	s, err := postgres.OpenStore(config)(t.Context(), distributed.LeaseRequest{})
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
			store, err := postgres.OpenStore(s.at(l.Addr()))(context.Background(), distributed.LeaseRequest{})
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
	o := &owner{t: t, server: s, conn: s.connect()}
	return leasetest.Store{
		Provider: func() distributed.LeaseProvider {
			return postgres.NewLeaseProvider(s.at(addr), distributed.WithLeaseTTL(ttl))
		},
		TTL:             ttl,
		Expire:          o.deleteNodes,
		RemoveCandidate: o.deleteClaims,
		Candidates:      o.countClaims,
	}
}

// owner does what an operator could, who reads the documents and knows their names.
// It may be used by another goroutine than the test's.
type owner struct {
	t      *testing.T
	server *server
	mu     sync.Mutex
	conn   *pgx.Conn
}

// documents calls each with what there is below app/kind/, by the rest of the key.
func (o *owner) documents(app, kind string, each func(name string, value []byte)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	prefix := app + "/" + kind + "/"
	rows, err := o.conn.Query(context.Background(), o.server.sql("SELECT key, value FROM S.document WHERE starts_with(key, $1) AND value IS NOT NULL"), prefix)
	if o.check(err); err != nil {
		return
	}
	var key, value string
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		each(strings.TrimPrefix(key, prefix), []byte(value))
		return nil
	})
	o.check(err)
}

// nodes returns the ids of those called instance, and of all for "", that live.
func (o *owner) nodes(app, instance string) map[string]bool {
	ids := map[string]bool{}
	o.documents(app, "nodes", func(id string, value []byte) {
		var node struct{ Instance, State string }
		o.check(json.Unmarshal(value, &node))
		if node.State == "" && (instance == "" || node.Instance == instance) {
			ids[id] = true
		}
	})
	return ids
}

// claims returns the names of the documents in which live nodes called instance claim
// the election.
func (o *owner) claims(app, election, instance string) (names []string) {
	live := o.nodes(app, instance)
	o.documents(app, "claims", func(name string, value []byte) {
		var document struct{ Claims map[string]int64 }
		o.check(json.Unmarshal(value, &document))
		id, _, _ := strings.Cut(name, "/")
		if _, claimed := document.Claims[election]; claimed && live[id] {
			names = append(names, name)
		}
	})
	return names
}

// remove deletes a document whatever its revision is.
func (o *owner) remove(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for at := int64(-1); at < 0; { // it may be changing
		o.check(o.conn.QueryRow(context.Background(), o.server.sql("SELECT S.put(key, NULL, rev) FROM S.document WHERE key = $1 AND value IS NOT NULL UNION ALL SELECT 0 LIMIT 1"), key).Scan(&at))
	}
}

func (o *owner) deleteNodes(app, instance string) {
	for id := range o.nodes(app, instance) {
		o.remove(app + "/nodes/" + id)
	}
}

func (o *owner) deleteClaims(app, election, instance string) {
	names := o.claims(app, election, instance)
	require.Len(o.t, names, 1)
	o.remove(app + "/claims/" + names[0])
}

func (o *owner) countClaims(app, election string) int { return len(o.claims(app, election, "")) }

// check is for any goroutine.
func (o *owner) check(err error) {
	if err != nil {
		o.t.Error(err)
	}
}

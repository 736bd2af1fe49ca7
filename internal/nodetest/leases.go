//go:build unix

package nodetest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
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
	store, err := open(t.Context(), distributed.LeaseRequest{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	o := owner{t, store}
	var writes atomic.Int64
	return leasetest.Store{
		Provider: func() distributed.LeaseProvider {
			return distributed.NewLeaseProvider(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
				s, err := open(ctx, req)
				return counted{s, &writes}, err
			}, distributed.WithLeaseTTL(ttl))
		},
		TTL:             ttl,
		Expire:          func(app, instance string) { o.delete(app+"/nodes/", func() []string { return o.nodes(app, instance) }) },
		RemoveCandidate: o.deleteClaims,
		Candidates:      func(app, election string) int { return len(o.claims(app, election, "")) },
		Calls:           func() int { return int(writes.Load()) },
	}
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

// owner does what an operator could, who reads the documents and knows their names.
// It may be used by another goroutine than the test's.
type owner struct {
	t     *testing.T
	store distributed.Store
}

// documents returns what there is below prefix, by the rest of the key.
func (o owner) documents(prefix string) map[string]distributed.Document {
	all := map[string]distributed.Document{}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := o.store.Follow(ctx, prefix, 0, func(s distributed.Step) {
		if !s.Whole || ctx.Err() != nil {
			return
		}
		for _, d := range s.Documents {
			all[strings.TrimPrefix(d.Key, prefix)] = d
		}
		cancel()
	})
	o.check(err, context.Canceled)
	return all
}

// check is for any goroutine.
func (o owner) check(err, but error) {
	if err != nil && !errors.Is(err, but) {
		o.t.Error(err)
	}
}

// nodes returns the ids of those called instance, and of all for "", that live.
func (o owner) nodes(app, instance string) (ids []string) {
	for id, d := range o.documents(app + "/nodes/") {
		var node struct{ Instance, State string }
		o.check(json.Unmarshal(d.Value, &node), nil)
		if node.State == "" && (instance == "" || node.Instance == instance) {
			ids = append(ids, id)
		}
	}
	return ids
}

// claims returns the names of the documents in which live nodes called instance claim
// the election.
func (o owner) claims(app, election, instance string) (names []string) {
	live := o.nodes(app, instance)
	for name, d := range o.documents(app + "/claims/") {
		var document struct{ Claims map[string]int64 }
		o.check(json.Unmarshal(d.Value, &document), nil)
		for _, id := range live {
			if _, claimed := document.Claims[election]; claimed && strings.HasPrefix(name, id+"/") {
				names = append(names, name)
			}
		}
	}
	return names
}

// delete deletes those of the documents that there are, however often they are
// written meanwhile.
func (o owner) delete(prefix string, names func() []string) {
	for _, name := range names() {
		for {
			d, ok := o.documents(prefix)[name]
			if !ok {
				break
			}
			err := o.store.Delete(context.Background(), d.Key, d.Revision)
			if _, refused := errors.AsType[*distributed.ConflictError](err); !refused {
				o.check(err, nil)
				break
			}
		}
	}
}

func (o owner) deleteClaims(app, election, instance string) {
	o.delete(app+"/claims/", func() []string {
		names := o.claims(app, election, instance)
		require.Len(o.t, names, 1)
		return names
	})
}

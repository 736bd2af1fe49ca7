//go:build unix

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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
		o := newOwner(t, c)
		var writes atomic.Int64
		return leasetest.Store{
			Provider: func() distributed.LeaseProvider {
				return distributed.NewLeaseProvider(func(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
					s, err := c.config().open(ctx, req)
					return counted{s, &writes}, err
				}, distributed.WithLeaseTTL(o.ttl))
			},
			TTL:             o.ttl,
			Expire:          o.deleteNodes,
			RemoveCandidate: o.deleteClaims,
			Candidates:      func(app, election string) int { return len(o.claims(app, election, "")) },
			Calls:           func() int { return int(writes.Load()) },
		}
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

// owner does what an operator could, who reads the documents and knows their names.
// It may be used by another goroutine than the test's.
type owner struct {
	t     *testing.T
	store distributed.Store
	ttl   time.Duration
}

func newOwner(t *testing.T, c *cluster) *owner {
	o := &owner{t: t, store: c.open(c.config()), ttl: 3 * time.Second}
	t.Cleanup(func() { require.NoError(t, o.store.Close()) })
	return o
}

// documents returns what there is below prefix.
func (o *owner) documents(prefix string) (all []distributed.Document) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := o.store.Follow(ctx, prefix, 0, func(s distributed.Step) {
		if s.Whole {
			all = s.Documents
			cancel()
		}
	})
	o.check(err, context.Canceled)
	return all
}

// check is for any goroutine.
func (o *owner) check(err, but error) {
	if err != nil && !errors.Is(err, but) {
		o.t.Error(err)
	}
}

// nodes returns those called instance, and all for "", that live, by id.
func (o *owner) nodes(app, instance string) map[string]distributed.Document {
	nodes := map[string]distributed.Document{}
	for _, d := range o.documents(app + "/nodes/") {
		var node struct{ Instance, State string }
		o.check(json.Unmarshal(d.Value, &node), nil)
		if node.State == "" && (instance == "" || node.Instance == instance) {
			nodes[strings.TrimPrefix(d.Key, app+"/nodes/")] = d
		}
	}
	return nodes
}

// claims returns the documents in which live nodes called instance claim the election.
func (o *owner) claims(app, election, instance string) (claims []distributed.Document) {
	live := o.nodes(app, instance)
	for _, d := range o.documents(app + "/claims/") {
		var document struct{ Claims map[string]int64 }
		o.check(json.Unmarshal(d.Value, &document), nil)
		id, _, _ := strings.Cut(strings.TrimPrefix(d.Key, app+"/claims/"), "/")
		_, lives := live[id]
		if _, claimed := document.Claims[election]; claimed && lives {
			claims = append(claims, d)
		}
	}
	return claims
}

// delete is by hand: whatever is there.
func (o *owner) delete(d distributed.Document) {
	o.check(o.store.(*store).conn.PublishMsg(&nats.Msg{Subject: o.store.(*store).subject(d.Key)}), nil)
	o.check(o.store.(*store).conn.Flush(), nil)
}

func (o *owner) deleteNodes(app, instance string) {
	for _, d := range o.nodes(app, instance) {
		o.delete(d)
	}
}

func (o *owner) deleteClaims(app, election, instance string) {
	claims := o.claims(app, election, instance)
	require.Len(o.t, claims, 1)
	o.delete(claims[0])
}

//go:build unix

package kubernetes

import (
	"testing"

	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/leasetest"
	"github.com/b2552be4/distributed/storetest"
)

// All that leaves the servers alone runs on two API servers on one etcd, as each is
// ahead of the other at times.
func TestOnServersThatAreWell(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	t.Run("store conforms", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) storetest.Space { return c.space(t) })
	})
	t.Run("provider conforms", func(t *testing.T) {
		t.Parallel()
		leasetest.Run(t, func(t *testing.T) leasetest.Store {
			t.Parallel()
			return nodetest.Leases(t, c.config(0).open)
		})
	})
	t.Run("faults of nodes", func(t *testing.T) { faultsOfNodes(t, c) })
	for name, test := range map[string]func(*testing.T, *cluster){
		"a node reads well in kubectl":                        readsWell,
		"a late update does not bring back what was deleted":  lateUpdate,
		"what strangers do to a Lease is shown":               strangers,
		"followers of an idle server hear that it lives":      idle,
		"the manifest is enough, and who has less is told so": manifest,
		"a lease outlives an API server that throttles":       throttled,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

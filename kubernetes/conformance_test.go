//go:build unix

package kubernetes

import (
	"testing"

	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/leasetest"
	"github.com/b2552be4/distributed/storetest"
)

// Two API servers on one etcd, as each is ahead of the other at times.
func TestConforms(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	t.Run("Store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Space { return c.space(t) })
	})
	t.Run("Provider", func(t *testing.T) {
		leasetest.Run(t, func(t *testing.T) leasetest.Store {
			t.Parallel()
			return nodetest.Leases(t, c.config(0).open)
		})
	})
}

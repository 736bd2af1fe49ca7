//go:build unix

package nats

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/nodetest"
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
	require.NoError(t, c.open(c.config()).Close()) // the stream is there
	leasetest.Run(t, func(t *testing.T) leasetest.Store {
		t.Parallel()
		return nodetest.Leases(t, c.config().open)
	})
}

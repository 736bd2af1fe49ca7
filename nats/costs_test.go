//go:build unix

package nats

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/nodetest"
)

// For the table in docs/stores.md: on servers that write to disk before they confirm.
func BenchmarkCosts(b *testing.B) {
	for _, members := range []int{1, 3} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			configs := memberConfigs(b, members)
			for i := range configs {
				configs[i].Sync = true
			}
			c := startMembers(b, configs)
			require.NoError(b, c.open(c.config()).Close()) // the stream is there
			nodetest.Costs(b, c.config().open)
		})
	}
}

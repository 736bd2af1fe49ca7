//go:build unix

package kubernetes

import (
	"testing"

	"github.com/b2552be4/distributed/internal/nodetest"
)

// For the table in docs/stores.md.
func BenchmarkCosts(b *testing.B) { nodetest.Costs(b, startCluster(b, 1).config(0).open) }

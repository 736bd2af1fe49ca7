//go:build unix

package postgres_test

import (
	"testing"

	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/postgres"
)

// For the table in docs/stores.md.
func BenchmarkCosts(b *testing.B) { nodetest.Costs(b, postgres.OpenStore(commonServer(b).config())) }

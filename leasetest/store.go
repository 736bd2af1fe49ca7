package leasetest

import (
	"testing"
	"time"

	"github.com/b2552be4/distributed"
)

// Store is a store with what only its owner can do to it. Each case gets a Store
// of its own, and uses names of apps that no other case does: so the stores may
// share a server.
//
// The functions may block, and may fail the test that the Store was made for.
type Store struct {
	// Provider returns the provider of one more node. Required.
	Provider func() distributed.LeaseProvider

	// TTL is how long the lease of a node that has gone silent keeps others
	// waiting. Required.
	TTL time.Duration

	// Expire takes the lease of the node instance of app away, as the store
	// does when a lease runs out, while the node is alive and in reach.
	// Required.
	Expire func(app, instance string)

	// DeleteCandidate removes what the node instance of app has in the store
	// for its place in the election, behind the node's back. Required.
	DeleteCandidate func(app, election, instance string)

	// Candidates returns how many candidates the store knows in the election,
	// the leader included. It is asked, again and again, while a case waits for
	// campaigns to arrive in the store or to be withdrawn; no lease has been
	// lost then. Required.
	Candidates func(app, election string) int

	// Calls returns how many calls all nodes together have made to the store so
	// far, without those that acquire or renew leases. The case that needs it is
	// skipped when it is nil.
	Calls func() int
}

func (s Store) require(t testing.TB) {
	t.Helper()
	for field, missing := range map[string]bool{
		"Provider":        s.Provider == nil,
		"TTL":             s.TTL <= 0,
		"Expire":          s.Expire == nil,
		"DeleteCandidate": s.DeleteCandidate == nil,
		"Candidates":      s.Candidates == nil,
	} {
		if missing {
			t.Fatalf("leasetest: Store.%s is required", field)
		}
	}
}

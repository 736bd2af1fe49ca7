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
// The functions of a Store are called one at a time, and no more when its case
// has ended; those of the Stores of parallel cases run at the same time. They may
// block. They may fail the test that the Store was made for, all but Expire at
// once, with Fatal or FailNow.
type Store struct {
	// Provider returns the provider of one more node. A case closes the leases
	// that it acquires there, and nothing else. Required.
	Provider func() distributed.LeaseProvider

	// TTL is how long the lease of a node that has gone silent keeps others
	// waiting. The cases wait that long now and then, and give what must happen a
	// minute and five TTLs. Required, above 0.
	TTL time.Duration

	// Expire ends the lease of the node instance of app behind the node's back,
	// while it is alive and in reach: with documents, by deleting what tells that the
	// node is alive, <app>/nodes/<id>. Nothing happens if it has ended already. Expire
	// may return before the node knows. It may be called from another goroutine than
	// the test's, where FailNow does not end the test: it must report with Error
	// or Errorf that it failed. Required.
	Expire func(app, instance string)

	// RemoveCandidate removes what the node instance of app has in the store
	// for its place in the election, behind the node's back: with documents, by
	// deleting or changing the <app>/claims/<id>/<k> that has the election's name. That
	// may end the node's whole lease. It may return before the node knows. Required.
	RemoveCandidate func(app, election, instance string)

	// Candidates returns how many candidates the store knows in the election,
	// the leader included. It is asked, every few milliseconds, while a case waits
	// for campaigns to arrive in the store or to be withdrawn; no lease has been
	// lost then. Required.
	Candidates func(app, election string) int

	// Calls returns how many calls all nodes together have made to the store so
	// far, or how many of those that cost it most, such as writes. Those that renew
	// leases may be among them. The case that needs it is skipped when it is nil.
	Calls func() int
}

func (s Store) require(t testing.TB) {
	t.Helper()
	for field, missing := range map[string]bool{
		"Provider":        s.Provider == nil,
		"TTL":             s.TTL <= 0,
		"Expire":          s.Expire == nil,
		"RemoveCandidate": s.RemoveCandidate == nil,
		"Candidates":      s.Candidates == nil,
	} {
		if missing {
			t.Fatalf("leasetest: Store.%s is required", field)
		}
	}
}

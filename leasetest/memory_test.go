package leasetest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/leasetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryLeaseProviderConforms(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) leasetest.Store {
		hub := new(distributed.MemoryHub)
		return leasetest.Store{
			Provider:        func() distributed.LeaseProvider { return distributed.NewMemoryLeaseProvider(hub) },
			TTL:             10 * time.Second,
			Expire:          func(_, instance string) { hub.Expire(instance) },
			DeleteCandidate: func(app, election, instance string) { hub.RemoveCandidate(app, election, instance) },
			Candidates:      func(app, election string) int { return len(hub.Candidates(app, election)) },
			Calls:           hub.Calls,
		}
	}, leasetest.Within(synctest.Test))
}

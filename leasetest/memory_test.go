package leasetest_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
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
			RemoveCandidate: func(app, election, instance string) { hub.RemoveCandidate(app, election, instance) },
			Candidates:      func(app, election string) int { return len(hub.Candidates(app, election)) },
			Calls:           hub.Writes,
		}
	}, leasetest.Within(synctest.Test))
}

func TestTheFunctionsOfAStoreAreCalledOneAtATime(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) leasetest.Store {
		hub := new(distributed.MemoryHub)
		var busy atomic.Bool
		call := func() (returns func()) {
			if busy.Swap(true) {
				t.Error("called while another function of the store runs")
			}
			time.Sleep(time.Millisecond)
			return func() { busy.Store(false) }
		}
		t.Cleanup(func() { require.False(t, busy.Load(), "a function of the store runs after the case") })
		return leasetest.Store{
			Provider: func() distributed.LeaseProvider {
				defer call()()
				return distributed.NewMemoryLeaseProvider(hub)
			},
			TTL: 10 * time.Second,
			Expire: func(_, instance string) {
				defer call()()
				hub.Expire(instance)
				time.Sleep(time.Second) // long after the loss is known
			},
			RemoveCandidate: func(app, election, instance string) {
				defer call()()
				hub.RemoveCandidate(app, election, instance)
			},
			Candidates: func(app, election string) int {
				defer call()()
				return len(hub.Candidates(app, election))
			},
			Calls: func() int {
				defer call()()
				return hub.Writes()
			},
		}
	}, leasetest.Within(synctest.Test))
}

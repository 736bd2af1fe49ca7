package distributed

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed/internal/simetcd"
)

// A node that starts when all others have crashed finds their node keys, which do
// not say when they were written last: it has to watch them for a whole wait. The
// one that comes after it finds a node that is alive, and that the others are gone.
func TestANodeThatStartsAloneAfterACrashWaitsFromItsOwnStart(t *testing.T) {
	for _, ago := range []time.Duration{time.Minute, 24 * time.Hour} {
		t.Run(ago.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				etcd := simetcd.New(promptly{})
				defer etcd.Close()
				first, link := simConcurrency(etcd, "first")
				_, err := first.Campaign(t.Context(), "x")
				require.NoError(t, err)
				link.Kill()
				require.Error(t, first.Close(), "it can tell nobody")
				time.Sleep(ago)

				second, _ := simConcurrency(etcd, "second")
				wait := timeToLead(t, second, "x")
				require.InDelta(t, 10.2, wait.Seconds(), 0.05, "T(1+ρ), however long ago the crash was")
				require.Less(t, timeToLead(t, second, "y"), 50*time.Millisecond)

				time.Sleep(defaultLeaseTTL) // in which it cleans up
				third, _ := simConcurrency(etcd, "third")
				require.Less(t, timeToLead(t, third, "z"), 50*time.Millisecond)
				require.NoError(t, third.Close())
				require.NoError(t, second.Close())
			})
		})
	}
}

func timeToLead(t *testing.T, c *Concurrency, name string) time.Duration {
	start := time.Now()
	_, err := c.Campaign(t.Context(), name)
	require.NoError(t, err)
	return time.Since(start)
}

// simConcurrency is a node on a simulated etcd, with the default TTL and drift.
func simConcurrency(etcd *simetcd.Cluster, instance string) (*Concurrency, *simetcd.Link) {
	link := etcd.Link(instance)
	provider := NewETCDLeaseProvider([]string{"etcd"},
		WithETCDConfig(clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(link.Dial)}}),
		func(p *etcdProvider) {
			p.newClock = func() *clock {
				return &clock{tell: time.Now, start: time.Now(), boot: func() (time.Duration, bool) { return 0, false }}
			}
		})
	return NewConcurrency("app", instance, provider), link
}

// promptly is an etcd that is well, and a millisecond away.
type promptly struct{}

func (promptly) Call(string, string) simetcd.Fate {
	return simetcd.Fate{Before: time.Millisecond, After: time.Millisecond}
}

func (promptly) Event(string) time.Duration { return time.Millisecond }

//go:build unix

package kubernetes

import (
	"context"
	"flag"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/client-go/rest"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/kubernetes/internal/apiserver"
	"github.com/b2552be4/distributed/storetest"
)

func TestMain(m *testing.M) {
	nodetest.RunRole(func(servers []string, opts ...distributed.LeaseOption) distributed.LeaseProvider {
		return NewLeaseProvider(Config{REST: &rest.Config{
			Host: "https://" + servers[0], BearerToken: apiserver.Token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // it is on this machine
		}, Namespace: "default"}, opts...)
	}, apiserver.Roles())
	// The tests mostly wait, so more of them run at a time than there are cores.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/b2552be4/distributed/internal/process.spawnAll"))
}

// executable builds the servers.
var executable = sync.OnceValues(func() (string, error) { return apiserver.Build("testdata/server") })

// cluster is an etcd with an API server or more.
type cluster struct {
	*apiserver.Cluster
	t testing.TB
}

func startCluster(t testing.TB, servers int, flags ...string) *cluster {
	program, err := executable()
	require.NoError(t, err)
	c, err := apiserver.Start(program, t.TempDir(), servers, flags...)
	t.Cleanup(c.Kill)
	require.NoError(t, err)
	return &cluster{c, t}
}

func (c *cluster) config(i int) Config {
	return Config{REST: c.Servers[i].REST(c.Servers[i].Addr), Namespace: "default"}
}

// space opens stores each of which has a link of its own, to one of the API servers.
func (c *cluster) space(t *testing.T) storetest.Space {
	links := map[distributed.Store]*link.Link{}
	return storetest.Space{
		Open: func() distributed.Store {
			a := c.Servers[len(links)%len(c.Servers)]
			l, err := link.New(a.Addr)
			require.NoError(t, err)
			s, err := Config{REST: a.REST(l.Addr()), Namespace: "default"}.open(context.Background(), distributed.LeaseRequest{})
			require.NoError(t, err)
			links[s] = l
			t.Cleanup(l.Close)
			return s
		},
		TooLarge:     256<<10 + 1,
		HoldRequests: func(s distributed.Store) func() { links[s].HoldUp(); return links[s].Heal },
		HoldReplies:  func(s distributed.Store) func() { links[s].HoldDown(); return links[s].Heal },
	}
}

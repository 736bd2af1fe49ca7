//go:build unix

package nats

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/storetest"
)

func TestMain(m *testing.M) {
	runRole()
	// The tests mostly wait, so more of them run at a time than there are cores.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/b2552be4/distributed/internal/process.spawnAll"))
}

// cluster is one server, or three.
type cluster struct {
	t       testing.TB
	configs []memberConfig
	members []*server.Server
}

func startCluster(t testing.TB, members int) *cluster {
	return startMembers(t, memberConfigs(t, members))
}

func startMembers(t testing.TB, configs []memberConfig) *cluster {
	c := &cluster{t: t, members: make([]*server.Server, len(configs)), configs: configs}
	for i := range c.configs {
		s, err := server.NewServer(c.configs[i].options())
		require.NoError(t, err)
		s.Start()
		require.True(t, s.ReadyForConnections(20*time.Second))
		c.members[i] = s
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}
	c.await()
	return c
}

// memberConfig is what a server is told.
type memberConfig struct {
	Name, Dir   string
	Port, Route int
	Routes      string
	Sync        bool // each write is on disk before it is confirmed
}

func (c memberConfig) addr() string { return fmt.Sprintf("127.0.0.1:%d", c.Port) }

func (c memberConfig) options() *server.Options {
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Port, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: c.Dir, SyncAlways: c.Sync,
	}
	if c.Routes != "" {
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: c.Route}
		o.Routes = server.RoutesFromStr(c.Routes)
	}
	return o
}

func memberConfigs(t testing.TB, members int) (configs []memberConfig) {
	dir := t.TempDir()
	var routes []string
	for i := range members {
		c := memberConfig{Name: fmt.Sprintf("m%d", i), Dir: filepath.Join(dir, fmt.Sprint(i)), Port: freePort(t), Route: freePort(t)}
		configs = append(configs, c)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", c.Route))
	}
	for i := range members {
		if members > 1 {
			configs[i].Routes = strings.Join(routes, ",")
		}
	}
	return configs
}

func freePort(t testing.TB) (port int) {
	addr, err := link.FreeAddr()
	require.NoError(t, err)
	_, err = fmt.Sscanf(addr, "127.0.0.1:%d", &port)
	require.NoError(t, err)
	return port
}

// await waits until the servers have found one another.
func (c *cluster) await() {
	require.Eventually(c.t, func() bool {
		for _, m := range c.members {
			if len(c.members) > 1 && m.JetStreamIsLeader() && len(m.JetStreamClusterPeers()) == len(c.members) {
				return true
			}
		}
		return len(c.members) == 1
	}, 30*time.Second, 10*time.Millisecond)
}

func (c *cluster) config() Config {
	config := Config{Replicas: len(c.members)}
	for i := range c.members {
		config.Servers = append(config.Servers, "nats://"+c.configs[i].addr())
	}
	return config
}

func (c *cluster) open(config Config) distributed.Store {
	var s distributed.Store
	var err error
	for range 20 { // a stream that has just been made may not have a leader yet
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		s, err = config.open(ctx, distributed.LeaseRequest{Instance: c.t.Name()})
		cancel()
		if err == nil {
			return s
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.NoError(c.t, err)
	return nil
}

// unhurried gives a write that nobody bounds more than the 2 s of the client, which a
// disk that is slow may need.
type unhurried struct{ distributed.Store }

func (u unhurried) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return u.Store.Put(ctx, key, value, rev)
}

func (u unhurried) Delete(ctx context.Context, key string, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return u.Store.Delete(ctx, key, rev)
}

// space opens stores each of which has a link of its own, to one of the servers.
func (c *cluster) space(t *testing.T) storetest.Space {
	links := map[distributed.Store]*link.Link{}
	return storetest.Space{
		Open: func() distributed.Store {
			l, err := link.New(c.configs[len(links)%len(c.configs)].addr())
			require.NoError(t, err)
			config := c.config()
			config.Servers = []string{"nats://" + l.Addr()}
			config.Options = []nats.Option{nats.IgnoreDiscoveredServers()}
			s := unhurried{c.open(config)}
			links[s] = l
			t.Cleanup(l.Close)
			return s
		},
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s distributed.Store) func() { links[s].HoldUp(); return links[s].Heal },
		HoldReplies:  func(s distributed.Store) func() { links[s].HoldDown(); return links[s].Heal },
		Compact:      func(int64) {}, // the stream forgets what has been written over, by itself
	}
}

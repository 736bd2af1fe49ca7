package etcdtest_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdleak.Options()...) }

func TestOneMember(t *testing.T) {
	current := goleak.IgnoreCurrent()
	var dir string
	c := start(t, etcdtest.Config{Configure: func(cfg *embed.Config) { dir = cfg.Dir }})
	require.Len(t, c.Endpoints(), 1)
	require.Equal(t, c.Members()[0], c.Leader())
	require.DirExists(t, dir)
	putAndGet(t, c.Client())
	require.NoError(t, c.Close())
	require.NoDirExists(t, filepath.Dir(dir))
	require.NoError(t, c.Close(), "closing twice is harmless")
	goleak.VerifyNone(t, current)
}

func TestThreeMembersServeWithoutTheLeader(t *testing.T) {
	c := start(t, etcdtest.Config{Members: 3})
	require.Len(t, c.Endpoints(), 3)
	leader := c.Leader()
	require.NotNil(t, leader)
	leader.Stop()
	putAndGet(t, c.Client())
	require.NotEqual(t, leader, c.Leader())
	require.NoError(t, leader.Restart(t.Context()))
	var killed *etcdtest.Member
	require.Eventually(t, func() bool { killed = c.Leader(); return killed != nil }, 30*time.Second, 10*time.Millisecond)
	killed.Kill()
	putAndGet(t, c.Client())
	require.NotEqual(t, killed, c.Leader())
	only, err := c.NewClient(clientv3.Config{Endpoints: []string{leader.Endpoint()}})
	require.NoError(t, err)
	putAndGet(t, only)
	require.NoError(t, only.Close())
	require.NoError(t, c.Close())
	goleak.VerifyNone(t, etcdleak.Options()...)
}

func TestRestartKeepsDataAndEndpoint(t *testing.T) {
	c := start(t, etcdtest.Config{})
	endpoint := c.Endpoints()
	_, err := c.Client().Put(t.Context(), "k", "before")
	require.NoError(t, err)
	m := c.Members()[0]
	require.ErrorContains(t, m.Restart(t.Context()), "running")
	for range 3 {
		m.Stop()
		m.Stop()
		require.NoError(t, m.Restart(t.Context()))
	}
	require.Equal(t, endpoint, c.Endpoints())
	got, err := c.Client().Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "before", string(got.Kvs[0].Value))
}

func TestRestartWaitsForItsPort(t *testing.T) {
	c := start(t, etcdtest.Config{})
	m := c.Members()[0]
	m.Stop()
	somebody, err := net.Listen("tcp", strings.TrimPrefix(m.Endpoint(), "http://"))
	require.NoError(t, err)
	time.AfterFunc(500*time.Millisecond, func() { _ = somebody.Close() })
	require.NoError(t, m.Restart(t.Context()))
}

func TestStopDoesNotWaitForOpenWatches(t *testing.T) {
	for _, cfg := range []etcdtest.Config{{}, {TLS: true}} {
		c := start(t, cfg)
		watch := c.Client().Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		<-watch
		began := time.Now()
		c.Members()[0].Stop()
		require.Less(t, time.Since(began), 4*time.Second)
	}
}

func TestTakenPortFailsTheStartAtOnce(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	began := time.Now()
	_, err = etcdtest.Start(t.Context(), etcdtest.Config{Members: 3, Configure: func(cfg *embed.Config) {
		if cfg.Name == "m2" {
			cfg.ListenClientUrls[0].Host = taken.Addr().String()
		}
	}})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.Less(t, time.Since(began), 30*time.Second)
}

func TestTLS(t *testing.T) {
	c := start(t, etcdtest.Config{TLS: true})
	require.True(t, strings.HasPrefix(c.Endpoints()[0], "https://"))
	putAndGet(t, c.Client())
	require.NoError(t, tryTLS(t, c, c.Authority(), false, 20*time.Second), "a client without a certificate may connect")
	stranger, err := etcdtest.NewAuthority()
	require.NoError(t, err)
	require.Error(t, tryTLS(t, c, stranger, true, 2*time.Second), "a client must not trust a certificate of another authority")
}

func TestClientCertAuth(t *testing.T) {
	c := start(t, etcdtest.Config{TLS: true, ClientCertAuth: true})
	putAndGet(t, c.Client())
	require.NoError(t, tryTLS(t, c, c.Authority(), true, 20*time.Second))
	require.Error(t, tryTLS(t, c, c.Authority(), false, 2*time.Second), "a client without a certificate must be refused")
}

func TestStartFailsInTimeAndLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var dir string
	_, err := etcdtest.Start(ctx, etcdtest.Config{Configure: func(cfg *embed.Config) {
		dir = cfg.Dir
		nobody, _ := url.Parse("http://127.0.0.1:1")
		cfg.InitialCluster += fmt.Sprintf(",absent=%s", nobody) // no quorum, ever
	}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotEmpty(t, dir)
	require.NoDirExists(t, filepath.Dir(dir))

	_, err = etcdtest.Start(t.Context(), etcdtest.Config{ClientCertAuth: true})
	require.ErrorContains(t, err, "TLS")
}

func TestNewClosesAtTheEndOfTheTest(t *testing.T) {
	var dir string
	t.Run("inner", func(t *testing.T) {
		c := etcdtest.New(t, etcdtest.Config{Configure: func(cfg *embed.Config) { dir = cfg.Dir }})
		putAndGet(t, c.Client())
	})
	require.NoDirExists(t, filepath.Dir(dir))
}

func start(t *testing.T, cfg etcdtest.Config) *etcdtest.Cluster {
	t.Helper()
	cfg.UnsafeNoFsync = true
	return etcdtest.New(t, cfg)
}

// putAndGet tries more than once: what a follower forwards to a leader that has
// just gone is lost.
func putAndGet(t *testing.T, c *clientv3.Client) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := c.Put(ctx, "key", "value")
		require.NoError(t, err)
		got, err := c.Get(ctx, "key")
		require.NoError(t, err)
		require.Equal(t, "value", string(got.Kvs[0].Value))
	}, 30*time.Second, 10*time.Millisecond)
}

// tryTLS makes a call as a client that trusts a, with or without a certificate. One that
// is refused tries again for as long as it has patience.
func tryTLS(t *testing.T, c *etcdtest.Cluster, a *etcdtest.Authority, withCert bool, patience time.Duration) error {
	t.Helper()
	cfg := a.AnonymousConfig()
	if withCert {
		var err error
		cfg, err = a.ClientConfig("somebody")
		require.NoError(t, err)
	}
	client, err := c.NewClient(clientv3.Config{TLS: cfg})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = client.Get(ctx, "key")
	return err
}

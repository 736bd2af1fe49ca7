package distributed_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/link"
)

// linkTo returns a link to the only member of a cluster, and its endpoint.
func linkTo(t *testing.T, cluster *etcdtest.Cluster) (*link.Link, string) {
	u, err := url.Parse(cluster.Endpoints()[0])
	require.NoError(t, err)
	l, err := link.New(u.Host)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l, "http://" + l.Addr()
}

// Within a second it is known where etcd was looked for, and why in vain, whoever
// made the client.
func TestWhyETCDCannotBeReachedIsSaidWithinASecond(t *testing.T) {
	t.Parallel()
	nobody, err := link.FreeAddr()
	require.NoError(t, err)
	secure := etcdtest.New(t, etcdtest.Config{TLS: true, UnsafeNoFsync: true})
	stranger := secure.Authority().AnonymousConfig()
	stranger.RootCAs = x509.NewCertPool()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	for name, c := range map[string]struct {
		config clientv3.Config
		want   string
	}{
		"connection refused":    {clientv3.Config{Endpoints: []string{"http://" + nobody}}, "connection refused"},
		"no such host":          {clientv3.Config{Endpoints: []string{"etcd.invalid:2379"}}, "etcd.invalid"},
		"one of two refused":    {clientv3.Config{Endpoints: []string{"http://" + nobody, "http://etcd.invalid:2379"}}, "etcd.invalid"},
		"unknown authority":     {clientv3.Config{Endpoints: secure.Endpoints(), TLS: stranger}, "x509: "},
		"nobody answers":        {clientv3.Config{Endpoints: []string{silent.Addr().String()}}, "no connection within "},
		"no member speaks TLS":  {clientv3.Config{Endpoints: []string{strings.Replace(etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true}).Endpoints()[0], "http:", "https:", 1)}}, "handshake failed"},
		"refused with password": {clientv3.Config{Endpoints: []string{"http://" + nobody}, Username: "user", Password: "secret"}, "connection refused"},
	} {
		options := map[string]distributed.ETCDOption{"own": config(c.config)}
		if c.config.Username == "" { // or New would fail
			c.config.Logger = zap.NewNop()
			client, err := clientv3.New(c.config)
			require.NoError(t, err)
			defer func() { require.NoError(t, client.Close()) }()
			options["the caller's"] = distributed.WithETCDClient(client)
		}
		for whose, option := range options {
			req := distributed.LeaseRequest{App: "app", Instance: "a", Logger: new(logBuffer).logger()}
			var provider distributed.LeaseProvider
			var err error
			var took time.Duration
			for range 3 { // the first attempt of a provider, on a machine that may stall
				provider = distributed.NewETCDLeaseProvider(nil, option)
				begun := time.Now()
				_, err = provider.AcquireLease(testContext(t), req)
				took = time.Since(begun)
				require.ErrorContains(t, err, c.config.Endpoints[0])
				require.NotErrorIs(t, err, distributed.ErrPermanent)
				if took < 2*time.Second && strings.Contains(err.Error(), c.want) {
					break
				}
			}
			require.ErrorContains(t, err, c.want, "%s, client %s", name, whose)
			require.Less(t, took, 2*time.Second, "%s, client %s", name, whose) // a second on a quiet machine
			_, err = provider.OpenView(testContext(t), req)
			require.ErrorContains(t, err, c.want, "%s, client %s", name, whose)
		}
	}
}

// The log and the hooks have the reason, once.
func TestTheReasonIsToldOnce(t *testing.T) {
	t.Parallel()
	nobody, err := link.FreeAddr()
	require.NoError(t, err)
	var log logBuffer
	causes := make(chan error, 10)
	c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider([]string{nobody}, config(clientv3.Config{Username: "user", Password: "secret"})),
		distributed.WithLogger(log.logger()), distributed.WithHooks(distributed.Hooks{StoreDown: func(err error) { causes <- err }}))
	defer func() { require.NoError(t, c.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = c.Campaign(ctx, "x")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, <-causes, "connection refused")
	require.Empty(t, causes)
	require.Equal(t, 1, log.count("store unavailable, trying again"))
	require.NotContains(t, log.String(), "getToken failed")
	require.NotRegexp(t, "level=(WARN|ERROR|INFO).*etcd-client", log.String())
}

// A single endpoint behind a balancer that forgets a connection: what goes into it
// vanishes, and new ones work. gRPC finds that out after 13 s.
func TestASilentConnectionIsReplacedBeforeTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	network, endpoint := linkTo(t, cluster)
	renewed := make(chan time.Duration, 1000)
	c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider([]string{endpoint}),
		distributed.WithHooks(distributed.Hooks{LeaseRenewed: func(_, remaining time.Duration) { renewed <- remaining }}))
	defer func() { require.NoError(t, c.Close()) }()
	l := lead(t, c, "x")
	for range 2 {
		<-renewed
		network.Silence()
		least := 10 * time.Second
		for range 3 {
			select {
			case remaining := <-renewed:
				least = min(least, remaining)
			case <-l.Context().Done():
				require.FailNow(t, "lost", "%v", context.Cause(l.Context()))
			}
		}
		t.Logf("the lease was valid for another %v when it was renewed", least)
	}
	require.True(t, l.Valid())
}

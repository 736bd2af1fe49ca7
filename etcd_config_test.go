package distributed_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func config(c clientv3.Config) distributed.ETCDOption { return distributed.WithETCDConfig(c) }

// refusedAtOnce requires that a provider cannot be used, and says why.
func refusedAtOnce(t *testing.T, provider distributed.LeaseProvider, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := distributed.NewConcurrency("app", "a", provider).Campaign(ctx, "x")
	require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	require.ErrorContains(t, err, want)
	_, err = distributed.Observe(ctx, "app", provider)
	require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	require.ErrorContains(t, err, want)
}

func TestEndpointsThatCannotWorkAreRefused(t *testing.T) {
	ca, err := etcdtest.NewAuthority()
	require.NoError(t, err)
	tls := ca.AnonymousConfig()
	const form, hostPort = "must begin with http://, https://, unix:// or unixs://, or be host:port, with IPv6 addresses in brackets", "must have a host and a port"
	for _, c := range []struct {
		endpoints []string
		tls       bool
		want      string // nothing if they can work
	}{
		{endpoints: []string{"http://a:1", "http://b:1"}},
		{endpoints: []string{"http://a:1/", "b:1"}},
		{endpoints: []string{"https://a:1", "https://a:2"}},
		{endpoints: []string{"https://a:1", "b:1"}, tls: true},
		{endpoints: []string{"HTTPS://a:1"}},
		{endpoints: []string{"[::1]:2379", "http://[fe80::1]:2379", "10.0.0.1:2379"}},
		{endpoints: []string{"etcd_1.namespace.svc:2379", "müller.example:2379"}},
		{endpoints: []string{"unix:///run/etcd.sock", "unix://etcd.sock", "unix:other.sock"}},
		{endpoints: []string{"unixs:///run/etcd.sock"}},
		{endpoints: []string{"unix:///run/etcd.sock"}, tls: true},

		{endpoints: []string{"http://a:1"}, tls: true, want: `endpoints[0] "http://a:1" is used without TLS, but WithETCDConfig sets TLS`},
		{endpoints: []string{"https://a:1", "http://b:1"}, tls: true, want: `endpoints[1] "http://b:1" is used without TLS`},
		{endpoints: []string{"https://a:1", "http://b:1"}, want: "either all must be used with TLS or none"},
		{endpoints: []string{"http://a:1", "https://b:1"}, want: "either all must be used with TLS or none"},
		{endpoints: []string{"https://a:1", "b:1"}, want: "either all must be used with TLS or none"},
		{endpoints: []string{"unix:///run/etcd.sock", "unixs:///run/etcds.sock"}, want: "either all must be used with TLS or none"},
		{endpoints: []string{"tcp://a:1"}, want: form},
		{endpoints: []string{"dns:///a:1"}, want: form},
		{endpoints: []string{"ht!tp://a:1"}, want: form},
		{endpoints: []string{"http://a:1 "}, want: "has space around it"},
		{endpoints: []string{"http://a b:1"}, want: form},
		{endpoints: []string{"UNIX:///run/etcd.sock"}, want: form},
		{endpoints: []string{"a:1,b:1"}, want: "must be one address"},
		{endpoints: []string{"http://a:1,http://b:1"}, want: "must be one address"},
		{endpoints: []string{"a:1 b:1"}, want: hostPort},
		{endpoints: []string{"a b:1"}, want: `"a b" is no name of a host`},
		{endpoints: []string{"::1:2379"}, want: hostPort},
		{endpoints: []string{"http://::1:2379"}, want: form},
		{endpoints: []string{"[::x]:2379"}, want: `"::x" is no name of a host`},
		{endpoints: []string{"dns:a:1"}, want: hostPort},
		{endpoints: []string{"a"}, want: hostPort},
		{endpoints: []string{"http://a"}, want: hostPort},
		{endpoints: []string{":2379"}, want: `"" is no name of a host`},
		{endpoints: []string{"a:"}, want: "the port must be a number from 1 to 65535"},
		{endpoints: []string{"a:0"}, want: "the port must be a number from 1 to 65535"},
		{endpoints: []string{"a:etcd"}, want: "the port must be a number from 1 to 65535"},
		{endpoints: []string{"a:65536"}, want: "the port must be a number from 1 to 65535"},
		{endpoints: []string{"http://a:1/etcd"}, want: "must be http://host:port and nothing else"},
		{endpoints: []string{"http://user:secret@a:1"}, want: "must be http://host:port and nothing else"},
		{endpoints: []string{"unix:"}, want: "must name the path of a socket"},
		{endpoints: []string{"unix://"}, want: "must name the path of a socket"},
		{endpoints: []string{"a:1", "b:1", "a:1"}, want: `endpoints[2] "a:1" is endpoints[0] again`},
		{endpoints: []string{"http://a:1", "http://A:1/"}, want: `endpoints[1] "http://A:1/" is endpoints[0] again`},
		{endpoints: []string{"a:1", "http://a:1"}, want: `is endpoints[0] again`},
		{endpoints: []string{"unix:x.sock", "unix://x.sock"}, want: `is endpoints[0] again`},
	} {
		given := clientv3.Config{Endpoints: c.endpoints}
		if c.tls {
			given.TLS = tls
		}
		for _, p := range []distributed.LeaseProvider{
			distributed.NewETCDLeaseProvider(c.endpoints, config(clientv3.Config{TLS: given.TLS})),
			distributed.NewETCDLeaseProvider(nil, config(given)),
		} {
			if c.want != "" {
				refusedAtOnce(t, p, c.want)
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := p.AcquireLease(ctx, distributed.LeaseRequest{App: "app", Instance: "a", Logger: new(logBuffer).logger()})
			require.NotErrorIs(t, err, distributed.ErrInvalidConfig, "%v", c.endpoints)
		}
	}
}

func TestClientOptionsThatCannotWorkAreRefused(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	client := func(change func(c *clientv3.Client)) distributed.ETCDOption {
		c, err := cluster.NewClient(clientv3.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() }) // some are closed already
		change(c)
		return distributed.WithETCDClient(c)
	}
	token := func(context.Context) (string, error) { return "token", nil }
	endpoints := []string{"127.0.0.1:1"}
	for _, c := range []struct {
		want      string
		endpoints []string
		options   []distributed.ETCDOption
	}{
		{"option 1 is nil", endpoints, []distributed.ETCDOption{distributed.WithLeaseTTL(ttl), nil}},
		{"Username and Password need each other", endpoints, []distributed.ETCDOption{config(clientv3.Config{Username: "user"})}},
		{"Username and Password need each other", endpoints, []distributed.ETCDOption{config(clientv3.Config{Password: "secret"})}},
		{"Username and Token exclude each other", endpoints, []distributed.ETCDOption{config(clientv3.Config{Username: "user", Password: "secret", Token: "token"})}},
		{"Username and Token exclude WithETCDToken", endpoints, []distributed.ETCDOption{config(clientv3.Config{Token: "token"}), distributed.WithETCDToken(token)}},
		{"Username and Token exclude WithETCDToken", endpoints, []distributed.ETCDOption{config(clientv3.Config{Username: "user", Password: "secret"}), distributed.WithETCDToken(token)}},
		{"WithETCDToken: the function is nil", endpoints, []distributed.ETCDOption{distributed.WithETCDToken(nil)}},
		{"durations must be at least 0", endpoints, []distributed.ETCDOption{config(clientv3.Config{AutoSyncInterval: -1})}},
		{"durations must be at least 0", endpoints, []distributed.ETCDOption{config(clientv3.Config{DialTimeout: -1})}},
		{"must be at least 0", endpoints, []distributed.ETCDOption{config(clientv3.Config{MaxCallRecvMsgSize: -1})}},
		{"MaxCallRecvMsgSize (1) must be at least MaxCallSendMsgSize (2)", endpoints, []distributed.ETCDOption{config(clientv3.Config{MaxCallRecvMsgSize: 1, MaxCallSendMsgSize: 2})}},
		{"DialOptions[1] is nil", endpoints, []distributed.ETCDOption{config(clientv3.Config{DialOptions: []grpc.DialOption{grpc.EmptyDialOption{}, nil}})}},
		{"WithETCDConfig: LogConfig: ", endpoints, []distributed.ETCDOption{config(clientv3.Config{LogConfig: &zap.Config{}})}},

		{"endpoints: there must be at least one", nil, []distributed.ETCDOption{distributed.WithETCDClient(nil)}},
		{"endpoints and WithETCDClient exclude each other", endpoints, []distributed.ETCDOption{client(func(*clientv3.Client) {})}},
		{"WithETCDConfig and WithETCDClient exclude each other", nil, []distributed.ETCDOption{client(func(*clientv3.Client) {}), config(clientv3.Config{Username: "user", Password: "secret"})}},
		{"WithETCDToken and WithETCDClient exclude each other", nil, []distributed.ETCDOption{client(func(*clientv3.Client) {}), distributed.WithETCDToken(token)}},
		{"the client has no connection", nil, []distributed.ETCDOption{distributed.WithETCDClient(new(clientv3.Client))}},
		{"the client has no connection", nil, []distributed.ETCDOption{distributed.WithETCDClient(clientv3.NewCtxClient(t.Context()))}},
		{"the client's KV was replaced", nil, []distributed.ETCDOption{client(func(c *clientv3.Client) { c.KV = namespace.NewKV(c.KV, "prod/") })}},
		{"the client's Lease was replaced", nil, []distributed.ETCDOption{client(func(c *clientv3.Client) { c.Lease = namespace.NewLease(c.Lease, "prod/") })}},
		{"the client's Watcher was replaced", nil, []distributed.ETCDOption{client(func(c *clientv3.Client) { c.Watcher = namespace.NewWatcher(c.Watcher, "prod/") })}},
		{"the client's KV was replaced, by <nil>", nil, []distributed.ETCDOption{client(func(c *clientv3.Client) { c.KV = nil })}},
		{"the client has been closed", nil, []distributed.ETCDOption{client(func(c *clientv3.Client) { require.NoError(t, c.Watcher.Close()); _ = c.Close() })}},
	} {
		t.Run(fmt.Sprint(c.want, len(c.options)), func(t *testing.T) {
			refusedAtOnce(t, distributed.NewETCDLeaseProvider(c.endpoints, c.options...), c.want)
		})
	}
	var none context.Context
	_, err := distributed.NewETCDLeaseProvider(endpoints).AcquireLease(none, distributed.LeaseRequest{App: "app", Instance: "a", Logger: new(logBuffer).logger()})
	require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	require.Empty(t, view(t, cluster).keys(), "nothing was written")
}

// What etcd's client takes beside URLs works.
func TestEndpointsOfAllKindsWork(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	u, err := url.Parse(cluster.Endpoints()[0])
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "etcd.sock")
	carry(t, socket, u.Host)
	for _, e := range []string{u.Host, "http://" + u.Host + "/", "unix://" + socket} {
		c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider([]string{e}))
		lead(t, c, "x")
		require.NoError(t, c.Close())
	}
}

// carry listens on a Unix socket for target, until the end of the test.
func carry(t *testing.T, socket, target string) {
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				_ = from.Close()
				return
			}
			go pipe(from, to)
			go pipe(to, from)
		}
	}()
}

func pipe(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

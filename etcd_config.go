package distributed

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// WithETCDConfig sets what else the client needs: TLS, user and password, dial
// options. The endpoints are those of NewETCDLeaseProvider, or of config if
// there are none. The keep-alive of connections, the dial timeout, the number of
// retries and the logger have defaults of ours where config leaves them zero;
// config.Context is not used. Each lease makes its own client from config, and
// closes it; all of them share one login. What cannot work, such as a user
// without a password, is an error of Campaign or Execute.
//
// Interceptors and credentials of config.DialOptions may block or panic: the call
// fails then. For that, give interceptors with grpc.WithChainUnaryInterceptor and
// grpc.WithChainStreamInterceptor: others replace those of etcd's client, and are
// called outside of ours. A dialer that panics ends the process, as gRPC calls it.
func WithETCDConfig(config clientv3.Config) ETCDOption {
	return etcdOption(func(p *etcdProvider) { p.config, p.configured = config, true })
}

// WithETCDClient uses an existing client, as clientv3.New returns it. Give
// [NewETCDLeaseProvider] no endpoints then, and no [WithETCDConfig]. The library does
// not close it; close it after everything that uses the provider. A client whose KV,
// Lease or Watcher has been replaced, as by etcd's namespace package, is an error of
// Campaign or Execute: use [WithNamespace]. Such a client logs in as etcd's own does:
// once for each call that finds that its token has expired; with passwords,
// WithETCDConfig spares etcd that. Whether it notices that a connection has gone silent
// depends on its DialKeepAliveTime. nil is as if the option was not given.
func WithETCDClient(client *clientv3.Client) ETCDOption {
	return etcdOption(func(p *etcdProvider) { p.client = client })
}

// WithETCDToken calls token for the token, such as a JWT, that every call to etcd
// carries: before the first call, and again each time etcd says that the token is
// invalid, but then with pauses of up to 5 s. It is called by one goroutine at a time.
// It may block, and calls to etcd wait for it as long as they can; after 10 s its ctx
// is done, and they fail. An error, a panic or an empty token counts as the store being
// unavailable, and token is called again later. It cannot be combined with Username and
// Token of [WithETCDConfig], or with [WithETCDClient].
func WithETCDToken(token func(ctx context.Context) (string, error)) ETCDOption {
	return etcdOption(func(p *etcdProvider) { p.token, p.tokenSet = token, true })
}

func (p *etcdProvider) validate() error {
	if p.client != nil {
		return p.validateClient()
	}
	return p.validateConfig()
}

// validateClient finds clients that have no connection, and those of which only
// some parts see the keys that we mean: our watches use the connection itself.
func (p *etcdProvider) validateClient() error {
	switch {
	case len(p.endpoints) > 0:
		return fmt.Errorf("%w: endpoints and WithETCDClient exclude each other", ErrInvalidConfig)
	case p.configured:
		return fmt.Errorf("%w: WithETCDConfig and WithETCDClient exclude each other", ErrInvalidConfig)
	case p.tokenSet:
		return fmt.Errorf("%w: WithETCDToken and WithETCDClient exclude each other", ErrInvalidConfig)
	case p.client.ActiveConnection() == nil:
		return fmt.Errorf("%w: WithETCDClient: the client has no connection, make it with clientv3.New", ErrInvalidConfig)
	}
	own := reflect.TypeFor[clientv3.Client]().PkgPath()
	for _, part := range []struct {
		name string
		is   any
	}{{"KV", p.client.KV}, {"Lease", p.client.Lease}, {"Watcher", p.client.Watcher}} {
		t := reflect.TypeOf(part.is)
		if t == nil || t.Kind() != reflect.Pointer || t.Elem().PkgPath() != own {
			return fmt.Errorf("%w: WithETCDClient: the client's %s was replaced, by %T: it must be the one that clientv3.New made; for a prefix of all keys use WithNamespace",
				ErrInvalidConfig, part.name, part.is)
		}
	}
	return nil
}

func (p *etcdProvider) validateConfig() error {
	if len(p.endpoints) == 0 {
		p.endpoints = p.config.Endpoints
	}
	if err := validateEndpoints(p.endpoints, p.config.TLS != nil); err != nil {
		return err
	}
	c := p.config
	wrong := ""
	switch {
	case (c.Username == "") != (c.Password == ""):
		wrong = "Username and Password need each other"
	case c.Token != "" && c.Username != "":
		wrong = "Username and Token exclude each other"
	case p.tokenSet && (c.Token != "" || c.Username != ""):
		wrong = "Username and Token exclude WithETCDToken"
	case p.tokenSet && p.token == nil:
		return fmt.Errorf("%w: WithETCDToken: the function is nil", ErrInvalidConfig)
	case c.AutoSyncInterval < 0 || c.DialTimeout < 0 || c.DialKeepAliveTime < 0 || c.DialKeepAliveTimeout < 0 || c.BackoffWaitBetween < 0:
		wrong = "durations must be at least 0"
	case c.MaxCallSendMsgSize < 0 || c.MaxCallRecvMsgSize < 0:
		wrong = "MaxCallSendMsgSize and MaxCallRecvMsgSize must be at least 0"
	case c.MaxCallRecvMsgSize > 0 && c.MaxCallSendMsgSize > c.MaxCallRecvMsgSize:
		wrong = fmt.Sprintf("MaxCallRecvMsgSize (%d) must be at least MaxCallSendMsgSize (%d)", c.MaxCallRecvMsgSize, c.MaxCallSendMsgSize)
	}
	for i, o := range c.DialOptions {
		if o == nil {
			wrong = fmt.Sprintf("DialOptions[%d] is nil", i)
		}
	}
	if wrong != "" {
		return fmt.Errorf("%w: WithETCDConfig: %s", ErrInvalidConfig, wrong)
	}
	return nil
}

// validateEndpoints checks that each names one address, and that all are used with
// TLS or none is: etcd's client decides that by the first, for all of them.
func validateEndpoints(endpoints []string, tls bool) error {
	if len(endpoints) == 0 {
		return fmt.Errorf("%w: endpoints: there must be at least one", ErrInvalidConfig)
	}
	seen := map[string]int{}
	firstSecure := false
	for i, e := range endpoints {
		field := fmt.Sprintf("endpoints[%d]", i)
		if err := validateText(field, e, 2048); err != nil {
			return err
		}
		if strings.TrimSpace(e) != e {
			return fmt.Errorf("%w: %s %q has space around it", ErrInvalidConfig, field, e)
		}
		scheme, address, err := parseEndpoint(e)
		if err != nil {
			return fmt.Errorf("%w: %s %q: %w", ErrInvalidConfig, field, e, err)
		}
		secure := scheme == "https" || scheme == "unixs" || (scheme != "http" && tls)
		if i == 0 {
			firstSecure = secure
		}
		j, again := seen[address]
		switch {
		case again:
			return fmt.Errorf("%w: %s %q is endpoints[%d] again", ErrInvalidConfig, field, e, j)
		case scheme == "http" && tls:
			return fmt.Errorf("%w: %s %q is used without TLS, but WithETCDConfig sets TLS: use https://", ErrInvalidConfig, field, e)
		case secure != firstSecure:
			return fmt.Errorf("%w: %s %q and endpoints[0] %q: either all must be used with TLS or none", ErrInvalidConfig, field, e, endpoints[0])
		}
		seen[address] = i
	}
	return nil
}

// parseEndpoint takes what etcd's client takes and can reach: http://host:port,
// https://host:port, host:port, and unix: or unixs: with a path. address is the
// same for all ways to write it.
func parseEndpoint(e string) (scheme, address string, err error) {
	if strings.Contains(e, ",") {
		return "", "", fmt.Errorf("must be one address, give each as a string of its own")
	}
	for _, scheme := range []string{"unix", "unixs"} {
		if path, ok := strings.CutPrefix(e, scheme+":"); ok {
			if path = strings.TrimPrefix(path, "//"); path == "" {
				return "", "", fmt.Errorf("must name the path of a socket")
			}
			return scheme, "unix:" + path, nil
		}
	}
	scheme, hostPort := "", e
	if strings.Contains(e, "://") {
		u, err := url.Parse(e)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
			return "", "", fmt.Errorf("must begin with http://, https://, unix:// or unixs://, or be host:port, with IPv6 addresses in brackets")
		}
		if u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
			return "", "", fmt.Errorf("must be %s://host:port and nothing else", u.Scheme)
		}
		scheme, hostPort = u.Scheme, u.Host
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", "", fmt.Errorf("must have a host and a port, as in etcd-1:2379 or [::1]:2379")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("the port must be a number from 1 to 65535")
	}
	if !isHost(host) {
		return "", "", fmt.Errorf("%q is no name of a host and no IP address", host)
	}
	return scheme, net.JoinHostPort(strings.ToLower(host), port), nil
}

func isHost(host string) bool {
	if strings.Contains(host, ":") {
		_, err := netip.ParseAddr(host)
		return err == nil
	}
	return host != "" && !strings.ContainsAny(host, " \"!#$%&'()*+/;<=>?@[\\]^`{|}~")
}

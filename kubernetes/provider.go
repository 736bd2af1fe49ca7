package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"github.com/b2552be4/distributed"
)

// Config says where the Leases are.
type Config struct {
	// REST is how the API server is reached: rest.InClusterConfig(), or what
	// clientcmd makes of a kubeconfig. It is copied, and its limit of requests a second
	// is lifted, as requests that wait here would cost leases. Its Transport and Dial
	// must not be set: each lease has a connection of its own. Required.
	REST *rest.Config

	// Namespace is the namespace of Kubernetes in which the Leases are. Best is one for
	// them alone, as each node follows all Leases in it. Required.
	Namespace string
}

// DefaultTTL is the TTL of leases if the option WithLeaseTTL does not say another: a
// little longer than with other stores, as API servers are restarted, and throttle.
const DefaultTTL = 15 * time.Second

// NewLeaseProvider returns a provider of leases on Kubernetes, with the options of
// all stores. It makes no call; what is wrong with config or opts is reported by
// Campaign and Execute before anything is written. It is safe for concurrent use,
// and has nothing to close.
func NewLeaseProvider(config Config, opts ...distributed.LeaseOption) distributed.LeaseProvider {
	return distributed.NewLeaseProvider(config.open, append([]distributed.LeaseOption{distributed.WithLeaseTTL(DefaultTTL)}, opts...)...)
}

func (c Config) validate() error {
	switch {
	case c.REST == nil:
		return fmt.Errorf("%w: Config.REST is nil", distributed.ErrInvalidConfig)
	case c.REST.Transport != nil || c.REST.Dial != nil:
		return fmt.Errorf("%w: Config.REST: Transport and Dial must not be set", distributed.ErrInvalidConfig)
	case len(utilvalidation.IsDNS1123Label(c.Namespace)) > 0:
		return fmt.Errorf("%w: Config.Namespace %q: must be the name of a namespace", distributed.ErrInvalidConfig, c.Namespace)
	}
	return nil
}

// open is a [distributed.OpenStore].
func (c Config) open(ctx context.Context, _ distributed.LeaseRequest) (distributed.Store, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(c.REST)
	config.QPS = -1 // no limit
	config.Timeout = 0
	s := &store{host: config.Host, namespace: c.Namespace}
	s.closed, s.close = context.WithCancel(context.Background())
	client, err := s.client(config)
	if err != nil {
		return nil, fmt.Errorf("%w: Config.REST: %w", distributed.ErrInvalidConfig, err)
	}
	s.rest = client.RESTClient()
	if _, err := s.position(ctx); err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

// client makes a client with a transport of its own. A connection that has gone
// silent is given up after 2 s: client-go waits for 45 s, and all its clients of a
// process share one.
func (s *store) client(config *rest.Config) (coordination.CoordinationV1Interface, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	s.dialer = connrotation.NewDialer((&net.Dialer{Timeout: 2 * time.Second}).DialContext)
	wrapped, err := rest.HTTPWrappersForConfig(config, &http.Transport{
		Proxy: proxy, DialContext: s.dialer.DialContext, TLSClientConfig: tls, TLSHandshakeTimeout: 2 * time.Second,
		ForceAttemptHTTP2: true, HTTP2: &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: time.Second},
	})
	if err != nil {
		return nil, err
	}
	return coordination.NewForConfigAndClient(config, &http.Client{Transport: wrapped})
}

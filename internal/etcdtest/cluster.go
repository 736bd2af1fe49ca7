// Package etcdtest runs etcd inside the process, for tests, benchmarks and
// examples: one member or several, in a temporary directory, on free loopback
// ports, without a word on the terminal.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed/internal/link"
)

// startTimeout bounds Start and Restart whatever their context says. A cluster
// is up within a second or two; a busy CI machine under the race detector may
// need ten times that.
const startTimeout = time.Minute

// Config says what to start. The zero Config is one member without TLS, with
// etcd's own defaults.
type Config struct {
	// Members is the number of members, 1 if zero.
	Members int

	// TLS makes clients connect with TLS, to a certificate of the cluster's own
	// [Authority]. Members talk to each other without it in any case.
	TLS bool

	// ClientCertAuth makes the members demand a certificate of that Authority
	// from clients. It needs TLS.
	ClientCertAuth bool

	// UnsafeNoFsync leaves out fsync: faster, and still correct as long as the
	// machine does not crash. Leave it alone where time is measured.
	UnsafeNoFsync bool

	// Logger receives what the members have to say. By default that is nothing,
	// except why they end the process, which goes to standard error.
	Logger *zap.Logger

	// Configure, if not nil, is called for each member just before it starts,
	// with everything else filled in.
	Configure func(*embed.Config)
}

// Cluster is a running etcd. Its methods, and those of its members, are safe
// for concurrent use, but a member is stopped and restarted by one goroutine at
// a time.
type Cluster struct {
	dir       string
	members   []*Member
	authority *Authority // nil without TLS
	client    *clientv3.Client

	closeOnce sync.Once
	closeErr  error
}

// Start starts a cluster and returns when all its members serve, or with an
// error when they do not within a minute or ctx is done. The caller closes the
// cluster. ctx bounds only the start.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg.Members = max(cfg.Members, 1)
	if cfg.ClientCertAuth && !cfg.TLS {
		return nil, errors.New("etcdtest: Config.ClientCertAuth needs Config.TLS")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		c, err := start(ctx, cfg)
		if err == nil {
			return c, nil
		}
		// Between looking for a free port and etcd's listening on it somebody
		// else may have taken it.
		if attempt == 5 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("etcdtest: start: %w", err)
		}
	}
}

func start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if c.dir, err = os.MkdirTemp("", "etcdtest-"); err != nil {
		return nil, err
	}
	if err := c.lay(cfg); err != nil {
		return nil, err
	}
	if err := c.startMembers(ctx); err != nil {
		return nil, err
	}
	c.client, err = c.NewClient(clientv3.Config{})
	if err != nil {
		return nil, err
	}
	for _, endpoint := range c.Endpoints() {
		if _, err := c.client.Status(ctx, endpoint); err != nil {
			return nil, fmt.Errorf("status of %s: %w", endpoint, err)
		}
	}
	return c, nil
}

// lay decides about ports, directories and certificates of all members.
func (c *Cluster) lay(cfg Config) error {
	var tls *tlsFiles
	if cfg.TLS {
		var err error
		if c.authority, err = NewAuthority(); err != nil {
			return err
		}
		if tls, err = c.authority.writeFiles(c.dir, cfg.ClientCertAuth); err != nil {
			return err
		}
	}
	addrs, err := freeAddrs(2 * cfg.Members)
	if err != nil {
		return err
	}
	var peers []string
	for i := range cfg.Members {
		m := newMember(cfg, fmt.Sprintf("m%d", i), addrs[2*i], addrs[2*i+1], tls)
		m.dir = filepath.Join(c.dir, m.name)
		c.members = append(c.members, m)
		peers = append(peers, m.name+"="+m.peerURL.String())
	}
	for _, m := range c.members {
		m.initialCluster = strings.Join(peers, ",")
	}
	return nil
}

// startMembers starts all at once, because the first one waits for a quorum,
// and gives up when one has failed.
func (c *Cluster) startMembers(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	for _, m := range c.members {
		wg.Go(func() {
			if err := m.start(ctx); err != nil {
				fail(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Members returns the members, in an order that does not change.
func (c *Cluster) Members() []*Member { return c.members }

// Endpoints returns the client URL of each member.
func (c *Cluster) Endpoints() []string {
	urls := make([]string, len(c.members))
	for i, m := range c.members {
		urls[i] = m.Endpoint()
	}
	return urls
}

// Leader returns the member that leads the cluster, or nil if none knows of one.
func (c *Cluster) Leader() *Member {
	for _, m := range c.members {
		if m.leads() {
			return m
		}
	}
	return nil
}

// Authority returns what signs the cluster's certificates; nil without TLS.
func (c *Cluster) Authority() *Authority { return c.authority }

// Client returns a client of the cluster, which Close closes. With TLS it has a
// certificate for the name "client".
func (c *Cluster) Client() *clientv3.Client { return c.client }

// NewClient returns a further client, which the caller closes: cfg completed
// with the endpoints, a silent logger and, with TLS, a certificate for the name
// "client", as far as cfg leaves these empty.
func (c *Cluster) NewClient(cfg clientv3.Config) (*clientv3.Client, error) {
	if cfg.Endpoints == nil {
		cfg.Endpoints = c.Endpoints()
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.TLS == nil && c.authority != nil {
		tls, err := c.authority.ClientConfig("client")
		if err != nil {
			return nil, err
		}
		cfg.TLS = tls
	}
	return clientv3.New(cfg)
}

// Close stops everything, waits until it has stopped, and removes the
// directory. A second Close returns what the first one did.
func (c *Cluster) Close() error {
	c.closeOnce.Do(func() {
		if c.client != nil {
			_ = c.client.Close()
		}
		var wg sync.WaitGroup
		for _, m := range c.members {
			wg.Go(m.Kill)
		}
		wg.Wait()
		if c.dir != "" {
			c.closeErr = os.RemoveAll(c.dir)
		}
	})
	return c.closeErr
}

// freeAddrs returns n different loopback addresses nobody listens on. Nobody else in
// this process gets them, not even while a member is stopped.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		addr, err := link.FreeAddr()
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

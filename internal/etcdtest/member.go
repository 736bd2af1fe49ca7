package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Member is one etcd server of a [Cluster].
type Member struct {
	cfg            Config
	name, dir      string
	clientURL      url.URL
	peerURL        url.URL
	tls            transport.TLSInfo
	initialCluster string

	mu     sync.Mutex
	server *server // nil while stopped
}

func newMember(cfg Config, name, clientAddr, peerAddr string, tls *tlsFiles) *Member {
	m := &Member{
		cfg:       cfg,
		name:      name,
		clientURL: url.URL{Scheme: "http", Host: clientAddr},
		peerURL:   url.URL{Scheme: "http", Host: peerAddr},
	}
	if tls != nil {
		m.clientURL.Scheme = "https"
		m.tls = tls.info()
	}
	return m
}

// Name returns the member's name, as etcd knows it.
func (m *Member) Name() string { return m.name }

// Endpoint returns the member's client URL.
func (m *Member) Endpoint() string { return m.clientURL.String() }

// Stop stops the member: it cuts its clients off, hands over the cluster's
// leadership if it has that, and returns when it has stopped. The member keeps
// its data and its ports. Stopping a stopped member does nothing.
func (m *Member) Stop() {
	if server := m.detach(); server != nil {
		server.stop()
	}
}

// Kill is Stop without the handover: the others have to notice by themselves,
// as after a crash.
func (m *Member) Kill() {
	if server := m.detach(); server != nil {
		server.kill()
	}
}

func (m *Member) detach() *server {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.server
	m.server = nil
	return s
}

// Wipe deletes the data of the stopped member. Of a cluster with one member,
// nothing is left after that.
func (m *Member) Wipe() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != nil {
		return fmt.Errorf("etcdtest: wipe %s: it is running", m.name)
	}
	return os.RemoveAll(m.dir)
}

// portTimeout is how long Restart waits for a port that another process has taken
// while the member was away.
const portTimeout = 10 * time.Second

// Restart starts the stopped member again, on its data and its ports, and
// returns when it serves, or with an error when that takes longer than a minute
// or ctx is done.
func (m *Member) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	m.mu.Lock()
	running := m.server != nil
	m.mu.Unlock()
	if running {
		return fmt.Errorf("etcdtest: restart %s: it is running", m.name)
	}
	deadline := time.Now().Add(portTimeout)
	err := m.start(ctx)
	for errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline) && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		err = m.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("etcdtest: restart %s: %w", m.name, err)
	}
	return nil
}

func (m *Member) start(ctx context.Context) error {
	s, err := startServer(ctx, m.config())
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server = s
	return nil
}

func (m *Member) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = m.name
	cfg.Dir = m.dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{m.clientURL}, []url.URL{m.clientURL}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{m.peerURL}, []url.URL{m.peerURL}
	cfg.InitialCluster = m.initialCluster
	cfg.ClientTLSInfo = m.tls
	cfg.UnsafeNoFsync = m.cfg.UnsafeNoFsync
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(m.logger())
	if m.cfg.Configure != nil {
		m.cfg.Configure(cfg)
	}
	return cfg
}

// logger is silent by default, but for what comes with the end of the process:
// without that a fatal error of etcd would be an exit without a word.
func (m *Member) logger() *zap.Logger {
	if m.cfg.Logger != nil {
		return m.cfg.Logger.Named(m.name)
	}
	return zap.New(zapcore.NewCore(
		zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), os.Stderr, zap.DPanicLevel))
}

func (m *Member) leads() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.server != nil && m.server.leads()
}

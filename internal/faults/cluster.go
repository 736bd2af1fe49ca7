package faults

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Cluster is an etcd cluster, each member a process.
type Cluster struct {
	dir     string
	members []*Member
	client  *clientv3.Client // to all members, without a link
}

// Member is an etcd server.
type Member struct {
	config memberConfig
	log    *os.File
	*process
}

type memberConfig struct {
	Name, Dir    string
	Client, Peer string // addresses
	Cluster      string // etcd's initial-cluster
	Quota        int64  // of the database, if not 0
	AuthTokenTTL uint   // in seconds, if not 0
}

// runMember is the life of a member process.
func runMember(config memberConfig) error {
	exitWhenOrphaned()
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = config.Name, config.Dir
	client, peer := url.URL{Scheme: "http", Host: config.Client}, url.URL{Scheme: "http", Host: config.Peer}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = config.Cluster
	cfg.UnsafeNoFsync = true // the machine does not go down here
	cfg.EnableGRPCGateway = false
	if config.Quota > 0 {
		cfg.QuotaBackendBytes = config.Quota
	}
	cfg.BcryptCost = 4 // the least: what a password costs is not what is tested
	if config.AuthTokenTTL > 0 {
		cfg.AuthTokenTTL = config.AuthTokenTTL
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapcore.NewCore(
		zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), os.Stderr, zap.WarnLevel)))
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	return <-etcd.Err() // it is killed
}

// startCluster returns when all members serve. The caller closes it.
func startCluster(ctx context.Context, dir string, members int, change func(*memberConfig)) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := &Cluster{dir: dir}
	var initial, endpoints []string
	for i := range members {
		m := &Member{config: memberConfig{Name: fmt.Sprintf("m%d", i)}}
		m.config.Dir = filepath.Join(dir, m.config.Name)
		var errs [2]error
		m.config.Client, errs[0] = freeAddr()
		m.config.Peer, errs[1] = freeAddr()
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		if change != nil {
			change(&m.config)
		}
		c.members = append(c.members, m)
		initial = append(initial, m.config.Name+"=http://"+m.config.Peer)
		endpoints = append(endpoints, m.config.Client)
	}
	for _, m := range c.members {
		m.config.Cluster = strings.Join(initial, ",")
		if err := m.start(); err != nil {
			c.close()
			return nil, err
		}
	}
	var err error
	c.client, err = clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.New(silent), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: time.Second})
	if err == nil {
		err = c.await(ctx)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (m *Member) start() (err error) {
	if m.log == nil {
		if m.log, err = os.Create(m.config.Dir + ".log"); err != nil {
			return err
		}
	}
	m.process, err = startProcess(memberRole, m.config, m.log)
	return err
}

// await waits until every member that runs serves and knows a leader.
func (c *Cluster) await(ctx context.Context) error {
	for _, m := range c.members {
		for m.running() {
			if s, err := c.status(ctx, m); err == nil && s.Leader != 0 {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("member %s: %w", m.config.Name, ctx.Err())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func (c *Cluster) status(ctx context.Context, m *Member) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return c.client.Status(ctx, m.config.Client)
}

// leader waits until a member that runs leads, other than the given one.
func (c *Cluster) leader(ctx context.Context, other *Member) (*Member, error) {
	for ctx.Err() == nil {
		found := make([]bool, len(c.members))
		var wg sync.WaitGroup
		for i, m := range c.members {
			if m == other || !m.running() {
				continue
			}
			wg.Go(func() {
				s, err := c.status(ctx, m)
				found[i] = err == nil && s.Leader == s.Header.MemberId
			})
		}
		wg.Wait()
		for i, m := range c.members {
			if found[i] {
				return m, nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, fmt.Errorf("no member leads: %w", ctx.Err())
}

// close kills everything. The directory is the caller's.
func (c *Cluster) close() {
	if c.client != nil {
		_ = c.client.Close()
	}
	for _, m := range c.members {
		if m.process != nil {
			m.kill()
		}
		if m.log != nil {
			_ = m.log.Close()
		}
	}
}

//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/process"
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
	*process.Process
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
	process.ExitWhenOrphaned()
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
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, partition, reunion)
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	go obeyPartitions(etcd.Server, signals)
	return <-etcd.Err() // it is killed
}

const (
	partition = syscall.SIGUSR1
	reunion   = syscall.SIGUSR2
)

// cutOffFromPeers is what a member says once it is.
const cutOffFromPeers = "cut off from its peers"

// obeyPartitions cuts the member off from its peers, or ends that. It is done
// from within: on the addresses of one machine a proxy between the members could
// not tell who calls.
func obeyPartitions(server *etcdserver.EtcdServer, signals <-chan os.Signal) {
	for s := range signals {
		for _, peer := range server.Cluster().Members() {
			switch {
			case peer.ID == server.MemberID():
			case s == partition:
				server.CutPeer(peer.ID)
			default:
				server.MendPeer(peer.ID)
			}
		}
		if s == partition {
			fmt.Fprintln(os.Stderr, cutOffFromPeers)
		}
	}
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
		m.config.Client, errs[0] = link.FreeAddr()
		m.config.Peer, errs[1] = link.FreeAddr()
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
	m.Process, err = process.Start(memberRole, m.config, m.log)
	return err
}

// isolate cuts the member off from all others: no message of raft gets to it, or
// from it. Its clients reach it as before. rejoin ends that.
func (m *Member) isolate() { m.Signal(partition) }
func (m *Member) rejoin()  { m.Signal(reunion) }

// isolated reports whether the member has been cut off ever.
func (m *Member) isolated() bool {
	said, err := os.ReadFile(m.log.Name())
	return err == nil && strings.Contains(string(said), cutOffFromPeers)
}

// await waits until every member that runs serves and knows a leader.
func (c *Cluster) await(ctx context.Context) error {
	for _, m := range c.members {
		for m.Running() {
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
			if m == other || !m.Running() {
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

// other returns a member that is not m.
func (c *Cluster) other(m *Member) *Member {
	return c.members[(slices.Index(c.members, m)+1)%len(c.members)]
}

// close kills everything. The directory is the caller's.
func (c *Cluster) close() {
	if c.client != nil {
		_ = c.client.Close()
	}
	for _, m := range c.members {
		if m.Process != nil {
			m.Kill()
		}
		if m.log != nil {
			_ = m.log.Close()
		}
	}
}

package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

const (
	defaultLeaseTTL = 10 * time.Second
	minLeaseTTL     = time.Second
	maxLeaseTTL     = 300 * time.Second // etcd forgets how old a lease is at each leader change; without checkpoints long ones would never expire
	defaultDrift    = 0.02
	maxDrift        = 0.1

	// epsilon is taken off the validity, for the clock's own tolerance.
	epsilon = clockTolerance + 5*time.Millisecond

	// callTimeout bounds each attempt of a call to etcd, which is then repeated,
	// likely on another member.
	callTimeout = time.Second
)

type etcdProvider struct {
	endpoints []string
	config    clientv3.Config
	client    *clientv3.Client
	namespace string
	timing    timing
	newClock  func() *clock // for each lease
	invalid   error

	granted atomic.Int64 // the last TTL that was not the one asked for; to log changes only

	mu       sync.Mutex
	memories map[string]memory // by prefix of the app's keys
}

// timing is what the owner of a lease and the others have to agree on, so that
// the owner stops before anybody else starts; see the package comment.
type timing struct {
	ttl      time.Duration
	drift    float64
	grace    time.Duration
	graceSet bool
}

// validity is how long after it was sent a heartbeat keeps the lease valid.
func (t timing) validity() time.Duration {
	return t.ttl - time.Duration(float64(t.ttl)*t.drift) - epsilon
}

// period is the time between two heartbeats.
func (t timing) period() time.Duration { return t.ttl / 4 }

// attempt bounds a heartbeat: the next one must not be queued behind it.
func (t timing) attempt() time.Duration { return min(callTimeout, t.ttl/5) }

// lag bounds how long the watch says nothing once etcd has committed a heartbeat.
// A member that hangs may have the watch, and the next one as well: there has to
// be time for a third.
func (t timing) lag() time.Duration {
	return min(t.attempt(), max(t.attempt()/2, 250*time.Millisecond))
}

// granted is t with the TTL that etcd has granted.
func (t timing) granted(ttl time.Duration) timing {
	t.ttl = ttl
	if !t.graceSet {
		t.grace = ttl / 5
	}
	return t
}

func (t timing) validate() error {
	room := t.validity() - t.period() - t.attempt()
	switch {
	case t.ttl < minLeaseTTL || t.ttl > maxLeaseTTL:
		return fmt.Errorf("%w: WithLeaseTTL(%v): must be between %v and %v", ErrInvalidConfig, t.ttl, minLeaseTTL, maxLeaseTTL)
	case t.ttl%time.Second != 0:
		return fmt.Errorf("%w: WithLeaseTTL(%v): must be a whole number of seconds, as etcd counts", ErrInvalidConfig, t.ttl)
	case math.IsNaN(t.drift) || t.drift < 0 || t.drift > maxDrift:
		return fmt.Errorf("%w: WithClockDrift(%v): must be between 0 and %v", ErrInvalidConfig, t.drift, maxDrift)
	case t.grace < 0 || t.grace > room:
		return fmt.Errorf("%w: WithLeaseGrace(%v): must be between 0 and %v with a lease TTL of %v, or a single late heartbeat would end the lease",
			ErrInvalidConfig, t.grace, room.Truncate(time.Millisecond), t.ttl)
	}
	return nil
}

// NewETCDLeaseProvider returns a provider of leases on an etcd cluster, etcd 3.4
// or newer. endpoints are the client URLs of its members; give all of them, so
// that any may fail. It makes no call; wrong arguments are reported by
// [Concurrency.Campaign] and [LeadershipBasedJobProcessor.Execute] before
// anything is written to etcd. It is safe for concurrent use, and has nothing to
// close: each lease makes a client of its own, unless [WithETCDClient] is given,
// and closes it.
func NewETCDLeaseProvider(endpoints []string, opts ...ETCDOption) LeaseProvider {
	p := &etcdProvider{endpoints: endpoints, timing: timing{ttl: defaultLeaseTTL, drift: defaultDrift}, newClock: newClock, memories: map[string]memory{}}
	for _, o := range opts {
		o(p)
	}
	p.timing = p.timing.granted(p.timing.ttl)
	p.invalid = p.validate()
	return p
}

// ETCDOption changes the provider that [NewETCDLeaseProvider] returns. Of an
// option given twice the last counts.
type ETCDOption func(*etcdProvider)

// WithLeaseTTL sets how long etcd keeps a lease whose owner is silent: a whole
// number of seconds from 1 to 300. A crash costs about as much availability of
// the jobs concerned; on the other hand leadership survives a silence of etcd of
// a little more than half the TTL only. etcd grants no less than one and a half
// of its election timeouts (2 s by default): a shorter TTL is raised to that.
// Anything else is an error of Campaign or Execute. Default: 10 s.
func WithLeaseTTL(ttl time.Duration) ETCDOption {
	return func(p *etcdProvider) { p.timing.ttl = ttl }
}

// WithLeaseGrace sets how long before anybody else may lead the context of a
// lost leadership is done: the time that Work has to stop. It must be at least
// 0, and leave time for a heartbeat that comes late: with the default TTL and
// drift at most 6.275 s. Anything else is an error of Campaign or Execute.
// Default: a fifth of the TTL.
func WithLeaseGrace(grace time.Duration) ETCDOption {
	return func(p *etcdProvider) { p.timing.grace, p.timing.graceSet = grace, true }
}

// WithClockDrift sets by how much the clock of a node may run slow or fast, from
// 0 to 0.1; all nodes should have the same. Exclusion holds while the clocks
// keep to that. A rate out of bounds is an error of Campaign or Execute.
// Default: 0.02, which is 2 %, forty times what NTP slews at.
func WithClockDrift(rate float64) ETCDOption {
	return func(p *etcdProvider) { p.timing.drift = rate }
}

// WithNamespace puts prefix before every key, so that several installations of a
// service can share an etcd cluster, or permissions be given for it. Nothing is
// put in between: "prod/" makes "prod/app/...". prefix has at most 256 bytes of
// UTF-8 without control characters; anything else is an error of Campaign or
// Execute. Default: none.
func WithNamespace(prefix string) ETCDOption {
	return func(p *etcdProvider) { p.namespace = prefix }
}

// WithETCDConfig sets what else the client needs: TLS, user and password, dial
// options. The endpoints are those of NewETCDLeaseProvider, or of config if
// there are none. The keep-alive of connections, the dial timeout and the logger
// have defaults of ours where config leaves them zero; config.Context is not
// used. Each lease makes its own client from config, and closes it.
func WithETCDConfig(config clientv3.Config) ETCDOption {
	return func(p *etcdProvider) { p.config = config }
}

// WithETCDClient uses a client that exists; give NewETCDLeaseProvider no
// endpoints then. It is not closed by us, and must not be closed before what
// uses the provider has been. nil is as if the option were not given.
func WithETCDClient(client *clientv3.Client) ETCDOption {
	return func(p *etcdProvider) { p.client = client }
}

func (p *etcdProvider) validate() error {
	if p.client != nil && (len(p.endpoints) > 0 || len(p.config.Endpoints) > 0) {
		return fmt.Errorf("%w: endpoints and WithETCDClient exclude each other", ErrInvalidConfig)
	}
	if len(p.endpoints) == 0 {
		p.endpoints = p.config.Endpoints
	}
	if p.client == nil && len(p.endpoints) == 0 {
		return fmt.Errorf("%w: endpoints: there must be at least one", ErrInvalidConfig)
	}
	for i, e := range p.endpoints {
		if err := validateText(fmt.Sprintf("endpoints[%d]", i), e, 2048); err != nil {
			return err
		}
		if strings.TrimSpace(e) != e {
			return fmt.Errorf("%w: endpoints[%d] %q has space around it", ErrInvalidConfig, i, e)
		}
	}
	if p.namespace != "" {
		if err := validateText("WithNamespace", p.namespace, 256); err != nil {
			return err
		}
	}
	return p.timing.validate()
}

// AcquireLease implements [LeaseProvider].
func (p *etcdProvider) AcquireLease(ctx context.Context, req LeaseRequest) (Lease, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	client, closeClient, err := p.connect(ctx, req.Logger)
	if err != nil {
		return nil, classify(fmt.Errorf("connect to etcd: %w", err))
	}
	lease, err := p.join(ctx, client, closeClient, req)
	if err != nil {
		err = classify(diagnose(ctx, client, fmt.Errorf("acquire etcd lease: %w", err)))
		return nil, errors.Join(err, closeClient())
	}
	return lease, nil
}

func (p *etcdProvider) join(ctx context.Context, client *clientv3.Client, closeClient func() error, req LeaseRequest) (Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*callTimeout)
	defer cancel()
	var grant *clientv3.LeaseGrantResponse
	err := insist(ctx, p.timing.attempt(), func(ctx context.Context) (err error) {
		grant, err = client.Grant(ctx, int64(p.timing.ttl/time.Second)) // one too many expires by itself
		return err
	})
	if err != nil {
		return nil, err
	}
	timing := p.timing.granted(time.Duration(grant.TTL) * time.Second)
	if timing.ttl != p.timing.ttl && p.granted.Swap(int64(timing.ttl)) != int64(timing.ttl) {
		req.Logger.Warn("etcd grants another lease TTL than asked for", "asked", p.timing.ttl, "granted", timing.ttl)
	}
	keys := etcdKeys{prefix: p.namespace + req.App + "/"}
	lease := newETCDLease(client, closeClient, grant.ID, keys, timing, p.recall(keys.prefix), req)
	lease.clock = p.newClock()
	lease.remember = func(m memory) { p.remember(keys.prefix, m) }
	if err := lease.join(ctx); err != nil {
		lease.abandon(context.WithoutCancel(ctx))
		return nil, err
	}
	return lease, nil
}

// recall returns what leases of this provider have learnt of an app.
func (p *etcdProvider) recall(prefix string) memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.memories[prefix]
}

func (p *etcdProvider) remember(prefix string, m memory) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.epoch != 0 {
		p.memories[prefix] = m
	}
}

// connect returns a client and what closes it. The client outlives ctx, but not
// a ctx that ends while it is being made.
func (p *etcdProvider) connect(ctx context.Context, log *slog.Logger) (*clientv3.Client, func() error, error) {
	if p.client != nil {
		return p.client, func() error { return nil }, nil
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	defer stop()

	config := p.config
	config.Context = life
	config.Endpoints = p.endpoints
	if config.Logger == nil && config.LogConfig == nil {
		config.Logger = zapTo(log)
	}
	if config.DialTimeout == 0 {
		config.DialTimeout = 5 * callTimeout
	}
	if config.DialKeepAliveTime == 0 {
		config.DialKeepAliveTime = 10 * time.Second // the least that gRPC allows
	}
	if config.DialKeepAliveTimeout == 0 {
		config.DialKeepAliveTimeout = 3 * time.Second
	}
	config.DialOptions = append([]grpc.DialOption{grpc.WithChainUnaryInterceptor(failFast)}, config.DialOptions...)
	client, err := clientv3.New(config)
	if err != nil {
		end()
		return nil, nil, err
	}
	return client, func() error { defer end(); return ignoreCanceled(client.Close()) }, nil
}

// failFast makes calls fail when no member can be reached, with the reason;
// the client's default is to wait until the deadline, which hides it.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

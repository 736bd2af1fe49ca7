package distributed

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
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
	endpoints  []string
	config     clientv3.Config
	configured bool // config was given
	client     *clientv3.Client
	token      func(context.Context) (string, error)
	tokenSet   bool // token was given
	namespace  string
	timing     timing
	newClock   func() *clock // for each lease
	invalid    error
	login      *login // nil without user and token

	granted atomic.Int64 // the last TTL that was not the one asked for; to log changes only

	mu      sync.Mutex
	records map[string]*etcdRecord // by prefix of the app's keys
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
	p := &etcdProvider{endpoints: endpoints, timing: timing{ttl: defaultLeaseTTL, drift: defaultDrift}, newClock: newClock, records: map[string]*etcdRecord{}}
	for i, o := range opts {
		if o == nil {
			p.invalid = fmt.Errorf("%w: NewETCDLeaseProvider: option %d is nil", ErrInvalidConfig, i)
			return p
		}
		o(p)
	}
	p.timing = p.timing.granted(p.timing.ttl)
	p.invalid = p.validate()
	p.login = newLogin(p.config, p.token)
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

// AcquireLease implements [LeaseProvider].
func (p *etcdProvider) AcquireLease(ctx context.Context, req LeaseRequest) (Lease, error) {
	var lease Lease
	keys := etcdKeys{prefix: p.namespace + req.App + "/"}
	err := p.attempt(ctx, req.Logger, &p.record(keys.prefix).joining, func(c *connection) (err error) {
		lease, err = p.join(ctx, c, keys, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return lease, nil
}

func (p *etcdProvider) join(ctx context.Context, c *connection, keys etcdKeys, req LeaseRequest) (Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*callTimeout)
	defer cancel()
	var grant *clientv3.LeaseGrantResponse
	err := insist(ctx, p.timing.attempt(), func(ctx context.Context) (err error) {
		grant, err = c.client.Grant(ctx, int64(p.timing.ttl/time.Second)) // one too many expires by itself
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("acquire etcd lease: %w", err)
	}
	timing := p.timing.granted(time.Duration(grant.TTL) * time.Second)
	if timing.ttl != p.timing.ttl && p.granted.Swap(int64(timing.ttl)) != int64(timing.ttl) {
		req.Logger.Warn("etcd grants another lease TTL than asked for", "asked", p.timing.ttl, "granted", timing.ttl)
	}
	record := p.record(keys.prefix)
	lease := newETCDLease(c.client, c.close, grant.ID, keys, timing, record.recall(), req)
	lease.clock = p.newClock()
	lease.remember = record.remember
	lease.accepted = record.accept
	lease.refused = func(err error) error { return record.writing.refusal(req.Logger, c, err) }
	if err := lease.join(ctx); err != nil {
		lease.abandon(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("acquire etcd lease: %w", err)
	}
	return lease, nil
}

package distributed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdProvider opens stores on an etcd cluster.
type etcdProvider struct {
	endpoints  []string
	config     clientv3.Config
	configured bool // config was given
	client     *clientv3.Client
	token      func(context.Context) (string, error)
	tokenSet   bool   // token was given
	login      *login // nil without user and token
	refusers   refusers
	lease      []LeaseOption
	invalid    error

	mu     sync.Mutex
	failed int // attempts in a row that have reached nobody
}

// NewETCDLeaseProvider returns a provider of leases on an etcd cluster, 3.4 or newer.
// endpoints are the client URLs of its members; give all of them, so that any may fail.
// It makes no call: [Concurrency.Campaign] and [LeadershipBasedJobProcessor.Execute]
// report wrong arguments before anything is written to etcd. It is safe for concurrent
// use, and has nothing to close: each lease makes a client of its own and closes it,
// unless [WithETCDClient] is given.
func NewETCDLeaseProvider(endpoints []string, opts ...ETCDOption) LeaseProvider {
	e := &etcdProvider{endpoints: endpoints}
	for i, o := range opts {
		if o == nil {
			e.invalid = fmt.Errorf("%w: NewETCDLeaseProvider: option %d is nil", ErrInvalidConfig, i)
			continue
		}
		o.applyETCD(e)
	}
	if e.invalid == nil {
		e.invalid = e.validate()
	}
	e.login = newLogin(e.config, e.token)
	options := newLeaseOptions(e.lease)
	if options.invalid == nil {
		options.invalid = e.invalid
	}
	return newStoreProvider(e.open, options)
}

// ETCDOption changes the provider that [NewETCDLeaseProvider] returns: every
// [LeaseOption] does, and those whose names begin with WithETCD. Of an option given
// twice the last counts.
type ETCDOption interface{ applyETCD(*etcdProvider) }

func (o LeaseOption) applyETCD(e *etcdProvider) { e.lease = append(e.lease, o) }

type etcdOption func(*etcdProvider)

func (o etcdOption) applyETCD(e *etcdProvider) { o(e) }

// open is an [OpenStore].
func (p *etcdProvider) open(ctx context.Context, req LeaseRequest) (Store, error) {
	c, err := p.connect(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := c.reach(ctx, p.patience()); err != nil {
		p.reached(false)
		return nil, errors.Join(c.explain(err), c.close())
	}
	p.reached(true)
	return newETCDStore(c), nil
}

// patience is how long an attempt waits until it has reached a member: the first
// time not long, so that we can say why not, then longer, as etcd may be slow.
func (p *etcdProvider) patience() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(callTimeout<<min(p.failed, 3), joinTimeout)
}

func (p *etcdProvider) reached(ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed++
	if ok {
		p.failed = 0
	}
}

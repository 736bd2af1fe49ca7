//go:build unix

package main

import (
	"context"
	"net"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
)

// member is a node of an app: it campaigns for all jobs, and works on those that
// it wins, until its context is done.
type member struct {
	endpoints     []string
	app, instance string
	ttl           time.Duration
	jobs          []string
	work          func(ctx context.Context, job int)
	lost          func(cause error)                                        // a lease of ours; may be nil
	balanced      bool                                                     // ours only: it campaigns for what load balancing gives it
	made          func(*distributed.LeadershipBasedJobProcessor)           // ours only; may be nil
	dial          func(ctx context.Context, addr string) (net.Conn, error) // ours only; may be nil
}

// run returns when the member has stopped working and given up everything.
func (m *member) run(ctx context.Context, by string) error {
	if by == byOurs {
		return m.runOurs(ctx)
	}
	return m.runConcurrency(ctx, by == byRevoking)
}

func (m *member) runOurs(ctx context.Context) error {
	config := clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(m.dial)}}
	provider := distributed.NewETCDLeaseProvider(m.endpoints, distributed.WithLeaseTTL(m.ttl), distributed.WithETCDConfig(config))
	jobs := make([]distributed.Job, len(m.jobs))
	work := m.work // and not all of m for each job
	for i, name := range m.jobs {
		jobs[i] = distributed.Job{Name: name, Work: func(ctx context.Context) error { work(ctx, i); return nil }}
	}
	opts := []distributed.ProcessorOption{distributed.WithHooks(distributed.Hooks{LeaseLost: m.lost})}
	if m.balanced {
		opts = append(opts, distributed.WithLoadBalancing())
	}
	p := distributed.NewLeadershipBasedJobProcessor(m.app, m.instance, provider, jobs, opts...)
	if m.made != nil {
		m.made(p)
	}
	return p.Execute(ctx)
}

// runConcurrency does the same with etcd's own means, as carefully as they
// allow: one client and one session, a goroutine a job that campaigns, works
// while the session lives, resigns and campaigns again. With revoke, it leaves
// out the resignations when it stops: once no job works any more, revoking the
// lease gives all of them up at once.
func (m *member) runConcurrency(ctx context.Context, revoke bool) error {
	client, err := newClient(m.endpoints)
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		if err := m.serveSession(ctx, client, revoke); err != nil {
			return err
		}
	}
	return nil
}

// serveSession works until the session is lost or ctx is done.
func (m *member) serveSession(ctx context.Context, client *clientv3.Client, revoke bool) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(int(m.ttl/time.Second)))
	if err != nil {
		return err
	}
	defer session.Close() // an error leaves the lease to expire
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(session.Ctx(), cancel)()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range m.jobs {
		wg.Go(func() { m.serveJob(alive, session, i, revoke) })
	}
	return nil
}

func (m *member) serveJob(alive context.Context, session *concurrency.Session, job int, revoke bool) {
	election := concurrency.NewElection(session, m.app+"/"+m.jobs[job]+"/leader")
	for alive.Err() == nil {
		m.serveTerm(alive, election, job)
		if !revoke || alive.Err() == nil {
			resign(alive, election)
		}
	}
}

// serveTerm works once. Campaign may return nil although the session is over:
// then alive is done.
func (m *member) serveTerm(alive context.Context, election *concurrency.Election, job int) {
	if err := election.Campaign(alive, m.instance); err != nil {
		select {
		case <-time.After(100 * time.Millisecond): // etcd refuses, or is away
		case <-alive.Done():
		}
		return
	}
	if alive.Err() == nil {
		m.work(alive, job)
	}
}

func resign(ctx context.Context, election *concurrency.Election) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = election.Resign(ctx) // after an error the key stays until the session is closed
}

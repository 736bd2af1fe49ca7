package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed"
)

// handover measures, in turn, the limit: from before a client deletes a key
// until another client has its watch event; and from before a node resigns until
// another node has entered its work.
func (b *bench) handover(ctx context.Context) error {
	nodes := make([]*distributed.Concurrency, 2)
	for i := range nodes {
		nodes[i] = distributed.NewConcurrency(b.app, fmt.Sprint("node-", i), distributed.NewETCDLeaseProvider(b.endpoints))
		defer nodes[i].Close()
	}
	probe, err := b.newProbe()
	if err != nil {
		return err
	}
	defer probe.close()
	leader, err := nodes[0].Campaign(ctx, "job")
	if err != nil {
		return err
	}
	var ours, limit []time.Duration
	for i := range b.n {
		d, err := probe.once(ctx, fmt.Sprintf("%s-limit/%d", b.app, i))
		if err != nil {
			return err
		}
		limit = append(limit, d)
		if d, leader, err = b.handOver(ctx, leader, nodes[(i+1)%2]); err != nil {
			return err
		}
		ours = append(ours, d)
	}
	fmt.Println("| | p50 | p99 | times the limit, p50 | p99 |\n|---|---|---|---|---|")
	row := func(name string, d []time.Duration) {
		fmt.Printf("| %s | %v | %v | %.2f | %.2f |\n", name, percentile(d, .5), percentile(d, .99),
			ratio(percentile(d, .5), percentile(limit, .5)), ratio(percentile(d, .99), percentile(limit, .99)))
	}
	row("limit: delete → event at another client", limit)
	row("resign → successor's work entered", ours)
	return leader.Resign(ctx)
}

// handOver lets next, which joins the queue first, take over from leader.
func (b *bench) handOver(ctx context.Context, leader *distributed.Leadership, next *distributed.Concurrency) (time.Duration, *distributed.Leadership, error) {
	type entered struct {
		at  time.Time
		l   *distributed.Leadership
		err error
	}
	won := make(chan entered, 1)
	go func() {
		l, err := next.Campaign(ctx, "job")
		won <- entered{time.Now(), l, err}
	}()
	if err := b.awaitCandidates(ctx, "job", 2); err != nil {
		return 0, nil, err
	}
	start := time.Now()
	if err := leader.Resign(ctx); err != nil {
		return 0, nil, err
	}
	e := <-won
	return e.at.Sub(start), e.l, e.err
}

// awaitCandidates also lets things come to rest.
func (b *bench) awaitCandidates(ctx context.Context, job string, n int64) error {
	for {
		resp, err := b.client.Get(ctx, b.app+"/"+job+"/leader/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
		if resp.Count == n {
			return nil
		}
	}
}

// probe is two clients, one of which watches.
type probe struct {
	writer, watcher *clientv3.Client
}

func (b *bench) newProbe() (*probe, error) {
	writer, err := clientv3.New(b.clientConfig())
	if err != nil {
		return nil, err
	}
	watcher, err := clientv3.New(b.clientConfig())
	if err != nil {
		writer.Close()
		return nil, err
	}
	return &probe{writer, watcher}, nil
}

func (p *probe) close() {
	p.writer.Close()
	p.watcher.Close()
}

func (p *probe) once(ctx context.Context, key string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	put, err := p.writer.Put(ctx, key, "")
	if err != nil {
		return 0, err
	}
	events := p.watcher.Watch(ctx, key, clientv3.WithRev(put.Header.Revision+1), clientv3.WithCreatedNotify())
	<-events
	time.Sleep(5 * time.Millisecond)
	seen := make(chan time.Time, 1)
	go func() {
		<-events
		seen <- time.Now()
	}()
	start := time.Now()
	if _, err := p.writer.Delete(ctx, key); err != nil {
		return 0, err
	}
	return (<-seen).Sub(start), nil
}

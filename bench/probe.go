//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// probe measures how fast news can travel: it is two clients, one of which
// watches what the other deletes.
type probe struct {
	prefix          string
	writer, watcher *clientv3.Client
	cancel          context.CancelFunc
	events          clientv3.WatchChan
	seen            chan time.Time
}

func (b *bench) newProbe(ctx context.Context) (*probe, error) {
	writer, err := newClient(b.endpoints)
	if err != nil {
		return nil, err
	}
	watcher, err := newClient(b.endpoints)
	if err != nil {
		writer.Close()
		return nil, err
	}
	p := &probe{prefix: newApp() + "/", writer: writer, watcher: watcher, seen: make(chan time.Time, 1)}
	ctx, p.cancel = context.WithCancel(ctx)
	p.events = watcher.Watch(ctx, p.prefix, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-p.events
	go p.look()
	return p, nil
}

// look ends with the watch.
func (p *probe) look() {
	for resp := range p.events {
		if len(resp.Events) > 0 {
			p.seen <- time.Now()
		}
	}
}

func (p *probe) close() {
	p.cancel()
	p.writer.Close()
	p.watcher.Close()
}

func (p *probe) key(job int) string { return fmt.Sprint(p.prefix, "job-", job) }

func (p *probe) prepare(ctx context.Context) error {
	for job := range handoverBatch {
		if _, err := p.writer.Put(ctx, p.key(job), ""); err != nil {
			return err
		}
	}
	return nil
}

func (p *probe) once(ctx context.Context, job int) (time.Duration, error) {
	began := time.Now()
	if _, err := p.writer.Delete(ctx, p.key(job)); err != nil {
		return 0, err
	}
	select {
	case at := <-p.seen:
		return at.Sub(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

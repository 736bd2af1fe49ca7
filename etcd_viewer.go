package distributed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdViewer looks on at an app without a lease.
type etcdViewer struct {
	closeClient func() error
	keys        etcdKeys
	clock       *clock
	follower    follower
	loops       sync.WaitGroup
	ctx         context.Context // of the loops
	stop        context.CancelFunc
	retime      chan struct{} // wakes keepTime; capacity 1

	views  views
	mu     sync.Mutex
	mirror *mirror
	closed bool
}

// OpenView implements [ViewProvider].
func (p *etcdProvider) OpenView(ctx context.Context, req LeaseRequest) (Viewer, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	client, closeClient, err := p.connect(ctx, req.Logger)
	if err != nil {
		return nil, classify(fmt.Errorf("connect to etcd: %w", err))
	}
	v := newETCDViewer(client, closeClient, etcdKeys{prefix: p.namespace + req.App + "/"}, p.timing, req)
	v.clock = p.newClock()
	listing, cancel := context.WithTimeout(ctx, 5*callTimeout)
	defer cancel()
	if err := v.follower.list(listing); err != nil {
		err = classify(diagnose(ctx, client, fmt.Errorf("list the keys of the app: %w", err)))
		return nil, errors.Join(err, closeClient())
	}
	v.loops.Go(func() { v.follower.run(v.ctx) })
	v.loops.Go(v.keepTime)
	return v, nil
}

func newETCDViewer(client *clientv3.Client, closeClient func() error, keys etcdKeys, t timing, req LeaseRequest) *etcdViewer {
	v := &etcdViewer{closeClient: closeClient, keys: keys, retime: make(chan struct{}, 1), mirror: newMirror(keys, "", t, memory{})}
	v.ctx, v.stop = context.WithCancel(context.Background())
	v.follower = follower{
		client: client, log: req.Logger, prefix: keys.prefix, patience: t.attempt(),
		position: v.position,
		listed: func(rev int64, listed []keyEvent) {
			v.update(func(now time.Duration) { v.mirror.load(rev, listed, now) })
			signal(v.retime)
		},
		changed: func(events []*clientv3.Event) {
			v.update(func(now time.Duration) {
				for revision := range revisions(events) {
					v.mirror.apply(revision, now)
				}
			})
			signal(v.retime)
		},
	}
	return v
}

func (v *etcdViewer) position() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mirror.rev
}

func (v *etcdViewer) update(f func(now time.Duration)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(v.clock.sync())
	v.views.expire(v.mirror, v.closed)
}

// keepTime lets go of what nodes have lost.
func (v *etcdViewer) keepTime() {
	for v.ctx.Err() == nil {
		var due <-chan time.Time
		v.update(func(now time.Duration) {
			v.mirror.expire(now)
			if at, ok := v.mirror.nextExpiry(); ok {
				due = time.After(at - now)
			}
		})
		select {
		case <-due:
		case <-v.retime:
		case <-v.ctx.Done():
		}
	}
}

// View implements [Viewer].
func (v *etcdViewer) View() (*View, <-chan struct{}, error) {
	view, outdated := v.views.get(&v.mu, v.mirror)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, nil, ErrClosed
	}
	return view, outdated, nil
}

// Silence implements [Viewer].
func (v *etcdViewer) Silence() map[string]time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mirror.silence(v.clock.now())
}

// Close implements [Viewer].
func (v *etcdViewer) Close() error {
	v.mu.Lock()
	again := v.closed
	v.closed = true
	v.views.expire(v.mirror, true)
	v.mu.Unlock()
	if again {
		return nil
	}
	v.stop()
	v.loops.Wait()
	return v.closeClient()
}

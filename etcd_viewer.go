package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdViewer looks on at an app without a lease.
type etcdViewer struct {
	client      *clientv3.Client
	closeClient func() error
	log         *slog.Logger
	events      LeaseEvents
	keys        etcdKeys
	timing      timing
	clock       *clock
	follower    follower
	loops       sync.WaitGroup
	ctx         context.Context // of the loops
	stop        context.CancelFunc
	retime      chan struct{} // wakes keepTime; capacity 1

	views   views
	mu      sync.Mutex
	mirror  *mirror
	heardAt time.Duration // when the watch said something last
	closed  bool
}

// OpenView implements [ViewProvider].
func (p *etcdProvider) OpenView(ctx context.Context, req LeaseRequest) (Viewer, error) {
	var v *etcdViewer
	keys := etcdKeys{prefix: p.namespace + req.App + "/"}
	record := p.record(keys.prefix)
	err := p.attempt(ctx, req.Logger, &record.viewing, func(c *connection) error {
		v = newETCDViewer(c, keys, p.timing, req)
		v.clock = p.newClock()
		listing, cancel := context.WithTimeout(ctx, 5*callTimeout)
		defer cancel()
		if err := v.follower.list(listing); err != nil {
			return fmt.Errorf("list the keys of the app: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	record.viewing.succeed(true)
	v.loops.Go(func() { v.follower.run(v.ctx) })
	v.loops.Go(v.keepTime)
	v.loops.Go(v.listen)
	return v, nil
}

func newETCDViewer(c *connection, keys etcdKeys, t timing, req LeaseRequest) *etcdViewer {
	v := &etcdViewer{
		client: c.client, closeClient: c.close, keys: keys, timing: t, events: req.Events, log: req.Logger,
		retime: make(chan struct{}, 1), mirror: newMirror(keys, "", t, memory{}),
	}
	v.ctx, v.stop = context.WithCancel(context.Background())
	v.follower = follower{
		client: c.client, log: req.Logger, prefix: keys.prefix, patience: t.attempt(),
		position: v.position,
		created:  v.hear,
		listed: func(rev int64, listed []keyEvent) {
			v.update(func(now time.Duration) { v.mirror.load(rev, listed, now); v.heardAt = now })
			signal(v.retime)
		},
		changed: func(events []*clientv3.Event) {
			v.update(func(now time.Duration) {
				v.heardAt = now
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

// listen makes sure that silence means that nothing happens. Nodes are heard of
// four times a TTL each; when nothing has come for as long, it asks etcd for its
// proof of life, and the watch for one of its own. It tells events how that went, as
// a lease does of its renewals.
func (v *etcdViewer) listen() {
	limit := v.timing.period() + v.timing.attempt()/2
	for wait := limit; sleep(v.ctx, wait) == nil; {
		quiet, nodes := v.quiet()
		if wait = limit - quiet; wait > 0 {
			v.events.renewed(0, 0)
			continue
		}
		sent := v.clock.now()
		err := v.ask()
		if err == nil && (nodes || quiet > 3*v.timing.ttl) {
			err = v.listenAnew(sent)
		}
		wait = limit
		switch {
		case err == nil:
			v.events.renewed(v.clock.now()-sent, 0)
		case v.ctx.Err() == nil:
			wait = v.timing.attempt() / 2
			v.log.Debug("observer hears nothing, trying again", "error", err)
			v.events.renewalFailed(err)
		}
	}
}

// quiet returns for how long the watch has said nothing, and whether there are nodes
// that should have been heard of.
func (v *etcdViewer) quiet() (since time.Duration, nodes bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.mirror.nodes {
		nodes = nodes || n.alive
	}
	return v.clock.now() - v.heardAt, nodes
}

// ask makes sure that etcd answers, with a majority of its members.
func (v *etcdViewer) ask() error {
	ctx, cancel := context.WithTimeout(v.ctx, v.timing.attempt())
	defer cancel()
	_, err := v.client.Get(ctx, v.keys.epoch())
	return err
}

var errDeaf = errors.New("the watch says nothing")

// listenAnew starts another watch, which tells what the last one has not, and first
// that it is there.
func (v *etcdViewer) listenAnew(since time.Duration) error {
	v.follower.restart()
	for end := v.clock.now() + v.timing.attempt(); v.clock.now() < end; {
		if quiet, _ := v.quiet(); v.clock.now()-quiet >= since {
			return nil
		}
		if err := sleep(v.ctx, v.timing.attempt()/20); err != nil {
			return err
		}
	}
	return errDeaf
}

func (v *etcdViewer) hear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heardAt = v.clock.now()
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

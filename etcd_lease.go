package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdLease is a node's life in etcd under one etcd lease. Five loops run from
// join to Close: watch applies what happens in etcd to the mirror, renew sends
// heartbeats, keepTime does what is due at some time, write sends changes of
// candidacies, bury deletes what dead nodes have left. They share the fields
// below mu, and make no calls while they hold it; keepTime makes none at all.
type etcdLease struct {
	client      *clientv3.Client
	closeClient func() error
	log         *slog.Logger
	keys        etcdKeys
	id          clientv3.LeaseID
	name        string // id in hex
	instance    string
	timing      timing
	clock       *clock

	loops sync.WaitGroup
	ctx   context.Context // of the loops
	stop  context.CancelFunc

	nodeRev  int64         // create revision of the node key, set by join
	aliveRev int64         // and of the alive key
	joined   chan struct{} // closed when the first heartbeat has come back
	ended    chan struct{} // closed when the lease is over
	retime   chan struct{} // wakes keepTime; capacity 1
	hurry    chan struct{} // wakes renew after a failed attempt; capacity 1
	follower follower
	written  writer

	idleStream atomic.Pointer[keepAliveStream] // for the next keep-alive

	// validUntil is when, on our clock, others may lead at the earliest, in
	// nanoseconds; 0 until the first heartbeat has come back.
	validUntil atomic.Int64

	remember func(memory)
	accepted func()            // etcd has taken a candidacy
	refused  func(error) error // and has refused to; returns what that comes to
	events   LeaseEvents

	views     views
	mu        sync.Mutex
	mirror    *mirror
	elections map[string]*etcdElection
	beats     map[int64]time.Duration // when each heartbeat that has not come back was sent
	acked     int64                   // revision of the newest heartbeat that etcd has confirmed
	ackedAt   time.Duration
	heardAt   time.Duration // when the watch said something last
	lost      error         // why the lease is over, nil while it is not
	closed    bool
	calls     []func() // to be made once mu is free
}

func newETCDLease(client *clientv3.Client, closeClient func() error, id clientv3.LeaseID, keys etcdKeys, t timing, known memory, req LeaseRequest) *etcdLease {
	l := &etcdLease{
		client: client, closeClient: closeClient, log: req.Logger, events: req.Events,
		keys: keys, id: id, name: leaseName(id), instance: req.Instance,
		timing:    t,
		joined:    make(chan struct{}),
		ended:     make(chan struct{}),
		retime:    make(chan struct{}, 1),
		hurry:     make(chan struct{}, 1),
		elections: map[string]*etcdElection{},
		beats:     map[int64]time.Duration{},
	}
	l.follower = follower{
		client: client, log: req.Logger, prefix: keys.prefix, patience: t.attempt(),
		position: l.position,
		listed:   func(rev int64, listed []keyEvent) { l.update(func() { l.relist(rev, listed) }) },
		changed:  func(events []*clientv3.Event) { l.update(func() { l.apply(events) }) },
	}
	l.written = newWriter(l)
	l.mirror = newMirror(keys, l.name, t, known)
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// join lists the app, starts to watch it, writes the node's keys, and returns
// once the first heartbeat, which is that write, has come back.
func (l *etcdLease) join(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return err
	}
	l.loops.Go(func() { l.follower.run(l.ctx) })
	sent := l.clock.sync()
	l.mu.Lock()
	l.beats[1] = sent
	l.mu.Unlock()
	rev, err := l.register(ctx)
	if err != nil {
		return err
	}
	l.nodeRev, l.aliveRev, l.written.aliveMod = rev, rev, rev
	select {
	case <-l.joined:
	case <-l.ended:
		return l.over()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.log.Debug("etcd lease granted", "lease", l.name, "ttl", l.timing.ttl)
	l.loops.Go(l.renew)
	l.loops.Go(l.keepTime)
	l.loops.Go(l.written.loop)
	l.loops.Go(l.bury)
	return nil
}

// register writes the node's keys, and returns the revision at which it did. If
// they are there already, an earlier attempt has been executed: nobody else has
// this lease.
func (l *etcdLease) register(ctx context.Context) (rev int64, err error) {
	node, alive := l.keys.node(l.name), l.keys.alive(l.name)
	err = insist(ctx, l.timing.attempt(), func(ctx context.Context) error {
		resp, err := l.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(node), "=", 0)).
			Then(clientv3.OpPut(node, l.nodeValue(1, "")), clientv3.OpPut(alive, encode(aliveValue{}), clientv3.WithLease(l.id))).
			Else(clientv3.OpGet(node)).Commit()
		if err != nil {
			return err
		}
		rev = resp.Header.Revision
		if !resp.Succeeded {
			rev = resp.Responses[0].GetResponseRange().Kvs[0].CreateRevision
		}
		return nil
	})
	return rev, err
}

// enter lists the app, and makes its epoch key if there is none.
func (l *etcdLease) enter(ctx context.Context) error {
	if err := l.follower.list(ctx); err != nil || l.mirror.epoch != 0 {
		return err
	}
	epoch := l.keys.epoch()
	err := insist(ctx, l.timing.attempt(), func(ctx context.Context) error {
		_, err := l.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(epoch), "=", 0)).
			Then(clientv3.OpPut(epoch, "")).Commit()
		return err
	})
	if err != nil {
		return err
	}
	return l.follower.list(ctx)
}

func (l *etcdLease) nodeValue(beat int64, state string) string {
	return encode(nodeValue{
		Instance: l.instance, Beat: beat, TTL: int64(l.timing.ttl / time.Second), Drift: l.timing.drift, State: state,
	})
}

// Election implements [Lease].
func (l *etcdLease) Election(name string) Election {
	fresh := &etcdElection{lease: l, job: name, wake: make(chan struct{}, 1)} // not under mu, for which thousands may wait
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.elections[name]; e != nil {
		return e
	}
	l.elections[name] = fresh
	return fresh
}

// Close implements [Lease].
func (l *etcdLease) Close(ctx context.Context) error {
	var again bool
	l.update(func() {
		again, l.closed = l.closed, true
		for _, e := range l.elections {
			e.leading.Store(false) // whoever led has stopped, and needs no call
		}
		l.end(ErrClosed)
	})
	if again {
		return nil
	}
	err := l.depart(ctx)
	l.stop()
	l.loops.Wait()
	return errors.Join(err, l.closeClient())
}

// abandon ends a lease that has not been handed out: the caller of join closes
// the client.
func (l *etcdLease) abandon(ctx context.Context) {
	l.update(func() { l.end(ErrClosed) })
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := l.depart(ctx); err != nil {
		l.log.Debug("left an unused lease for etcd to expire", "error", err)
	}
	l.stop()
	l.loops.Wait()
}

// depart takes leave of the other nodes. First the announcement that nothing
// runs here any more, together with the end of the alive key, on which every
// write of ours depends: what is still under way can do no harm. Then the lease,
// and with it all candidates, however many; others lead at once, for we have
// drained. Then the announcement. If we die in between, others clean up. A copy
// of the first call that arrives after the last must not bring the node key back;
// but the announcement is made even if somebody else has deleted just that.
func (l *etcdLease) depart(ctx context.Context) error {
	err := l.persist(ctx, func(ctx context.Context) error {
		node, alive := l.keys.node(l.name), l.keys.alive(l.name)
		_, err := l.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(node), "=", 0),
				clientv3.Compare(clientv3.CreateRevision(alive), "=", 0)).
			Else(clientv3.OpPut(node, l.nodeValue(0, stateDrained)), clientv3.OpDelete(alive)).Commit()
		return err
	})
	if err != nil {
		return fmt.Errorf("announce that the node has drained: %w", err)
	}
	err = l.persist(ctx, func(ctx context.Context) error {
		_, err := l.client.Revoke(ctx, l.id)
		if isETCD(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke the lease: %w", err)
	}
	err = l.persist(ctx, func(ctx context.Context) error {
		_, err := l.client.Delete(ctx, l.keys.node(l.name))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete the node key: %w", err)
	}
	return nil
}

// persist repeats an idempotent call until it succeeds, fails for good, is refused
// by several members or several times, or ctx is done.
func (l *etcdLease) persist(ctx context.Context, call func(context.Context) error) error {
	pace := backoff{limit: l.timing.attempt()}
	var last error
	for refused := 0; refused < maxRefusals; {
		if err := sleep(ctx, pace.next()); err != nil {
			return errors.Join(err, last)
		}
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		last = call(attempt)
		cancel()
		if last == nil || isFinal(last) {
			return last
		}
		if isRefusal(last) {
			refused++
		}
	}
	return last
}

// insist repeats an idempotent call for as long as it only times out, so that a
// member that hangs costs an attempt and not all the time there is, and a few times
// when it is refused, as others may not refuse it.
func insist(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	var last error
	pace := backoff{limit: limit}
	for refused := 0; refused < maxRefusals; {
		if err := sleep(ctx, pace.next()); err != nil {
			return errors.Join(err, last)
		}
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		last = call(attempt)
		timedOut := attempt.Err() != nil
		cancel()
		switch {
		case last == nil || ctx.Err() != nil:
			return last
		case isRefusal(last):
			refused++
		case !timedOut:
			return last
		}
	}
	return last
}

// update runs f under mu, and then, without it, the calls that f has asked for.
func (l *etcdLease) update(f func()) {
	l.mu.Lock()
	f()
	l.views.expire(l.mirror, l.lost != nil)
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// over returns why the lease is over, or nil.
func (l *etcdLease) over() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// lose ends the lease.
func (l *etcdLease) lose(cause error) { l.update(func() { l.end(cause) }) }

// end ends the lease: nobody leads under it any more, and it is never valid
// again. What it has in etcd goes when the work has stopped: as each election
// is resigned, and by Close. For update.
func (l *etcdLease) end(cause error) {
	if l.lost != nil {
		return
	}
	l.lost = fmt.Errorf("%w: %w", ErrLeadershipLost, cause)
	l.remember(l.mirror.known)
	close(l.ended)
	for _, e := range l.elections {
		e.dethrone(l.lost)
		e.notify()
	}
	if !l.closed {
		l.calls = append(l.calls, func() { l.events.lost(cause) })
	}
}

// current reports whether leadership can be granted at now: the lease is not
// over, and its validity leaves more than the time that Work has to stop.
func (l *etcdLease) current(now time.Duration) bool {
	return l.lost == nil && now < time.Duration(l.validUntil.Load())-l.timing.grace
}

// evaluate decides anew about the given elections, or all. For update.
func (l *etcdLease) evaluate(jobs []string, all bool) {
	now := l.clock.now()
	if all {
		for _, e := range l.elections {
			e.evaluate(now)
		}
		return
	}
	for _, job := range jobs {
		if e := l.elections[job]; e != nil {
			e.evaluate(now)
		}
	}
}

var (
	errExpired  = errors.New("no heartbeat came back in time")
	errTornAway = errors.New("etcd took the lease or a key of the node away")

	errKeyDeleted = fmt.Errorf("%w: the candidate key was deleted by somebody else", ErrLeadershipLost)
)

// keepTime does what is due: ends the lease when its validity, less the grace,
// has passed; lets go of what other nodes have lost; restarts a watch that hangs.
func (l *etcdLease) keepTime() {
	for {
		var next time.Duration
		l.update(func() { next = l.tick() })
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-l.retime:
		case <-l.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// tick returns how long until there is something to do again. For update.
func (l *etcdLease) tick() time.Duration {
	now := l.clock.sync()
	next := l.timing.period()
	if l.lost == nil {
		left := time.Duration(l.validUntil.Load()) - l.timing.grace - now
		if left <= 0 {
			l.end(errExpired)
		}
		next = min(next, max(left, 0))
	}
	l.evaluate(l.mirror.expire(now))
	if at, ok := l.mirror.nextExpiry(); ok {
		next = min(next, at-now)
	}
	if l.acked > l.mirror.rev {
		late := max(l.ackedAt, l.heardAt) + l.timing.lag() - now
		if late <= 0 {
			revision, committed := l.mirror.rev, l.acked
			l.calls = append(l.calls, func() {
				l.log.Debug("watch lags behind, starting another", "lease", l.name, "revision", revision, "committed", committed)
			})
			l.ackedAt = now
			l.follower.restart()
			late = l.timing.lag()
		}
		next = min(next, late)
	}
	return max(next, time.Millisecond)
}

// bury is not for keepTime to do: a call to an etcd that hangs would eat up the
// grace.
func (l *etcdLease) bury() {
	for sleep(l.ctx, l.timing.period()) == nil {
		l.buryDead()
	}
}

// buryDead deletes what dead nodes have left behind. Several nodes may try; the
// key's revision makes sure that only what is known to be dead goes.
func (l *etcdLease) buryDead() {
	l.mu.Lock()
	dead := l.mirror.dead(l.clock.now())
	l.mu.Unlock()
	for _, n := range dead {
		ctx, cancel := context.WithTimeout(l.ctx, l.timing.attempt())
		_, err := l.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(l.keys.node(n.lease)), "=", n.rev),
				clientv3.Compare(clientv3.CreateRevision(l.keys.alive(n.lease)), "=", 0)).
			Then(clientv3.OpDelete(l.keys.node(n.lease))).Commit()
		cancel()
		if err != nil {
			l.log.Debug("node key of a dead node not deleted, trying again later", "lease", n.lease, "error", err)
			return
		}
	}
}

// signal wakes whoever waits on a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

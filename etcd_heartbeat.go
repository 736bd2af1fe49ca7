package distributed

import (
	"context"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// renew sends heartbeats, each with a keep-alive of the etcd lease. Attempts do
// not wait for one another: behind an etcd leader that hangs, one can hang for
// seconds while the next would go through another member.
func (l *etcdLease) renew() {
	pause := l.jitter(l.timing.period())
	for beat := int64(2); ; beat++ {
		select {
		case <-time.After(pause):
		case <-l.hurry:
			if sleep(l.ctx, l.jitter(l.timing.ttl/20)) != nil {
				return
			}
		case <-l.ctx.Done():
			return
		}
		if l.over() != nil {
			return // the etcd lease runs out by itself
		}
		l.loops.Go(func() { l.heartbeat(beat) })
		l.loops.Go(l.keepAlive)
		pause = l.jitter(l.timing.period())
	}
}

// jitter shortens d by up to a tenth, so that nodes do not renew in step.
func (l *etcdLease) jitter(d time.Duration) time.Duration { return d - rand.N(d/10+1) }

// heartbeat writes heartbeat n. That it was written counts for nothing: what
// counts is when it comes back through the watch, see witness.
func (l *etcdLease) heartbeat(n int64) {
	ctx, cancel := context.WithTimeout(l.ctx, l.timing.attempt())
	defer cancel()
	sent := l.clock.sync()
	l.mu.Lock()
	l.beats[n] = sent
	l.mu.Unlock()
	resp, err := l.client.Txn(ctx).
		If(l.mine()...).
		Then(clientv3.OpPut(l.keys.node(l.name), l.nodeValue(n, ""))).Commit()
	switch {
	case err != nil:
		l.renewalFailed(err)
	case !resp.Succeeded:
		l.lose(errTornAway)
	default:
		l.update(func() { l.ack(resp.Header.Revision) })
	}
}

// mine is the condition of every heartbeat: nobody has taken the node's keys
// away. Keys that were put back by hand are not the same keys.
func (l *etcdLease) mine() []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(l.keys.node(l.name)), "=", l.nodeRev),
		clientv3.Compare(clientv3.CreateRevision(l.keys.alive(l.name)), "=", l.aliveRev),
	}
}

// keepAlive keeps etcd from expiring the lease. Its answer proves nothing: a
// deposed leader says OK as well. If the lease is gone, the watch will tell.
func (l *etcdLease) keepAlive() {
	ctx, cancel := context.WithTimeout(l.ctx, l.timing.attempt())
	defer cancel()
	if _, err := l.client.KeepAliveOnce(ctx, l.id); err != nil {
		l.renewalFailed(err)
	}
}

func (l *etcdLease) renewalFailed(err error) {
	l.mu.Lock()
	report := !l.failing && l.lost == nil && l.ctx.Err() == nil
	l.failing = l.failing || report
	l.mu.Unlock()
	if report {
		l.log.Warn("lease renewal fails, trying again", "lease", l.name, "error", err)
	}
	signal(l.hurry)
}

// ack notes that etcd has committed a heartbeat, which is now due to come back.
// For update.
func (l *etcdLease) ack(rev int64) {
	if rev > l.mirror.rev && rev > l.acked {
		l.acked, l.ackedAt = rev, l.clock.now()
		signal(l.retime)
	}
}

// witness extends the validity: heartbeat n has come back at now. It counts from
// when it was sent. One that comes back too late is worth nothing: others may
// have begun to lead. For update.
func (l *etcdLease) witness(n int64, now time.Duration) {
	sent, ok := l.beats[n]
	if !ok || l.lost != nil {
		return
	}
	delete(l.beats, n)
	until := sent + l.timing.validity()
	old := time.Duration(l.validUntil.Load())
	first := old == 0
	if first {
		old = until
	}
	if now >= old-l.timing.grace {
		l.end(errExpired)
		return
	}
	l.validUntil.Store(int64(max(old, until)))
	l.forgetBeats(sent)
	if first {
		close(l.joined)
	}
	if l.failing {
		l.failing = false
		l.log.Info("lease renewal works again", "lease", l.name)
	}
}

// forgetBeats drops heartbeats that were sent so long before that they could
// extend nothing any more.
func (l *etcdLease) forgetBeats(sent time.Duration) {
	for n, s := range l.beats {
		if s < sent-l.timing.ttl {
			delete(l.beats, n)
		}
	}
}

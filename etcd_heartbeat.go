package distributed

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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
//
// The stream of the last keep-alive is used again, since opening one costs a
// check of the password when etcd has authentication on. One that does not
// answer in time is given up, so that nothing is ever queued behind it.
func (l *etcdLease) keepAlive() {
	ctx, cancel := context.WithTimeout(l.ctx, l.timing.attempt())
	defer cancel()
	err := l.keepAliveOn(ctx, l.idleStream.Swap(nil))
	if isETCD(err, rpctypes.ErrInvalidAuthToken) { // the stream's token has run out
		err = l.keepAliveOn(ctx, nil)
	}
	if err != nil {
		l.renewalFailed(err)
	}
}

// keepAliveOn uses s, or a new stream if s is nil, and keeps it if it works.
func (l *etcdLease) keepAliveOn(ctx context.Context, s *keepAliveStream) (err error) {
	if s == nil {
		if s, err = l.openKeepAlive(ctx); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, s.end)
	err = s.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.id)})
	if err == nil || errors.Is(err, io.EOF) { // on EOF, Recv has the reason
		_, err = s.Recv()
	}
	if !stop() || err != nil {
		s.end()
		return cmp.Or(ctx.Err(), err)
	}
	if other := l.idleStream.Swap(s); other != nil {
		other.end()
	}
	return nil
}

type keepAliveStream struct {
	pb.Lease_LeaseKeepAliveClient
	end context.CancelFunc // frees it
}

// openKeepAlive opens a stream that lives until it is ended or the lease closed.
func (l *etcdLease) openKeepAlive(ctx context.Context) (*keepAliveStream, error) {
	life, end := context.WithCancel(l.ctx)
	stop := context.AfterFunc(ctx, end)
	stream, err := pb.NewLeaseClient(l.client.ActiveConnection()).LeaseKeepAlive(life)
	if !stop() || err != nil {
		end()
		return nil, cmp.Or(ctx.Err(), err)
	}
	return &keepAliveStream{stream, end}, nil
}

func (l *etcdLease) renewalFailed(err error) {
	if l.over() == nil && l.ctx.Err() == nil {
		l.log.Debug("lease renewal failed, trying again", "lease", l.name, "error", err)
		l.events.renewalFailed(err)
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
		return
	}
	if until > old {
		l.calls = append(l.calls, func() { l.events.renewed(now-sent, old-now) })
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

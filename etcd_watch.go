package distributed

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listPage is how many keys a listing asks for at once.
const listPage = 10_000

// list replaces the mirror by what etcd holds now.
func (l *etcdLease) list(ctx context.Context) error {
	var listed []keyEvent
	rev := int64(0) // the first page's, for all of them
	end := clientv3.GetPrefixRangeEnd(l.keys.prefix)
	for from := l.keys.prefix; ; {
		resp, err := l.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
		if err != nil {
			return err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			listed = append(listed, keyEvent{key: string(kv.Key), value: kv.Value, create: kv.CreateRevision, mod: kv.ModRevision})
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	l.update(func() { l.relist(rev, listed) })
	return nil
}

// relist takes in a listing, which shows what happened since the watch was lost,
// our own part as well. For update.
func (l *etcdLease) relist(rev int64, listed []keyEvent) {
	now := l.clock.sync()
	l.mirror.load(rev, listed, now)
	if me := l.mirror.nodes[l.name]; me != nil && me.alive && me.rev != 0 {
		l.witness(me.value.Beat, now)
	} else if l.validUntil.Load() != 0 {
		l.end(errTornAway)
	}
	l.evaluate(nil, true)
	signal(l.retime)
}

// watch keeps the mirror up to date until the lease is closed. When a stream
// ends, the next one goes on where it was; when etcd has compacted that away,
// everything is listed anew.
func (l *etcdLease) watch() {
	pace := backoff{limit: l.timing.attempt()}
	for sleep(l.ctx, pace.next()) == nil {
		started := l.clock.now()
		err := l.follow()
		if errors.Is(err, rpctypes.ErrCompacted) {
			err = l.listAgain()
		}
		if l.ctx.Err() == nil {
			l.log.Debug("watch ended, starting another", "error", err)
		}
		pace.lasted(l.clock.now() - started)
	}
}

func (l *etcdLease) listAgain() error {
	ctx, cancel := context.WithTimeout(l.ctx, 5*callTimeout)
	defer cancel()
	return l.list(ctx)
}

// follow applies one watch stream, of its own so that nobody else's events are
// in the way, and with a leader required so that a member which is cut off from
// the others ends it.
func (l *etcdLease) follow() error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(l.ctx))
	defer cancel()
	l.mu.Lock()
	next := l.mirror.rev + 1
	l.rewatch = cancel
	l.mu.Unlock()
	watcher := clientv3.NewWatcher(l.client)
	defer func() { _ = watcher.Close() }() // says only that ctx is done
	for resp := range watcher.Watch(ctx, l.keys.prefix, clientv3.WithPrefix(), clientv3.WithRev(next)) {
		if err := resp.Err(); err != nil {
			return err
		}
		l.update(func() { l.apply(resp.Events) })
	}
	return ctx.Err()
}

// apply takes in the events of a response, revision by revision. For update.
func (l *etcdLease) apply(events []*clientv3.Event) {
	now := l.clock.sync()
	for len(events) > 0 {
		rev := events[0].Kv.ModRevision
		n := slices.IndexFunc(events, func(e *clientv3.Event) bool { return e.Kv.ModRevision != rev })
		if n < 0 {
			n = len(events)
		}
		l.step(events[:n], now)
		events = events[n:]
	}
}

// step takes in one revision.
func (l *etcdLease) step(events []*clientv3.Event, now time.Duration) {
	changes := make([]keyEvent, len(events))
	for i, e := range events {
		changes[i] = keyEvent{
			key: string(e.Kv.Key), value: e.Kv.Value, deleted: e.Type == mvccpb.DELETE,
			create: e.Kv.CreateRevision, mod: e.Kv.ModRevision,
		}
	}
	jobs, all := l.mirror.apply(changes, now)
	for _, c := range changes {
		l.own(c, now)
	}
	l.evaluate(jobs, all)
	if _, ok := l.mirror.nextExpiry(); ok {
		signal(l.retime)
	}
}

// own heeds what happens to the node's own keys.
func (l *etcdLease) own(c keyEvent, now time.Duration) {
	kind, _, lease := l.keys.parse(c.key)
	switch {
	case lease != l.name || (kind != nodeKey && kind != aliveKey):
	case c.deleted:
		l.end(errTornAway)
	case kind == nodeKey:
		l.witness(decodeNode(c.value).Beat, now)
	}
}

package distributed

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func (l *etcdLease) position() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mirror.rev
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
	for _, e := range l.elections {
		e.rank = rankUnknown // how others went was not seen
	}
	l.evaluate(nil, true)
	signal(l.retime)
}

// apply takes in the events of a response. For update.
func (l *etcdLease) apply(events []*clientv3.Event) {
	now := l.clock.sync()
	l.heardAt = now
	for revision := range revisions(events) {
		l.step(revision, now)
	}
}

// step takes in one revision.
func (l *etcdLease) step(changes []keyEvent, now time.Duration) {
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

package distributed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxTxnOps is how many operations etcd takes in a transaction unless it is
// configured otherwise. A batch stays far below the size that etcd takes, 1.5
// MiB, as names are bounded.
const maxTxnOps = 128

type writeKind int

const (
	putCandidate writeKind = iota
	deleteCandidate
	announceNode
)

// write is a change of a candidacy that etcd is to be told of.
type write struct {
	kind     writeKind
	election *etcdElection // of a candidacy
	ops      []clientv3.Op // of an announcement
	done     chan struct{} // closed when the write is confirmed, or given up; err is set before
	err      error
}

// writer sends writes in batches: what is asked for while a transaction is under
// way goes with the next. Its queues are guarded by the lease's mu; the rest
// belongs to its loop.
//
// Transactions go strictly one after the other, and each changes the alive key
// on condition that it still is as the one before left it. So each takes effect
// once, however often it was sent, and even if a copy that was given up for lost
// reaches etcd long after.
type writer struct {
	lease *etcdLease
	wake  chan struct{} // capacity 1

	announcement *write   // goes before all else, so that others know why the rest happens
	deletes      []*write // go first: others wait for them
	puts         []*write

	put, del clientv3.Op   // of a candidate key, but for the key
	buffer   []clientv3.Op // for the operations of a transaction
	limit    int           // operations a transaction
	aliveMod int64         // mod revision of the alive key
	seq      int64         // of the last transaction
	keys     int           // candidate keys that we have
}

func newWriter(l *etcdLease) writer {
	value := encode(candidateValue{Instance: l.instance})
	return writer{
		lease: l, wake: make(chan struct{}, 1), limit: maxTxnOps,
		put: clientv3.OpPut("", value, clientv3.WithLease(l.id)), del: clientv3.OpDelete(""),
	}
}

// enqueue adds a write. For update.
func (w *writer) enqueue(e *etcdElection, kind writeKind) *write {
	wr := &write{kind: kind, election: e}
	if kind == deleteCandidate {
		wr.done = make(chan struct{})
		w.deletes = append(w.deletes, wr)
	} else {
		w.puts = append(w.puts, wr)
	}
	signal(w.wake)
	return wr
}

// announce writes the keys that tell others about this node. For update.
func (w *writer) announce(ops []clientv3.Op) *write {
	if old := w.announcement; old != nil {
		old.err = errSuperseded
		close(old.done)
	}
	w.announcement = &write{kind: announceNode, ops: ops, done: make(chan struct{})}
	signal(w.wake)
	return w.announcement
}

var errSuperseded = errors.New("distributed: another announcement came after this one")

// cancel takes back a write that has not been taken up yet. For update.
func (w *writer) cancel(wr *write) bool {
	i := slices.Index(w.puts, wr)
	if i < 0 {
		return false
	}
	w.puts = slices.Delete(w.puts, i, i+1)
	return true
}

// take returns the next batch: deletes first, and no key twice, for etcd takes a
// key once in a transaction. For update.
func (w *writer) take() []*write {
	room := w.limit - 1 // one for the alive key
	var batch []*write
	if w.announcement != nil {
		batch, w.announcement = append(batch, w.announcement), nil
		room -= len(batch[0].ops) - 1
	}
	n := max(0, min(room-len(batch), len(w.deletes)))
	batch = append(batch, w.deletes[:n]...)
	w.deletes = slices.Delete(w.deletes, 0, n)
	w.puts = slices.DeleteFunc(w.puts, func(wr *write) bool {
		if len(batch) >= room || wr.election.releasing() {
			return false
		}
		wr.election.put = nil
		batch = append(batch, wr)
		return true
	})
	return batch
}

func (w *writer) loop() {
	for w.lease.ctx.Err() == nil {
		var batch []*write
		w.lease.update(func() { batch = w.take() })
		if len(batch) > 0 {
			w.process(batch)
			continue
		}
		select {
		case <-w.wake:
		case <-w.lease.ctx.Done():
		}
	}
}

// process commits batch, in parts if etcd refuses it as a whole.
func (w *writer) process(batch []*write) {
	rev, err := w.commit(batch)
	half := len(batch) / 2
	if half > 0 && (isETCD(err, rpctypes.ErrTooManyOps) || isPermanent(err)) {
		if isETCD(err, rpctypes.ErrTooManyOps) {
			w.limit = half + 1
		}
		w.process(batch[:half])
		w.process(batch[half:])
		return
	}
	w.lease.update(func() { w.settle(batch, rev, err) })
}

// settle tells the elections how their writes ended. For update.
func (w *writer) settle(batch []*write, rev int64, err error) {
	for _, wr := range batch {
		e := wr.election
		switch {
		case wr.kind == announceNode:
			wr.err = err
			close(wr.done)
		case wr.kind == deleteCandidate:
			if err == nil {
				e.after = rev
			}
			wr.err = err
			close(wr.done)
		case err == nil && e.standing && !e.releasing():
			e.made = rev
		case err != nil && e.standing:
			e.failed = classify(fmt.Errorf("etcd refuses the candidate key: %w", err))
			e.notify()
		}
		if err != nil && (wr.kind == deleteCandidate || !isPermanent(err)) {
			w.lease.end(fmt.Errorf("candidate keys cannot be written: %w", err)) // we do not know any more what we have
		}
		if e != nil {
			e.evaluate(w.lease.clock.now())
		}
	}
}

// commit writes batch and returns the revision at which it was.
func (w *writer) commit(batch []*write) (rev int64, err error) {
	w.seq++
	ops, keys := w.ops(batch)
	err = w.lease.persist(w.lease.ctx, func(ctx context.Context) (err error) {
		rev, err = w.attempt(ctx, ops)
		return err
	})
	if err == nil {
		w.committed(batch, rev, keys)
	}
	return rev, err
}

// ops returns the operations of a batch, until the next call, and how many
// candidate keys we have after it.
func (w *writer) ops(batch []*write) (ops []clientv3.Op, keys int) {
	l := w.lease
	ops, keys = w.buffer[:0], w.keys
	for _, wr := range batch {
		switch wr.kind {
		case announceNode:
			ops = append(ops, wr.ops...)
		case putCandidate:
			ops = append(ops, w.on(w.put, wr))
		case deleteCandidate:
			ops = append(ops, w.on(w.del, wr))
		}
		keys += wr.change()
	}
	alive := encode(aliveValue{Seq: w.seq, Keys: keys})
	w.buffer = append(ops, clientv3.OpPut(l.keys.alive(l.name), alive, clientv3.WithLease(l.id)))
	return w.buffer, keys
}

// on returns op on the candidate key of a write. OpPut and OpDelete would allocate
// an operation for each, of some 300 bytes.
func (w *writer) on(op clientv3.Op, wr *write) clientv3.Op {
	op.WithKeyBytes([]byte(w.lease.keys.candidate(wr.election.job, w.lease.name)))
	return op
}

func (w *writer) committed(batch []*write, rev int64, keys int) {
	w.aliveMod, w.keys = rev, keys
	for _, wr := range batch {
		if wr.election != nil {
			wr.election.counted = wr.kind == putCandidate
		}
	}
}

// change returns by how much the write changes the number of our keys.
func (wr *write) change() int {
	switch {
	case wr.kind == putCandidate && !wr.election.counted:
		return 1
	case wr.kind == deleteCandidate && wr.election.counted:
		return -1
	}
	return 0
}

// attempt sends the transaction. If its condition does not hold, an earlier copy
// may have been committed without our having heard of it.
func (w *writer) attempt(ctx context.Context, ops []clientv3.Op) (rev int64, err error) {
	l := w.lease
	alive := l.keys.alive(l.name)
	resp, err := l.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(alive), "=", w.aliveMod)).
		Then(ops...).
		Else(clientv3.OpGet(alive)).Commit()
	if err != nil {
		return 0, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		var v aliveValue
		if json.Unmarshal(kv.Value, &v) == nil && v.Seq == w.seq && kv.CreateRevision == l.aliveRev {
			return kv.ModRevision, nil
		}
	}
	return 0, errTornAway
}

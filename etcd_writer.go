package distributed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

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
	refused  int           // how often it was, by itself
	done     chan struct{} // closed when the write is confirmed, or given up; err is set before
	err      error
}

const (
	// maxRefusals is how often a call may be refused that others wait for, such as a
	// release. After that the lease goes, and the candidate key with it.
	maxRefusals = 5

	// maxStreak is how many transactions in a row may be refused until it is clear
	// that this is not about one of the keys in them: more than it takes to find one
	// that is forbidden.
	maxStreak = 16
)

// errRefused marks a transaction that etcd has refused, and that was not sent before.
var errRefused = errors.New("refused")

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

	refused []*write         // what etcd has refused, to be tried again one by one
	again   <-chan time.Time // when the next of them is due; nil if there is none
	pace    backoff          // between them
	streak  int              // transactions refused in a row

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
	if w.announcement != nil {
		w.announcement.finish(errSuperseded)
	}
	w.refused = slices.DeleteFunc(w.refused, func(old *write) bool {
		if old.kind == announceNode {
			old.finish(errSuperseded)
		}
		return old.kind == announceNode
	})
	w.announcement = &write{kind: announceNode, ops: ops, done: make(chan struct{})}
	signal(w.wake)
	return w.announcement
}

var errSuperseded = errors.New("distributed: another announcement came after this one")

// finish tells who waits for the write how it has ended. For update.
func (wr *write) finish(err error) {
	wr.err = err
	close(wr.done)
}

// cancel takes back a write that is not under way. For update.
func (w *writer) cancel(wr *write) bool {
	for _, queue := range []*[]*write{&w.puts, &w.refused} {
		if i := slices.Index(*queue, wr); i >= 0 {
			*queue = slices.Delete(*queue, i, i+1)
			return true
		}
	}
	return false
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
		select {
		case <-w.again:
			w.probe()
		default:
		}
		var batch []*write
		w.lease.update(func() { batch = w.take() })
		if len(batch) > 0 {
			w.process(batch)
			continue
		}
		select {
		case <-w.wake:
		case <-w.again:
			w.probe()
		case <-w.lease.ctx.Done():
		}
	}
}

// probe tries one of the refused writes again. If etcd takes it, the others are
// worth trying, too.
func (w *writer) probe() {
	var wr *write
	w.again = nil
	w.lease.update(func() {
		if len(w.refused) > 0 {
			wr, w.refused = w.refused[0], w.refused[1:]
			if wr.election != nil {
				wr.election.put = nil
			}
		}
	})
	if wr == nil {
		return
	}
	w.process([]*write{wr})
	w.lease.update(func() {
		if w.streak == 0 {
			w.requeue()
		} else {
			w.rest()
		}
	})
}

// requeue puts all that was refused back into the queues. For update.
func (w *writer) requeue() {
	for _, wr := range w.refused {
		switch wr.kind {
		case putCandidate:
			w.puts = append(w.puts, wr)
		case deleteCandidate:
			w.deletes = append(w.deletes, wr)
		case announceNode:
			w.announcement = wr
		}
	}
	w.refused, w.again, w.pace = nil, nil, backoff{}
}

// rest sets when the next of the refused writes is tried again, the first at once.
func (w *writer) rest() {
	if len(w.refused) > 0 && w.again == nil {
		w.again = time.After(w.pace.next())
	}
}

// process commits batch, in parts if etcd refuses it as a whole.
func (w *writer) process(batch []*write) {
	rev, err := w.commit(batch)
	refused := errors.Is(err, errRefused)
	switch {
	case refused:
		w.streak++
	case err == nil:
		w.streak = 0
	}
	half := len(batch) / 2
	if half > 0 && (isETCD(err, rpctypes.ErrTooManyOps) || isImpossible(err) || refused && w.streak < maxStreak) {
		if isETCD(err, rpctypes.ErrTooManyOps) {
			w.limit = half + 1
		}
		w.process(batch[:half])
		w.process(batch[half:])
		return
	}
	switch {
	case refused:
		err = w.lease.refused(err)
	case err == nil && slices.ContainsFunc(batch, func(wr *write) bool { return wr.kind == putCandidate }):
		w.lease.accepted()
	}
	w.lease.update(func() { w.settle(batch, rev, err) })
	w.rest()
}

// settle tells the elections how their writes ended. For update.
func (w *writer) settle(batch []*write, rev int64, err error) {
	for _, wr := range batch {
		e := wr.election
		switch {
		case errors.Is(err, errRefused) && w.postpone(wr, err):
		case wr.kind == announceNode:
			wr.finish(err)
		case wr.kind == deleteCandidate:
			if err == nil {
				e.after = rev
			}
			wr.finish(err)
		case err == nil && e.standing && !e.releasing():
			e.made = rev
		case err != nil && e.standing:
			e.failed = fmt.Errorf("etcd refuses the candidate key: %w", err)
			if isImpossible(err) {
				e.failed = permanent(e.failed)
			}
			e.notify()
		}
		if err != nil && (wr.kind == deleteCandidate && wr.ended() || !isImpossible(err) && !errors.Is(err, errRefused)) {
			w.lease.end(fmt.Errorf("candidate keys cannot be written: %w", err)) // we do not know any more what we have
		}
		if e != nil {
			e.evaluate(w.lease.clock.now())
		}
	}
}

// postpone keeps a write that was refused, unless that is final, or it is not
// wanted any more. For update.
func (w *writer) postpone(wr *write, err error) bool {
	wr.refused++
	e := wr.election
	switch {
	case wr.kind == deleteCandidate:
		if wr.refused >= maxRefusals {
			return false
		}
		w.refused = slices.Insert(w.refused, 0, wr)
		return true
	case errors.Is(err, ErrPermanent):
		return false
	case wr.kind == announceNode && w.announcement != nil:
		wr.finish(errSuperseded)
		return true
	case wr.kind == putCandidate && (!e.standing || e.put != nil || e.releasing()):
		return true // it was withdrawn meanwhile
	case wr.kind == putCandidate:
		e.put = wr
	}
	w.refused = append(w.refused, wr)
	return true
}

// ended reports whether somebody was told how the write ended.
func (wr *write) ended() bool {
	select {
	case <-wr.done:
		return true
	default:
		return false
	}
}

// commit writes batch and returns the revision at which it was. A refusal counts
// as one if nothing else has come of it: a copy that was given up for lost may
// still take effect.
func (w *writer) commit(batch []*write) (rev int64, err error) {
	w.seq++
	ops, keys := w.ops(batch)
	unsure := false
	err = w.lease.persist(w.lease.ctx, func(ctx context.Context) (err error) {
		rev, err = w.attempt(ctx, ops)
		switch {
		case err != nil && !isRefusal(err):
			unsure = true
		case err != nil && !unsure:
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
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

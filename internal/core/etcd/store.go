// Package etcd is a store of documents in etcd, 3.4 or newer: a key a document, a
// transaction a write, a watch a follower. It needs no lease of etcd's.
package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/internal/core"
)

// ErrClosed is the error of calls on a store that was closed.
var ErrClosed = errors.New("distributed: the store is closed")

// Store keeps documents in etcd. What core.Store says of concurrent use and
// blocking holds; no call is repeated, and none has a deadline but its context's.
type Store struct {
	client   *clientv3.Client
	release  func() error
	progress time.Duration // how often a follower asks whether its watch is alive; 0: never

	once   sync.Once // closes
	closed context.Context
	close  context.CancelFunc
}

// New returns a store that uses client, with keys as they are asked for. It makes
// no call. Close calls release, which is to close what only this store needs: the
// client, say.
func New(client *clientv3.Client, release func() error, opts ...Option) *Store {
	s := &Store{client: client, release: release}
	s.closed, s.close = context.WithCancel(context.Background())
	for _, o := range opts {
		o(s)
	}
	return s
}

// Option changes what [New] returns.
type Option func(*Store)

// Put implements [core.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	return s.write(ctx, core.Write{Key: key, Value: present(value), Revision: rev})
}

// Delete implements [core.Store].
func (s *Store) Delete(ctx context.Context, key string, rev int64) error {
	_, err := s.write(ctx, core.Write{Key: key, Revision: rev})
	return err
}

// write is one transaction, sent once: the client repeats only what it knows was
// not sent. A copy that comes late fails the comparison.
func (s *Store) write(ctx context.Context, w core.Write) (int64, error) {
	ctx, done := s.bound(ctx)
	defer done()
	guard, then, otherwise := operations(w)
	resp, err := s.client.Txn(ctx).If(guard...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return 0, s.explain(err)
	}
	r := result(w.Key, resp.Header.Revision, resp.Succeeded, resp.Responses)
	return r.Revision, r.Err
}

// operations are those of a write: what must hold, what is done then, and what is
// read else, of the same moment. A key that is not there has ModRevision 0.
func operations(w core.Write) (guard []clientv3.Cmp, then, otherwise []clientv3.Op) {
	change := clientv3.OpDelete(w.Key)
	if w.Value != nil {
		change = clientv3.OpPut(w.Key, "")
		change.WithValueBytes(w.Value)
	}
	return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(w.Key), "=", w.Revision)}, []clientv3.Op{change}, []clientv3.Op{clientv3.OpGet(w.Key)}
}

// result is how the transaction with the operations of a write ended.
func result(key string, rev int64, succeeded bool, responses []*pb.ResponseOp) core.WriteResult {
	if succeeded {
		return core.WriteResult{Revision: rev}
	}
	there := core.Document{Key: key}
	for _, kv := range responses[0].GetResponseRange().Kvs {
		there = document(kv)
	}
	return core.WriteResult{Err: &core.ConflictError{Key: key, Known: true, There: there}}
}

func document(kv *mvccpb.KeyValue) core.Document {
	return core.Document{Key: string(kv.Key), Value: present(kv.Value), Revision: kv.ModRevision}
}

// present tells an empty value, which comes as nil, from that of a document which
// is gone.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Close implements [core.Store].
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.close()
		err = s.release()
	})
	return err
}

// bound ends ctx when the store is closed.
func (s *Store) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// explain says that a call failed because of Close, if that is so.
func (s *Store) explain(err error) error {
	if s.closed.Err() != nil {
		return errors.Join(ErrClosed, err)
	}
	return err
}

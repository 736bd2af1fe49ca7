package distributed

import (
	"bytes"
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdStore keeps documents in etcd: a key a document, a transaction a write, a
// watch a follower. It needs no lease of etcd's. No call is repeated, and none has a
// deadline but its context's.
type etcdStore struct {
	client     *clientv3.Client
	connection *connection

	once   sync.Once // closes
	closed context.Context
	close  context.CancelFunc
}

func newETCDStore(c *connection) *etcdStore {
	s := &etcdStore{client: c.client, connection: c}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// Put implements [Store].
func (s *etcdStore) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	return s.write(ctx, Write{Key: key, Value: present(value), Revision: rev})
}

// Delete implements [Store].
func (s *etcdStore) Delete(ctx context.Context, key string, rev int64) error {
	_, err := s.write(ctx, Write{Key: key, Revision: rev})
	return err
}

// write is one transaction, sent once: the client repeats only what it knows was
// not sent. A copy that comes late fails the comparison.
func (s *etcdStore) write(ctx context.Context, w Write) (int64, error) {
	ctx, done := s.bound(ctx)
	defer done()
	guard, then, otherwise := s.operations(w)
	resp, err := s.client.Txn(ctx).If(guard...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return 0, s.explain(err)
	}
	r := result(w.Key, resp.Header.Revision, resp.Succeeded, resp.Responses)
	return r.Revision, r.Err
}

// operations are those of a write: what must hold, what is done then, and what is
// read else, of the same moment. A key that is not there has ModRevision 0. The user's
// dial options may go on with them after the call has been given up, see [guard], so
// they get a value of their own then.
func (s *etcdStore) operations(w Write) (guard []clientv3.Cmp, then, otherwise []clientv3.Op) {
	change := clientv3.OpDelete(w.Key)
	if w.Value != nil {
		change = clientv3.OpPut(w.Key, "")
		if s.connection.foreign {
			w.Value = bytes.Clone(w.Value)
		}
		change.WithValueBytes(w.Value)
	}
	return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(w.Key), "=", w.Revision)}, []clientv3.Op{change}, []clientv3.Op{clientv3.OpGet(w.Key)}
}

// result is how the transaction with the operations of a write ended.
func result(key string, rev int64, succeeded bool, responses []*pb.ResponseOp) WriteResult {
	if succeeded {
		return WriteResult{Revision: rev}
	}
	there := Document{Key: key}
	for _, kv := range responses[0].GetResponseRange().Kvs {
		there = document(kv)
	}
	return WriteResult{Err: &ConflictError{Key: key, Known: true, There: there}}
}

func document(kv *mvccpb.KeyValue) Document {
	return Document{Key: string(kv.Key), Value: present(kv.Value), Revision: kv.ModRevision}
}

// present tells an empty value, which comes as nil, from that of a document which
// is gone.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Close implements [Store].
func (s *etcdStore) Close() error {
	var err error
	s.once.Do(func() {
		s.close()
		err = s.connection.close()
	})
	return err
}

// bound ends ctx when the store is closed.
func (s *etcdStore) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// explain says why a call failed.
func (s *etcdStore) explain(err error) error {
	if s.closed.Err() != nil {
		return errors.Join(ErrClosed, err)
	}
	return s.connection.explain(err)
}

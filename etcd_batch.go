package distributed

import (
	"context"
	"errors"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxOps is how many writes etcd takes in a transaction unless it is configured
	// otherwise: 128 operations, of which the one in each of them is another.
	maxOps = 127

	// maxBytes keeps a transaction well below what etcd takes unless it is
	// configured otherwise: 1.5 MiB.
	maxBytes = 1 << 20
)

// PutAll implements [BatchStore]: transactions of transactions, each of which
// has a guard of its own. One entry of etcd's log holds up to 127 writes, and a
// follower is told of them in one step.
func (s *etcdStore) PutAll(ctx context.Context, writes []Write) []WriteResult {
	ctx, done := s.bound(ctx)
	defer done()
	results := make([]WriteResult, len(writes))
	var wg sync.WaitGroup
	for first := 0; first < len(writes); {
		n := portion(writes[first:])
		part, to := writes[first:first+n], results[first:first+n]
		wg.Go(func() { s.putTogether(ctx, part, to) })
		first += n
	}
	wg.Wait()
	return results
}

// portion returns how many of the writes go into the next transaction.
func portion(writes []Write) int {
	size := 0
	for i, w := range writes {
		size += len(w.Key) + len(w.Value)
		if i == maxOps || (i > 0 && size > maxBytes) {
			return i
		}
	}
	return len(writes)
}

// putTogether sends the writes in one transaction, in parts if etcd refuses it as
// a whole.
func (s *etcdStore) putTogether(ctx context.Context, writes []Write, results []WriteResult) {
	ops := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		ops[i] = clientv3.OpTxn(s.operations(w))
	}
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	half := len(writes) / 2
	if half > 0 && refusedAsAWhole(err) {
		s.putTogether(ctx, writes[:half], results[:half])
		s.putTogether(ctx, writes[half:], results[half:])
		return
	}
	for i := range writes {
		if err != nil {
			results[i].Err = s.explain(err)
			continue
		}
		txn := resp.Responses[i].GetResponseTxn()
		results[i] = result(writes[i].Key, resp.Header.Revision, txn.Succeeded, txn.Responses)
	}
}

// refusedAsAWhole reports whether nothing was done because of what all the writes
// together are: too many, too large, or one of them not allowed.
func refusedAsAWhole(err error) bool {
	return errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge) || errors.Is(err, rpctypes.ErrPermissionDenied)
}

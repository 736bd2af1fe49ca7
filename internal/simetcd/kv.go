package simetcd

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxTxnOps is etcd's default.
const maxTxnOps = 128

type kvService struct {
	pb.UnimplementedKVServer
	store *store
}

func (s *store) header() *pb.ResponseHeader {
	rev, _, _ := s.now()
	return headerAt(rev)
}

func headerAt(rev int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 1, RaftTerm: 1, Revision: rev}
}

func (s kvService) Range(_ context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.answer(req)
}

// answer is Range. For mu.
func (s *store) answer(req *pb.RangeRequest) (*pb.RangeResponse, error) {
	kvs, err := s.list(span{string(req.Key), string(req.RangeEnd)}, req.Revision)
	if err != nil {
		return nil, err
	}
	resp := &pb.RangeResponse{Header: headerAt(s.rev), Count: int64(len(kvs))}
	if req.Limit > 0 && int64(len(kvs)) > req.Limit {
		kvs, resp.More = kvs[:req.Limit], true
	}
	if !req.CountOnly {
		resp.Kvs = kvs
	}
	return resp, nil
}

func (s kvService) Put(ctx context.Context, req *pb.PutRequest) (*pb.PutResponse, error) {
	resp, err := s.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: req}}}})
	if err != nil {
		return nil, err
	}
	return &pb.PutResponse{Header: resp.Header}, nil
}

func (s kvService) DeleteRange(ctx context.Context, req *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	resp, err := s.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: req}}}})
	if err != nil {
		return nil, err
	}
	deleted := resp.Responses[0].GetResponseDeleteRange()
	deleted.Header = resp.Header
	return deleted, nil
}

func (s kvService) Txn(_ context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := check(req, maxTxnOps); err != nil {
		return nil, err
	}
	if _, _, err := overlaps([]*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: req}}}); err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	p := s.store.choose(req)
	var resp *pb.TxnResponse
	rev := s.store.commitLocked(func(r *revision) { resp = r.execute(p) })
	resp.Header = headerAt(rev)
	return resp, nil
}

func (s kvService) Compact(_ context.Context, req *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	switch {
	case req.Revision <= s.store.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	case req.Revision > s.store.rev:
		return nil, rpctypes.ErrGRPCFutureRev
	}
	s.store.compacted = req.Revision
	s.store.notify()
	return &pb.CompactionResponse{Header: headerAt(s.store.rev)}, nil
}

// holds evaluates a condition. For mu.
func (s *store) holds(c *pb.Compare) bool {
	kv := s.kvs[string(c.Key)]
	if kv == nil {
		if c.Target == pb.Compare_VALUE {
			return false
		}
		kv = &mvccpb.KeyValue{}
	}
	var order int
	switch c.Target {
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	default:
		return order != 0
	}
}

// choice is the way that a transaction takes. All its conditions, those of the
// transactions in it as well, are of the moment before it.
type choice struct {
	succeeded bool
	ops       []*pb.RequestOp
	inner     []*choice // of the transactions among ops, in their order
}

// choose evaluates the conditions of a transaction. For mu.
func (s *store) choose(req *pb.TxnRequest) *choice {
	p := &choice{succeeded: true, ops: req.Success}
	for _, c := range req.Compare {
		p.succeeded = p.succeeded && s.holds(c)
	}
	if !p.succeeded {
		p.ops = req.Failure
	}
	for _, op := range p.ops {
		if txn := op.GetRequestTxn(); txn != nil {
			p.inner = append(p.inner, s.choose(txn))
		}
	}
	return p
}

// check refuses what etcd refuses before it executes anything, and what only etcd
// can do. Transactions in others leave less room for more.
func check(req *pb.TxnRequest, room int) error {
	room -= max(len(req.Compare), len(req.Success), len(req.Failure))
	if room < 0 {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, op := range append(slices.Clip(req.Success), req.Failure...) {
		if op.GetRequestRange().GetRevision() != 0 || op.GetRequestPut().GetLease() != 0 {
			return status.Error(codes.Unimplemented, "simetcd: an old revision in a transaction, or a lease")
		}
		if txn := op.GetRequestTxn(); txn != nil {
			if err := check(txn, room); err != nil {
				return err
			}
		}
	}
	return nil
}

// overlaps refuses operations that put a key twice, or put and delete it, and
// returns what they put and delete. Of the two branches of a transaction only one
// is taken, so a key may be in both.
func overlaps(ops []*pb.RequestOp) (puts map[string]bool, deletes []span, err error) {
	puts = map[string]bool{}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			deletes = append(deletes, span{string(d.Key), string(d.RangeEnd)})
		}
	}
	add := func(key string) error {
		doomed := slices.ContainsFunc(deletes, func(d span) bool { return d.holds(key) })
		if puts[key] || doomed {
			return rpctypes.ErrGRPCDuplicateKey
		}
		puts[key] = true
		return nil
	}
	for _, op := range ops {
		txn := op.GetRequestTxn()
		if txn == nil {
			continue
		}
		both := map[string]bool{}
		var gone []span
		for _, branch := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
			put, deleted, err := overlaps(branch)
			if err != nil {
				return nil, nil, err
			}
			maps.Copy(both, put)
			gone = append(gone, deleted...)
		}
		for key := range both {
			if err := add(key); err != nil {
				return nil, nil, err
			}
		}
		deletes = append(deletes, gone...)
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := add(string(p.Key)); err != nil {
				return nil, nil, err
			}
		}
	}
	return puts, deletes, nil
}

// execute cannot fail after check.
func (r *revision) execute(p *choice) *pb.TxnResponse {
	resp := &pb.TxnResponse{Succeeded: p.succeeded}
	inner := p.inner
	for _, op := range p.ops {
		if op.GetRequestTxn() != nil {
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: r.execute(inner[0])}})
			inner = inner[1:]
			continue
		}
		resp.Responses = append(resp.Responses, r.change(op))
	}
	return resp
}

// change executes one operation.
func (r *revision) change(op *pb.RequestOp) *pb.ResponseOp {
	if p := op.GetRequestPut(); p != nil {
		r.put(string(p.Key), p.Value)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}
	}
	if d := op.GetRequestDeleteRange(); d != nil {
		doomed, _ := r.list(span{string(d.Key), string(d.RangeEnd)}, 0)
		for _, kv := range doomed {
			r.delete(string(kv.Key))
		}
		resp := &pb.DeleteRangeResponse{Deleted: int64(len(doomed))}
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: resp}}
	}
	resp, _ := r.answer(op.GetRequestRange())
	return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: resp}}
}

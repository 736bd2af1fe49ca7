package simetcd

import (
	"bytes"
	"cmp"
	"context"

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
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	resp := &pb.TxnResponse{Succeeded: true}
	for _, c := range req.Compare {
		resp.Succeeded = resp.Succeeded && s.store.holds(c)
	}
	ops := req.Success
	if !resp.Succeeded {
		ops = req.Failure
	}
	if err := s.store.check(ops); err != nil {
		return nil, err
	}
	rev := s.store.commitLocked(func(r *revision) {
		for _, op := range ops {
			resp.Responses = append(resp.Responses, r.execute(op))
		}
	})
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
	case pb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
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

// check refuses what etcd refuses before it executes anything, and what only etcd
// can do. For mu.
func (s *store) check(ops []*pb.RequestOp) error {
	if len(ops) > maxTxnOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	put := map[string]bool{}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if put[string(p.Key)] {
				return rpctypes.ErrGRPCDuplicateKey
			}
			put[string(p.Key)] = true
			if p.Lease != 0 && s.leases[p.Lease] == nil {
				return rpctypes.ErrGRPCLeaseNotFound
			}
		}
	}
	for _, op := range ops {
		if op.GetRequestTxn() != nil || op.GetRequestRange().GetRevision() != 0 {
			return status.Error(codes.Unimplemented, "simetcd: a transaction or an old revision in a transaction")
		}
		d := op.GetRequestDeleteRange()
		for key := range put {
			if d != nil && (span{string(d.Key), string(d.RangeEnd)}).holds(key) {
				return rpctypes.ErrGRPCDuplicateKey
			}
		}
	}
	return nil
}

// execute cannot fail after check.
func (r *revision) execute(op *pb.RequestOp) *pb.ResponseOp {
	if p := op.GetRequestPut(); p != nil {
		r.put(string(p.Key), p.Value, p.Lease)
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

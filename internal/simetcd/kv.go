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
	p, err := s.store.plan(req)
	if err == nil {
		err = s.store.check(p.all())
	}
	if err != nil {
		return nil, err
	}
	resp := new(pb.TxnResponse)
	rev := s.store.commitLocked(func(r *revision) { resp = r.run(p) })
	resp.Header = headerAt(rev)
	return resp, nil
}

// plan is a transaction whose conditions have been evaluated: etcd evaluates those
// of the transactions within it as well before it executes anything.
type plan struct {
	succeeded bool
	ops       []*pb.RequestOp
	within    map[*pb.RequestOp]*plan
}

// plan returns an error if there are too many operations. For mu.
func (s *store) plan(req *pb.TxnRequest) (*plan, error) {
	p := &plan{succeeded: true, ops: req.Success, within: map[*pb.RequestOp]*plan{}}
	for _, c := range req.Compare {
		p.succeeded = p.succeeded && s.holds(c)
	}
	if !p.succeeded {
		p.ops = req.Failure
	}
	if len(p.ops) > maxTxnOps {
		return nil, rpctypes.ErrGRPCTooManyOps
	}
	for _, op := range p.ops {
		if inner := op.GetRequestTxn(); inner != nil {
			var err error
			if p.within[op], err = s.plan(inner); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// all returns the operations that will be executed.
func (p *plan) all() []*pb.RequestOp {
	var ops []*pb.RequestOp
	for _, op := range p.ops {
		if inner := p.within[op]; inner != nil {
			ops = append(ops, inner.all()...)
		} else {
			ops = append(ops, op)
		}
	}
	return ops
}

// run cannot fail after check.
func (r *revision) run(p *plan) *pb.TxnResponse {
	resp := &pb.TxnResponse{Succeeded: p.succeeded}
	for _, op := range p.ops {
		if inner := p.within[op]; inner != nil {
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: r.run(inner)}})
		} else {
			resp.Responses = append(resp.Responses, r.execute(op))
		}
	}
	return resp
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
		if op.GetRequestRange().GetRevision() != 0 {
			return status.Error(codes.Unimplemented, "simetcd: an old revision in a transaction")
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

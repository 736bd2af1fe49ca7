package simetcd

import (
	"context"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

type lease struct {
	id      int64
	node    string // to which it was granted
	ttl     time.Duration
	expires time.Time
	keys    map[string]bool
}

func (s *store) grant(node string, ttl time.Duration) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted++
	s.leases[s.granted] = &lease{id: s.granted, node: node, ttl: ttl, expires: time.Now().Add(ttl), keys: map[string]bool{}}
	return s.granted
}

// renew returns the TTL, 0 if the lease is gone.
func (s *store) renew(id int64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[id]
	if l == nil {
		return 0
	}
	l.expires = time.Now().Add(l.ttl)
	return l.ttl
}

// revoke deletes a lease, and all its keys in one revision. For mu.
func (s *store) revoke(id int64) {
	s.commitLocked(func(r *revision) {
		for _, key := range slices.Sorted(maps.Keys(r.leases[id].keys)) {
			r.delete(key)
		}
	})
	delete(s.leases, id)
}

func (s *store) revokeWhere(doomed func(*lease) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		if doomed(s.leases[id]) {
			s.revoke(id)
		}
	}
}

func (s *store) revokeOf(node string) {
	s.revokeWhere(func(l *lease) bool { return l.node == node })
}

func (s *store) expireLeases() {
	s.revokeWhere(func(l *lease) bool { return !time.Now().Before(l.expires) })
}

func (s *store) extendLeases() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.leases {
		l.expires = time.Now().Add(l.ttl)
	}
}

func (s *store) leaseCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.leases)
}

// detach takes a pair from its lease. For mu.
func (s *store) detach(kv *mvccpb.KeyValue) {
	if l := s.leases[kv.Lease]; l != nil {
		delete(l.keys, string(kv.Key))
	}
}

type leaseService struct {
	pb.UnimplementedLeaseServer
	cluster *Cluster
}

func (s leaseService) LeaseGrant(ctx context.Context, req *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	store := s.cluster.store
	id := store.grant(nodeOf(ctx), time.Duration(req.TTL)*time.Second)
	return &pb.LeaseGrantResponse{Header: store.header(), ID: id, TTL: req.TTL}, nil
}

func (s leaseService) LeaseRevoke(_ context.Context, req *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	store := s.cluster.store
	store.mu.Lock()
	found := store.leases[req.ID] != nil
	if found {
		store.revoke(req.ID)
	}
	store.mu.Unlock()
	if !found {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	return &pb.LeaseRevokeResponse{Header: store.header()}, nil
}

func (s leaseService) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	c, node := s.cluster, nodeOf(stream.Context())
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		fate := c.faults.Call(node, "LeaseKeepAlive")
		time.Sleep(fate.Before)
		if fate.Lost {
			continue
		}
		<-c.up()
		ttl := time.Second // all the same to whoever believes it
		if !fate.Stale {
			ttl = c.store.renew(req.ID)
		}
		if fate.Mute {
			continue
		}
		time.Sleep(fate.After)
		err = stream.Send(&pb.LeaseKeepAliveResponse{Header: c.store.header(), ID: req.ID, TTL: int64(ttl / time.Second)})
		if err != nil {
			return err
		}
	}
}

package simetcd

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

type watchService struct {
	pb.UnimplementedWatchServer
	cluster *Cluster
}

// watchStream serves the watches of one stream in one goroutine.
type watchStream struct {
	cluster  *Cluster
	node     string
	stream   pb.Watch_WatchServer
	needsOne bool       // it ends when there is no leader
	end      chan error // capacity 1
	wake     chan struct{}

	watches map[int64]*watch
	onWay   []message // in the order in which they arrive
}

type watch struct {
	id    int64
	in    span
	first int64 // the revision from which it was asked for
	next  int64 // what it is told next; -1 when it has been canceled
}

type message struct {
	resp *pb.WatchResponse
	at   time.Time
}

// Stall makes watches tell node nothing, and ends that. Calls work meanwhile.
func (c *Cluster) Stall(node string, stalled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled[node] = stalled
	c.wakeStreams()
}

// CutWatches ends the watch streams of a node as a lost connection does.
func (c *Cluster) CutWatches(node string) {
	c.endStreams(io.ErrUnexpectedEOF, func(s *watchStream) bool { return s.node == node })
}

// LoseLeader ends all watch streams that ask for a leader, as a member does that
// has lost touch with the others.
func (c *Cluster) LoseLeader() {
	c.endStreams(rpctypes.ErrGRPCNoLeader, func(s *watchStream) bool { return s.needsOne })
}

func (c *Cluster) endStreams(err error, which func(*watchStream) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.streams {
		if which(s) {
			select {
			case s.end <- err:
			default:
			}
		}
	}
}

// wakeStreams is for mu.
func (c *Cluster) wakeStreams() {
	for s := range c.streams {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s watchService) Watch(stream pb.Watch_WatchServer) error {
	c := s.cluster
	md, _ := metadata.FromIncomingContext(stream.Context())
	ws := &watchStream{
		cluster: c, node: nodeOf(stream.Context()), stream: stream,
		needsOne: slices.Contains(md.Get(rpctypes.MetadataRequireLeaderKey), rpctypes.MetadataHasLeader),
		end:      make(chan error, 1),
		wake:     make(chan struct{}, 1),
		watches:  map[int64]*watch{},
	}
	c.mu.Lock()
	c.streams[ws] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.streams, ws)
		c.mu.Unlock()
	}()
	return ws.serve(stream.Context())
}

func (s *watchStream) serve(ctx context.Context) error {
	requests := make(chan *pb.WatchRequest)
	go func() { // ends with the stream
		defer close(requests)
		for {
			req, err := s.stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		rev, _, changed := s.cluster.store.now()
		if s.hears() {
			s.collect(rev)
		}
		arrival, err := s.deliver()
		if err != nil {
			return err
		}
		select {
		case req, ok := <-requests:
			if !ok {
				return nil
			}
			s.handle(req)
		case <-changed:
		case <-arrival:
		case <-s.wake:
		case err := <-s.end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hears reports whether the node is told anything now.
func (s *watchStream) hears() bool {
	s.cluster.mu.Lock()
	stalled := s.cluster.stalled[s.node]
	s.cluster.mu.Unlock()
	return !stalled && s.cluster.isUp()
}

func (s *watchStream) handle(req *pb.WatchRequest) {
	if create := req.GetCreateRequest(); create != nil {
		rev, _, _ := s.cluster.store.now()
		w := &watch{id: int64(len(s.watches)) + 1, in: span{string(create.Key), string(create.RangeEnd)}, next: create.StartRevision}
		if w.next == 0 {
			w.next = rev + 1
		}
		w.first = w.next
		s.watches[w.id] = w
		s.send(&pb.WatchResponse{Header: headerAt(rev), WatchId: w.id, Created: true})
	}
	if cancel := req.GetCancelRequest(); cancel != nil && s.watches[cancel.WatchId] != nil {
		s.cancel(s.watches[cancel.WatchId], 0)
	}
	if req.GetProgressRequest() != nil {
		s.tellProgress()
	}
}

// tellProgress answers for all watches together, or not at all: as etcd, when one
// of them has not been told everything, or its first revision is still to come.
func (s *watchStream) tellProgress() {
	rev, _, _ := s.cluster.store.now()
	if !s.hears() {
		return
	}
	s.collect(rev)
	for _, w := range s.watches {
		if w.next >= 0 && (w.next <= rev || w.first > rev) {
			return
		}
	}
	s.send(&pb.WatchResponse{Header: headerAt(rev), WatchId: clientv3.InvalidWatchID})
}

func (s *watchStream) cancel(w *watch, compacted int64) {
	w.next = -1
	s.send(&pb.WatchResponse{Header: s.cluster.store.header(), WatchId: w.id, Canceled: true, CompactRevision: compacted})
}

// collect sends what has happened to each watch.
func (s *watchStream) collect(rev int64) {
	for _, id := range slices.Sorted(maps.Keys(s.watches)) {
		w := s.watches[id]
		if w.next < 0 || w.next > rev {
			continue
		}
		events, next, compacted := s.cluster.store.since(w.in, w.next)
		if compacted {
			_, at, _ := s.cluster.store.now()
			s.cancel(w, at)
			continue
		}
		w.next = next
		if len(events) > 0 {
			s.send(&pb.WatchResponse{Header: headerAt(next - 1), WatchId: w.id, Events: events})
		}
	}
}

// send puts a message on its way. None overtakes another.
func (s *watchStream) send(resp *pb.WatchResponse) {
	at := time.Now().Add(s.cluster.faults.Event(s.node))
	if n := len(s.onWay); n > 0 && at.Before(s.onWay[n-1].at) {
		at = s.onWay[n-1].at
	}
	s.onWay = append(s.onWay, message{resp, at})
}

// deliver sends what has arrived, and returns when to call it again.
func (s *watchStream) deliver() (<-chan time.Time, error) {
	for len(s.onWay) > 0 {
		if left := time.Until(s.onWay[0].at); left > 0 {
			return time.After(left), nil
		}
		if err := s.stream.Send(s.onWay[0].resp); err != nil {
			return nil, err
		}
		s.observe(s.onWay[0].resp.Events)
		s.onWay = s.onWay[1:]
	}
	return nil, nil
}

// observe reports deletions that the node was told of. In virtual time nothing
// takes time but what waits for it, so the node has heard it once any has passed.
func (s *watchStream) observe(events []*mvccpb.Event) {
	observer, ok := s.cluster.faults.(Observer)
	if !ok {
		return
	}
	var deleted []*mvccpb.KeyValue
	for _, e := range events {
		if e.Type == mvccpb.Event_DELETE {
			deleted = append(deleted, e.Kv)
		}
	}
	if len(deleted) > 0 {
		s.cluster.loops.Go(func() {
			time.Sleep(time.Millisecond)
			observer.Told(s.node, deleted)
		})
	}
}

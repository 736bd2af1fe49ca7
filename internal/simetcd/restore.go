package simetcd

import (
	"io"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// bump is by how much a restore with a bumped revision goes ahead.
const bump = 1000

// Edit lets an operator look at all there is and change one key, or leave it: edit
// returns its name, and nil to delete it. It must not call the cluster.
func (c *Cluster) Edit(edit func(docs map[string]*mvccpb.KeyValue) (key string, value []byte)) {
	c.store.commit(func(r *revision) {
		switch key, value := edit(r.kvs); {
		case key == "":
		case value == nil:
			r.delete(key)
		default:
			r.put(key, value)
		}
	})
}

// Restore puts a backup back that was made so many revisions ago, if allowed, which
// is asked with the present revision, agrees; and ends all watches. With bumped,
// etcd goes on from a later revision than it has ever had, without a history. It
// reports whether it did.
func (c *Cluster) Restore(ago int64, bumped bool, allowed func(rev int64) bool) bool {
	if !c.store.restore(ago, bumped, allowed) {
		return false
	}
	c.endStreams(io.ErrUnexpectedEOF, func(*watchStream) bool { return true })
	return true
}

func (s *store) restore(ago int64, bumped bool, allowed func(rev int64) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.rev - ago
	if to <= s.compacted || to < 1 || !allowed(s.rev) {
		return false
	}
	s.kvs = s.asOf(to)
	s.history, s.rev = s.history[:to-1], to
	if bumped {
		s.history = append(s.history, make([][]*mvccpb.Event, ago+bump)...)
		s.rev = to + ago + bump
		s.compacted = s.rev
	}
	s.notify()
	return true
}

package distributed

import (
	"context"
	"errors"
	"time"
)

// bury ends what nodes have left behind that nobody hears of any more. It is not for
// keepTime to do: a call that hangs would eat up the grace.
func (s *session) bury() {
	for {
		timer := time.NewTimer(s.timing.period())
		select {
		case <-s.dig:
		case <-timer.C:
			s.collect()
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		s.buryDead()
	}
}

// buryDead puts tombstones in place of node documents. Several nodes may try; the
// revision makes sure that only what is known to be dead goes.
func (s *session) buryDead() {
	var graves []grave
	s.update(func() { graves, _ = s.mirror.due(s.clock.now()) })
	results := make(chan struct{})
	for _, g := range graves {
		s.loops.Go(func() {
			s.putTombstone(g)
			results <- struct{}{}
		})
	}
	for range graves {
		<-results
	}
}

func (s *session) putTombstone(g grave) {
	v := g.value
	v.State = stateBuried
	if !v.valid() || v.TTL == 0 {
		v.TTL, v.Drift = s.timing.ttl.Milliseconds(), inMillionths(s.timing.drift) // its own is not known, nor needed any more
	}
	b, err := s.keys.encode(s.keys.node(g.id), &v)
	var rev, picture int64
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
		s.stall()
		s.update(func() { picture = s.mirror.rev })
		rev, err = s.store.Put(ctx, s.keys.node(g.id), b, g.rev)
		cancel()
	}
	s.update(func() { s.buried(g, rev, picture, err) })
}

// buried takes in the answer to a tombstone that was sent when the picture was of the
// revision picture. If the document is at another revision than our picture shows,
// though that has come so far, the store has gone on from an earlier state without our
// seeing it. For update.
func (s *session) buried(g grave, rev, picture int64, err error) {
	var conflict *ConflictError
	switch {
	case err == nil:
		s.confirmedAt(rev, picture)
	case !errors.As(err, &conflict):
		s.log.Debug("node not buried, trying again", "node", g.id, "error", err)
		return
	case conflict.Known && conflict.There.Revision != 0:
		shown := int64(0)
		if n := s.mirror.nodes[g.id]; n != nil {
			shown = n.rev
		}
		there := conflict.There.Revision
		if there < g.rev || (shown < there && there <= s.mirror.rev) {
			s.mirror.replaced(s.clock.now())
			s.end(errHistory)
		}
	}
	s.mirror.dug(g, s.clock.now())
}

// collect deletes documents of nodes that have been void for long.
func (s *session) collect() {
	var found []Document
	s.update(func() {
		if s.mirror.collects() {
			now := s.clock.now()
			found = s.mirror.garbage(now, maxGarbage)
			if now-s.announcer.listsSeen >= s.mirror.garbageAge/10 {
				s.announcer.listsSeen = now
				found = append(found, s.mirror.unusedLists(now, maxGarbage)...)
			}
		}
	})
	for _, d := range found {
		ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
		err := s.store.Delete(ctx, d.Key, d.Revision)
		cancel()
		if err != nil {
			s.log.Debug("garbage not deleted, trying again", "document", d.Key, "error", err)
			return
		}
	}
}

const maxGarbage = 64 // documents that are deleted in a row

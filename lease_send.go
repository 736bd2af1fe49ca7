package distributed

import "context"

const (
	maxParallel = 16      // documents that are written one by one at the same time
	maxBatch    = 1 << 19 // bytes that are written in one round trip
)

// write sends what there is to write, until the session is over.
func (s *session) write() {
	places := make(chan struct{}, maxParallel)
	for {
		var flights []*flight
		s.update(func() { flights = s.take() })
		if len(flights) > 0 {
			s.launch(flights, places)
			continue
		}
		select {
		case <-s.wakeup:
		case <-s.ctx.Done():
			return
		}
	}
}

// launch sends flights, several in one round trip if the store can do that.
func (s *session) launch(flights []*flight, places chan struct{}) {
	batches, ok := s.store.(BatchStore)
	if ok && len(flights) > 1 {
		s.loops.Go(func() { s.fly(s.sendAll(batches, flights), places) })
		return
	}
	s.fly(flights, places)
}

// fly sends flights one by one, but not one after the other.
func (s *session) fly(flights []*flight, places chan struct{}) {
	for _, f := range flights {
		s.loops.Go(func() {
			select {
			case places <- struct{}{}:
			case <-s.ctx.Done():
				return
			}
			s.persist(f)
			<-places
		})
	}
}

// sendAll sends flights together, once, and returns those that are not confirmed.
func (s *session) sendAll(store BatchStore, flights []*flight) (rest []*flight) {
	for len(flights) > 0 {
		var attempts []attempt
		var writes []Write
		size := 0
		s.stall()
		s.update(func() {
			for _, f := range flights {
				a := s.attempt(f)
				if size += len(a.value); size > maxBatch && len(writes) > 0 {
					return
				}
				attempts, writes = append(attempts, a), append(writes, Write{a.key, a.value, a.guard})
			}
		})
		if s.ctx.Err() != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
		results := store.PutAll(ctx, writes)
		cancel()
		s.update(func() {
			for i, r := range results {
				if err := s.settle(flights[i], attempts[i], r.Revision, r.Err); err != nil && !flights[i].done {
					rest = append(rest, flights[i])
				}
			}
		})
		flights = flights[len(writes):]
	}
	return rest
}

// persist sends f until it is confirmed, or the session is over. To make a document
// is tried for no longer than others wait for it.
func (s *session) persist(f *flight) {
	pace := backoff{limit: s.timing.attempt()}
	for sleep(s.ctx, pace.next()) == nil {
		if f.seq == 1 && s.clock.now() > f.since+s.timing.ttl {
			s.update(func() { s.end(errExpired) })
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
		s.update(func() { f.cancel = cancel })
		err := s.send(ctx, f)
		cancel()
		if err == nil {
			return
		}
		s.update(func() { s.noteFailure(f, err) })
	}
}

// send makes an attempt. errAgain says that the document has another revision than
// we knew, and that f may be sent on that.
func (s *session) send(ctx context.Context, f *flight) error {
	var a attempt
	var done bool
	s.stall()
	s.update(func() { a, done = s.attempt(f), f.done })
	if done {
		return nil
	}
	rev, err := s.store.Put(ctx, a.key, a.value, a.guard)
	s.update(func() { err = s.settle(f, a, rev, err) })
	return err
}

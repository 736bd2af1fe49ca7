package distributed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// state is what is on record of a job, as the picture shows it.
type state struct {
	record JobRecord
	rev    int64
	hash   uint64        // of its bytes
	seen   time.Duration // when it was first seen so
}

// takeState takes in what is on record of a job. What cannot be read counts for
// nothing; but who cannot know what a newer version says had better not run the job.
func (t *transition) takeState(job string, d Document) {
	old := t.m.states[job]
	if d.Value == nil && old == nil {
		return
	}
	h := hash(d.Value)
	if old != nil && d.Value != nil && old.hash == h {
		old.rev = d.Revision
		return
	}
	t.m.changedRecords()
	t.states = append(t.states, job)
	if d.Value == nil {
		delete(t.m.states, job)
		return
	}
	t.m.states[job] = &state{record: t.m.keys.readState(job, d), rev: d.Revision, hash: h, seen: t.now}
}

func (k keys) readState(job string, d Document) JobRecord {
	var v stateValue
	if err := k.decode(d.Key, d.Value, &v); err != nil {
		_, newer := errors.AsType[*versionError](err)
		return JobRecord{Job: job, Done: newer, Error: err.Error()}
	}
	return JobRecord{
		Job: job, Token: v.Token, Instance: v.Instance, At: time.UnixMilli(v.At), Done: v.Done,
		Failures: v.Failures, Pause: time.Duration(v.Pause) * time.Millisecond, Error: v.Error,
	}
}

// Recorded implements [Lease].
func (s *session) Recorded(job string) (record JobRecord, age time.Duration, outdated <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.mirror.states[job]
	if known == nil || s.lost != nil {
		return JobRecord{}, 0, nil
	}
	if s.watched == nil {
		s.watched = map[string]chan struct{}{}
	}
	outdated = s.watched[job]
	if outdated == nil {
		closed := make(chan struct{})
		s.watched[job], outdated = closed, closed
	}
	return known.record, s.clock.now() - known.seen, outdated
}

// unwatch tells who waits for another record. For update.
func (s *session) unwatch(job string) {
	if outdated := s.watched[job]; outdated != nil {
		close(outdated)
		delete(s.watched, job)
	}
}

// Record implements [Election].
func (e *election) Record(ctx context.Context, r JobRecord) error {
	s := e.session
	key := s.keys.state(e.job)
	var value []byte
	if r != (JobRecord{}) {
		var err error
		value, err = s.keys.encode(key, &stateValue{
			Token: e.token, Instance: s.instance, At: r.At.UnixMilli(), Done: r.Done,
			Failures: r.Failures, Pause: r.Pause.Milliseconds(), Error: r.Error,
		})
		if err != nil {
			return err
		}
	}
	var there Document
	s.update(func() {
		if known := s.mirror.states[e.job]; known != nil {
			there.Revision = known.rev
		}
	})
	_, err := s.replace(ctx, key, there, func(there Document) ([]byte, error) {
		var v stateValue
		if s.keys.decode(key, there.Value, &v) == nil && v.Token > e.token {
			return nil, errOutdated
		}
		return value, nil
	})
	return err
}

// Save implements [Election].
func (e *election) Save(ctx context.Context, data []byte) error {
	_, err := e.save(ctx, func([]byte) []byte { return data })
	return err
}

// Saved implements [Election]. It writes what is there again, with our token: an
// earlier leader does not know the revision of that, so nothing that it sends takes
// effect.
func (e *election) Saved(ctx context.Context) ([]byte, error) {
	e.saved.Store(0) // what is there comes with the refusal
	return e.save(ctx, func(there []byte) []byte { return there })
}

// save keeps what change makes of what is kept, and returns it. Calls at the same
// time are not in order, but each takes effect as a whole.
func (e *election) save(ctx context.Context, change func([]byte) []byte) (data []byte, err error) {
	s := e.session
	key := s.keys.saved(e.job)
	written, err := s.replace(ctx, key, Document{Revision: e.saved.Load()}, func(there Document) ([]byte, error) {
		var v savedValue
		err := s.keys.decode(key, there.Value, &v)
		switch {
		case err == nil && v.Token > e.token:
			return nil, errOutdated
		case err != nil && !errors.Is(err, errUnreadable):
			return nil, err
		}
		data = change(v.Data)
		return s.keys.encode(key, &savedValue{e.token, data})
	})
	if err == nil {
		e.saved.Store(written.Revision)
	}
	return data, err
}

// errOutdated says that a later leader has written a document.
var errOutdated = fmt.Errorf("%w: a later leader has written since", ErrLeadershipLost)

// replace writes what next makes of the document called key, which may be as there
// says, or deletes it if that is nil; until it is confirmed, ctx is done, or the
// session is over. Each attempt is made on the revision that the one before has
// found. So it takes effect once, and what somebody else has written in between is
// seen, and not lost.
func (s *session) replace(ctx context.Context, key string, there Document, next func(there Document) ([]byte, error)) (Document, error) {
	ctx, cancel := eitherDone(ctx, s.ctx)
	defer cancel()
	pace := backoff{limit: s.timing.attempt()}
	for {
		if err := sleep(ctx, pace.next()); err != nil {
			if lost := s.over(); lost != nil {
				return there, lost
			}
			return there, err
		}
		value, err := next(there)
		if err != nil || bytes.Equal(value, there.Value) && (value != nil || there.Revision == 0) {
			return there, err // or it is done
		}
		rev, err := s.put(ctx, key, value, there.Revision)
		conflict, refused := errors.AsType[*ConflictError](err)
		switch {
		case err == nil:
			return Document{key, value, rev}, nil
		case refused && conflict.Known:
			there = conflict.There
			pace = backoff{limit: pace.limit} // somebody else got further
		case refused:
			if found, err := s.read(ctx, key); err == nil {
				there = found
			}
		}
	}
}

// put makes an attempt; a nil value deletes.
func (s *session) put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timing.attempt())
	defer cancel()
	if value == nil {
		return 0, s.store.Delete(ctx, key, rev)
	}
	var picture int64
	s.stall()
	s.update(func() { picture = s.mirror.rev })
	written, err := s.store.Put(ctx, key, value, rev)
	if err == nil {
		s.update(func() { s.confirmedAt(written, picture) })
	}
	return written, err
}

// read returns a document, at revision 0 if there is none.
func (s *session) read(ctx context.Context, key string) (Document, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timing.attempt())
	defer cancel()
	return readDocument(ctx, s.store, key)
}

// readDocument returns a document of a store, at revision 0 if there is none.
func readDocument(ctx context.Context, store Store, key string) (found Document, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listed := false
	err = store.Follow(ctx, key, func(step Step) {
		for _, d := range step.Documents {
			if d.Key == key && !listed {
				found = d
			}
		}
		listed = listed || step.Whole
		if listed {
			cancel()
		}
	})
	if listed {
		return found, nil
	}
	return found, err
}

// forgetJob takes off the record what there is of a job: one that is done is run
// again, and one that has failed does not pause.
func forgetJob(ctx context.Context, store Store, k keys, job string) error {
	for {
		there, err := readDocument(ctx, store, k.state(job))
		if err == nil && there.Revision != 0 {
			err = store.Delete(ctx, there.Key, there.Revision)
		}
		if _, conflict := errors.AsType[*ConflictError](err); conflict {
			continue // something else has been recorded
		}
		if err != nil {
			return fmt.Errorf("distributed: forget job %q: %w", job, err)
		}
		return nil
	}
}

package distributed

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// store is a node's way to the hub.
type memoryStore struct {
	hub  *MemoryHub
	name string

	once   sync.Once
	closed chan struct{}
}

func (s *memoryStore) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if value == nil {
		value = []byte{}
	}
	r := s.PutAll(ctx, []Write{{Key: key, Value: value, Revision: rev}})[0]
	return r.Revision, r.Err
}

func (s *memoryStore) Delete(ctx context.Context, key string, rev int64) error {
	return s.PutAll(ctx, []Write{{Key: key, Revision: rev}})[0].Err
}

func (s *memoryStore) PutAll(ctx context.Context, writes []Write) []WriteResult {
	answer, cut, err := s.send(ctx, writes)
	if err == nil {
		select {
		case results := <-answer:
			return results
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.closed:
			err = ErrClosed
		case <-cut:
			err = errCut
		}
	}
	results := make([]WriteResult, len(writes))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// send returns where the answer arrives.
func (s *memoryStore) send(ctx context.Context, writes []Write) (<-chan []WriteResult, <-chan struct{}, error) {
	if err := s.travel(ctx); err != nil {
		return nil, nil, err
	}
	own := make([]Write, len(writes)) // they may arrive when the caller has long gone on
	for i, w := range writes {
		own[i] = Write{Key: w.Key, Value: bytes.Clone(w.Value), Revision: w.Revision}
	}
	answer := make(chan []WriteResult, 1)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	n := s.hub.node(s.name)
	n.up.pass(func() {
		results := make([]WriteResult, len(own))
		for i, w := range own {
			results[i] = s.hub.write(s.name, w)
		}
		n.down.pass(func() { answer <- results })
	})
	return answer, n.cut, nil
}

// travel takes as long as the hub's delay.
func (s *memoryStore) travel(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	s.hub.mu.Lock()
	delay := s.hub.delay
	s.hub.mu.Unlock()
	if delay <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ErrClosed
	}
}

func (s *memoryStore) Follow(ctx context.Context, prefix string, tell func(Step)) error {
	if err := s.travel(ctx); err != nil {
		return err
	}
	cut := s.cut()
	f := &memoryFollower{node: s.name, prefix: prefix}
	s.hub.enlist(f)
	defer s.hub.delist(f)
	silence := time.NewTimer(memorySilence)
	defer silence.Stop()
	for silent := false; ; {
		step, news, err := s.next(prefix, f.position, silent)
		if err != nil {
			return err
		}
		if news == nil {
			tell(step)
			s.hub.told(f, step.Revision)
		}
		if news == nil || silent {
			silence.Reset(memorySilence)
		}
		if silent, err = s.wait(ctx, cut, news, silence.C); err != nil {
			return err
		}
	}
}

// memorySilence is after what silence a follower is told that nothing has changed. A
// node with the default TTL hears heartbeats more often.
const memorySilence = 3 * time.Second

func (s *memoryStore) cut() <-chan struct{} {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.hub.node(s.name).cut
}

// next returns the next step, an empty one if it has been silent, or else what is
// closed when it is worth asking again.
func (s *memoryStore) next(prefix string, position int64, silent bool) (step Step, news <-chan struct{}, err error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if err := s.hub.refusal(s.name); err != nil {
		return Step{}, nil, err
	}
	n := s.hub.node(s.name)
	if n.up.shut == 0 && n.down.shut == 0 {
		if step, ok := s.hub.step(prefix, position); ok {
			return step, nil, nil
		}
		if silent {
			return Step{Revision: s.hub.revision()}, nil, nil
		}
	}
	return Step{}, s.hub.news(), nil
}

// wait returns when news is closed, at once if it is nil, when it has been silent, or
// why there will be no more.
func (s *memoryStore) wait(ctx context.Context, cut, news <-chan struct{}, silence <-chan time.Time) (silent bool, err error) {
	if news == nil && ctx.Err() == nil {
		return false, s.open()
	}
	select {
	case <-news:
		return false, nil
	case <-silence:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.closed:
		return false, ErrClosed
	case <-cut:
		return false, errCut
	}
}

func (s *memoryStore) open() error {
	select {
	case <-s.closed:
		return ErrClosed
	default:
		return nil
	}
}

func (s *memoryStore) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

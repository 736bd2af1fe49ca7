package memory

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/b2552be4/distributed/internal/core"
)

// store is a node's way to the hub.
type store struct {
	hub  *Hub
	name string

	once   sync.Once
	closed chan struct{}
}

func (s *store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if value == nil {
		value = []byte{}
	}
	r := s.PutAll(ctx, []core.Write{{Key: key, Value: value, Revision: rev}})[0]
	return r.Revision, r.Err
}

func (s *store) Delete(ctx context.Context, key string, rev int64) error {
	return s.PutAll(ctx, []core.Write{{Key: key, Revision: rev}})[0].Err
}

func (s *store) PutAll(ctx context.Context, writes []core.Write) []core.WriteResult {
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
			err = ErrCut
		}
	}
	results := make([]core.WriteResult, len(writes))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// send returns where the answer arrives.
func (s *store) send(ctx context.Context, writes []core.Write) (<-chan []core.WriteResult, <-chan struct{}, error) {
	if err := s.travel(ctx); err != nil {
		return nil, nil, err
	}
	own := make([]core.Write, len(writes)) // they may arrive when the caller has long gone on
	for i, w := range writes {
		own[i] = core.Write{Key: w.Key, Value: bytes.Clone(w.Value), Revision: w.Revision}
	}
	answer := make(chan []core.WriteResult, 1)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	n := s.hub.node(s.name)
	n.up.pass(func() {
		results := make([]core.WriteResult, len(own))
		for i, w := range own {
			results[i] = s.hub.write(s.name, w)
		}
		n.down.pass(func() { answer <- results })
	})
	return answer, n.cut, nil
}

// travel takes as long as the hub's delay.
func (s *store) travel(ctx context.Context) error {
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

func (s *store) Follow(ctx context.Context, prefix string, after int64, tell func(core.Step)) error {
	if err := s.travel(ctx); err != nil {
		return err
	}
	cut := s.cut()
	for {
		step, news, err := s.next(prefix, after)
		if err != nil {
			return err
		}
		if news == nil {
			tell(step)
			after = step.Revision
		}
		if err := s.wait(ctx, cut, news); err != nil {
			return err
		}
	}
}

func (s *store) cut() <-chan struct{} {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.hub.node(s.name).cut
}

// next returns the next step, or else what is closed when it is worth asking again.
func (s *store) next(prefix string, position int64) (step core.Step, news <-chan struct{}, err error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if err := s.hub.refusal(s.name); err != nil {
		return core.Step{}, nil, err
	}
	n := s.hub.node(s.name)
	if n.up.shut == 0 && n.down.shut == 0 {
		if step, ok := s.hub.step(prefix, position); ok {
			return step, nil, nil
		}
	}
	return core.Step{}, s.hub.news(), nil
}

// wait returns nil when news is closed, at once if it is nil, or why there will
// be no more.
func (s *store) wait(ctx context.Context, cut, news <-chan struct{}) error {
	if news == nil && ctx.Err() == nil {
		return s.open()
	}
	select {
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ErrClosed
	case <-cut:
		return ErrCut
	}
}

func (s *store) open() error {
	select {
	case <-s.closed:
		return ErrClosed
	default:
		return nil
	}
}

func (s *store) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

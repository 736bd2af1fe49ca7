package schedule_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

var errAway = errors.New("the store is away")

// call is one call of the function of a schedule.
type call struct {
	node string
	at   string // the time that it was for
	came string // when it came
}

// service is nodes that have a schedule as their only job, and what was called.
type service struct {
	t   *testing.T
	hub distributed.MemoryHub

	mu    sync.Mutex
	calls []call
}

type function = func(ctx context.Context, at time.Time) error

// start runs a node. Its job is the schedule of a function that notes each call, and then
// calls do if that is not nil.
func (s *service) start(node string, of func(function) (func(context.Context) error, error), do function) (stop func() error) {
	work, err := of(func(ctx context.Context, at time.Time) error {
		s.note(node, at)
		if do == nil {
			return nil
		}
		return do(ctx, at)
	})
	require.NoError(s.t, err)
	provider := distributed.NewMemoryLeaseProvider(&s.hub, distributed.WithLeaseTTL(5*time.Minute)) // few heartbeats, so that days take seconds
	p := distributed.NewLeadershipBasedJobProcessor("app", node, provider, nil)
	require.NoError(s.t, p.AddJob(distributed.Job{Name: "job", Work: work}))
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := new(sync.WaitGroup)
	ended.Go(func() { err = p.Execute(ctx) })
	return func() error { cancel(); ended.Wait(); return err }
}

func (s *service) note(node string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call{node: node, at: at.Format("15:04"), came: time.Now().UTC().Format("15:04")})
}

// take returns what has been called since it was called last.
func (s *service) take() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// requireTimes says for which times the function was called, in order.
func (s *service) requireTimes(want ...string) {
	s.t.Helper()
	var got []string
	for _, c := range s.take() {
		got = append(got, c.at)
	}
	require.Equal(s.t, want, got)
}

// sleepUntil sleeps until a time of the first day, which is when virtual time begins,
// and a second longer, so that what is to happen then has.
func sleepUntil(t *testing.T, clock string) {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", "2000-01-01 "+clock)
	require.NoError(t, err)
	time.Sleep(time.Until(at.Add(time.Second)))
}

// lead makes a node that leads the job, and does nothing.
func (s *service) lead(node string) *distributed.Leadership {
	c := distributed.NewConcurrency("app", node, distributed.NewMemoryLeaseProvider(&s.hub))
	s.t.Cleanup(func() { require.NoError(s.t, c.Close()) })
	l, err := c.Campaign(s.t.Context(), "job")
	require.NoError(s.t, err)
	return l
}

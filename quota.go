package distributed

import (
	"context"
	"errors"
	"sync"
)

// quota limits how many jobs this node runs at once. A nil quota has no limit.
//
// While there is a free slot the node campaigns for every job it does not run. All
// campaigns of that time share one context, which is cancelled when the last
// slot is taken: that withdraws them.
type quota struct {
	mu    sync.Mutex
	free  int
	freed chan struct{} // closed when a slot is free again; nil while there is one

	standing context.Context // done when no slot is free any more
	withdraw context.CancelCauseFunc
}

var errQuotaReached = errors.New("distributed: job quota reached")

func newQuota(ctx context.Context, n int) *quota {
	q := &quota{free: n}
	q.standing, q.withdraw = context.WithCancelCause(ctx)
	return q
}

// stand waits until a slot is free or ctx is done, and returns the context to
// campaign under, which is to be cancelled after the campaign.
func (q *quota) stand(ctx context.Context, wait wait) (context.Context, context.CancelFunc, error) {
	if q == nil {
		return ctx, func() {}, ctx.Err()
	}
	for ctx.Err() == nil {
		q.mu.Lock()
		standing, freed := q.standing, q.freed
		q.mu.Unlock()
		if freed == nil {
			ctx, cancel := eitherDone(ctx, standing)
			return ctx, cancel, nil
		}
		if err := wait(ctx, freed); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, ctx.Err()
}

// take books a slot, if one is free: several campaigns may have been won at once.
func (q *quota) take() bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free == 0 {
		return false
	}
	q.free--
	if q.free == 0 {
		q.withdraw(errQuotaReached)
		q.freed = make(chan struct{})
	}
	return true
}

// put gives a slot back.
func (q *quota) put(ctx context.Context) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free++
	if q.freed != nil {
		q.standing, q.withdraw = context.WithCancelCause(ctx)
		close(q.freed)
		q.freed = nil
	}
}

package distributed

import (
	"context"
	"time"
)

// NewMemoryLeaseProvider returns a provider whose store is hub, in this process; nil
// means a new hub that nothing else can reach. It is for tests and development: jobs
// are exclusive among the nodes on one hub only, and fencing tokens start again with
// every hub. It runs the same protocol as any other [Store], but on the clock of
// package time, so it works in virtual time (testing/synctest).
//
// Many providers may share a hub, and many nodes a provider. It does not block, is safe
// for concurrent use, and has nothing to close. [Concurrency.Campaign] and
// [LeadershipBasedJobProcessor.Execute] report a wrong option.
func NewMemoryLeaseProvider(hub *MemoryHub, opts ...LeaseOption) LeaseProvider {
	if hub == nil {
		hub = new(MemoryHub)
	}
	p := newStoreProvider(hub.openFor, newLeaseOptions(opts))
	p.clock.boot = func() (time.Duration, bool) { return 0, false }
	return p
}

// openFor is an [OpenStore].
func (h *MemoryHub) openFor(ctx context.Context, req LeaseRequest) (Store, error) {
	s := h.open(req.Instance)
	if err := s.travel(ctx); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.refusal(req.Instance); err != nil {
		return nil, err
	}
	return s, nil
}

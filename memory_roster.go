package distributed

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Announce implements [Roster].
func (l *memoryLease) Announce(ctx context.Context, info NodeInfo) error {
	calling, cancel := eitherDone(ctx, l.living)
	defer cancel()
	announced := false
	err := l.hub.insist(calling, l.instance, func() {
		if !l.alive(time.Now()) {
			return // calling is done soon
		}
		l.info = info
		l.info.Jobs = slices.Clone(info.Jobs)
		l.hub.touch()
		announced = true
	})
	if !announced && ctx.Err() == nil {
		return ErrLeaseLost
	}
	return err
}

// View implements [Roster]. A node that is cut off sees what it saw last.
func (l *memoryLease) View() (*View, <-chan struct{}, error) {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.ended {
		return nil, nil, ErrLeaseLost
	}
	if h.outdated == nil {
		h.outdated = make(chan struct{})
	}
	if l.viewed == nil || h.refusal(l.instance) == nil {
		l.viewed = h.view(l.app, l.id())
	}
	return l.viewed, h.outdated, nil
}

// Silence implements [Roster].
func (l *memoryLease) Silence() map[string]time.Duration { return l.hub.silence(l.app) }

func (h *MemoryHub) silence(app string) map[string]time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	silence := map[string]time.Duration{}
	for l := range h.leases {
		if l.app == app && !l.ended {
			silence[l.id()] = time.Since(l.validUntil.Add(-l.ttl))
		}
	}
	return silence
}

// view is called with h.mu held.
func (h *MemoryHub) view(app, self string) *View {
	v := &View{Self: self, Nodes: []NodeView{}, Jobs: []JobView{}}
	for l := range h.leases {
		if l.app == app && !l.ended {
			v.Nodes = append(v.Nodes, NodeView{ID: l.id(), Instance: l.instance, NodeInfo: l.info})
		}
	}
	for queue, candidates := range h.queues {
		job := JobView{Name: queue.job}
		job.Led = candidates[0].elected && !candidates[0].over
		for _, c := range candidates {
			if !c.over {
				job.Queue = append(job.Queue, CandidateView{Node: c.lease.id(), Token: c.token})
			}
		}
		if queue.app == app && len(job.Queue) > 0 {
			v.Jobs = append(v.Jobs, job)
		}
	}
	v.sort()
	return v
}

// touch says that there are other views now. It is called with h.mu held.
func (h *MemoryHub) touch() {
	if h.outdated != nil {
		close(h.outdated)
		h.outdated = nil
	}
}

func (l *memoryLease) id() string { return fmt.Sprintf("%08d", l.number) }

// OpenView implements [ViewProvider].
func (p *memoryProvider) OpenView(ctx context.Context, req LeaseRequest) (Viewer, error) {
	v := &memoryViewer{hub: p.hub, app: req.App}
	if err := p.hub.do(ctx, "", func() {}); err != nil {
		return nil, fmt.Errorf("distributed: open view: %w", err)
	}
	return v, nil
}

// memoryViewer looks on at an app. It sees what it saw last while the hub refuses
// everybody.
type memoryViewer struct {
	hub *MemoryHub
	app string

	// guarded by hub.mu
	viewed *View
	closed bool
}

func (v *memoryViewer) View() (*View, <-chan struct{}, error) {
	h := v.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.closed {
		return nil, nil, ErrClosed
	}
	if h.outdated == nil {
		h.outdated = make(chan struct{})
	}
	if v.viewed == nil || h.refusal("") == nil {
		v.viewed = h.view(v.app, "")
	}
	return v.viewed, h.outdated, nil
}

func (v *memoryViewer) Silence() map[string]time.Duration { return v.hub.silence(v.app) }

func (v *memoryViewer) Close() error {
	v.hub.mu.Lock()
	defer v.hub.mu.Unlock()
	v.closed = true
	v.hub.touch()
	return nil
}

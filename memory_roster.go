package distributed

import (
	"context"
	"fmt"
	"slices"
)

// Announce implements [Roster].
func (l *memoryLease) Announce(ctx context.Context, info NodeInfo) error {
	calling, cancel := eitherDone(ctx, l.living)
	defer cancel()
	err := l.hub.insist(calling, l.instance, func() {
		l.info = info
		l.info.Jobs = slices.Clone(info.Jobs)
		l.hub.touch()
	})
	if err != nil && ctx.Err() == nil {
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

// view is called with h.mu held.
func (h *MemoryHub) view(app, self string) *View {
	v := &View{Self: self}
	for l := range h.leases {
		if l.app == app && !l.ended {
			v.Nodes = append(v.Nodes, NodeView{ID: l.id(), Instance: l.instance, NodeInfo: l.info})
		}
	}
	for queue, candidates := range h.queues {
		job := JobView{Name: queue.job}
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

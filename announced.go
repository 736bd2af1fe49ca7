package distributed

import "context"

// publish has what the node tells announced anew. It is called with mu held.
func (b *balancer) publish() {
	b.edition++
	signal(b.wake)
}

// update has change change what is told of a job, which others read under mu.
func (b *balancer) update(change func()) {
	if b == nil {
		change()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	b.publish()
}

// awaitAnnounced blocks until what is to be announced now has been, or never will be
// as the node is stopping, or ctx is done.
func (b *balancer) awaitAnnounced(ctx context.Context) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	edition := b.edition
	b.mu.Unlock()
	return b.awaitTold(ctx, edition)
}

// awaitTold blocks until that edition, or a later one, has been announced; likewise.
// Before the first announcement there is nothing that the others would have to forget.
func (b *balancer) awaitTold(ctx context.Context, edition int) error {
	for {
		b.mu.Lock()
		done, changed := b.told >= edition || !b.telling, b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-b.left:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *balancer) news() (edition int, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.edition, b.edition != b.told
}

func (b *balancer) noteTold(edition int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = edition
	close(b.changed)
	b.changed = make(chan struct{})
}

// info is what the node announces.
func (b *balancer) info() NodeInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.telling = true
	info := b.node
	info.Draining, info.Warming = b.draining, b.warmths()
	info.Jobs = make([]JobInfo, 0, len(b.seats))
	for _, s := range b.sorted() {
		if !s.leaves {
			info.Jobs = append(info.Jobs, s.job.info())
		}
	}
	return info
}

package distributed

import (
	"context"
	"slices"
	"sync"
	"time"
)

// parting is how a processor that stops lets go of what it leads: of all by one write,
// which closes the lease, if the Works return together, and otherwise of each as its
// Work returns. It is guarded by the processor's mu.
type parting struct {
	tenures int           // of jobs on this node
	waiting int           // of these, those whose Work has returned, and that wait for the others
	look    chan struct{} // capacity 1: while Execute ends, one waits, or all do
	over    chan struct{} // closed when they are not to wait any more
}

const (
	// gatherPause is how long those that wait do so for others that return, and
	// gatherLeast how many have to, each time: as many as it takes longer to write.
	// With each thousand that wait they do so for as long again, which writing those
	// takes as well: Works return with pauses, such as while garbage is collected.
	gatherPause = time.Millisecond
	gatherLeast = 32
)

// finish lets no more jobs begin, and ends all leaderships, and then the campaigns. Their
// contexts are no children of p.ctx: that is locked until it has told its last child,
// and the first of ten thousand jobs would wait for that.
func (p *LeadershipBasedJobProcessor) finish(cause error) {
	var campaigns, running []context.CancelCauseFunc
	p.mu.Lock()
	p.finished = true
	if p.parting.waiting > 0 || p.parting.tenures == 0 {
		signal(p.parting.look)
	}
	for _, job := range p.jobs {
		if job.tenure != nil {
			running = append(running, job.tenure.leadership.end)
		}
		if job.cancel != nil {
			campaigns = append(campaigns, job.cancel)
		}
	}
	p.mu.Unlock()
	p.crew.end()
	for _, cancel := range slices.Concat(running, campaigns) {
		cancel(cause)
	}
}

// noticeParting is called after a change, with mu held.
func (p *LeadershipBasedJobProcessor) noticeParting() {
	if g := &p.parting; p.finished && (g.waiting == 1 || g.waiting == g.tenures) {
		signal(g.look)
	}
}

// part waits until the job may be released.
func (p *LeadershipBasedJobProcessor) part() {
	p.mu.Lock()
	p.parting.waiting++
	p.noticeParting()
	p.mu.Unlock()
	<-p.parting.over
}

// gather waits while Works return, many at a time. It returns how many have, after the
// first if there is one, and whether that is all.
func (p *LeadershipBasedJobProcessor) gather() (returned int, all bool) {
	<-p.parting.look
	for before := -gatherLeast; ; {
		p.mu.Lock()
		waiting, tenures := p.parting.waiting, p.parting.tenures
		p.mu.Unlock()
		if waiting == tenures || waiting-before < gatherLeast {
			return waiting, waiting == tenures
		}
		before = waiting
		select {
		case <-p.parting.look:
		case <-time.After(gatherPause * time.Duration(1+waiting/1000)):
		}
	}
}

// end lets go of everything, and returns when nothing runs any more. Who waits for its
// jobs has to know before that this node leaves.
func (p *LeadershipBasedJobProcessor) end() {
	returned, all := p.gather()
	if returned > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), closeTimeout)
		p.balancer.awaitLeave(ctx)
		cancel()
	}
	letGo := sync.OnceFunc(func() {
		close(p.parting.over)
		p.loops.Wait()
	})
	if !all {
		letGo()
	}
	_ = p.concurrency.close(letGo) // logged there; others wait until what is left has run out
}

package distributed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Jobs returns the jobs of the processor, sorted by name. It does not block.
func (p *LeadershipBasedJobProcessor) Jobs() []Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	jobs := make([]Job, 0, len(p.jobs))
	for _, job := range p.jobs {
		if !job.removed {
			jobs = append(jobs, job.Job)
		}
	}
	slices.SortFunc(jobs, func(a, b Job) int { return strings.Compare(a.Name, b.Name) })
	return jobs
}

// UpdateJob gives the job with the Name of job the Weight, Prefer and Avoid of job; the
// other fields of job are ignored. The job goes on running, and may move because of the
// change. UpdateJob does not block; the other nodes learn of the change shortly after.
// It returns [ErrInvalidConfig] if AddJob would refuse these values, and [ErrUnknown]
// if there is no such job. It may be called at any time, but has no effect once Execute
// is ending.
func (p *LeadershipBasedJobProcessor) UpdateJob(job Job) error {
	if err := p.made(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	planned, err := p.known(job.Name)
	if err != nil {
		return err
	}
	job.Work = planned.Work
	if err := p.check(job); err != nil {
		return err
	}
	p.balancer.update(func() {
		planned.Weight, planned.Prefer, planned.Avoid = job.Weight, slices.Clone(job.Prefer), slices.Clone(job.Avoid)
	})
	return nil
}

// RemoveJob takes a job away from this node. The context of its Work is done, with
// cause [ErrJobRemoved], and other nodes that have the job can run it. RemoveJob blocks
// until Work has returned, the job is released, and, with [WithLoadBalancing], the
// other nodes have been told. If ctx is done earlier, it returns ctx's error, wrapped,
// and the job is removed all the same. A Work that removes its own job must do so in
// another goroutine, or it waits for itself.
//
// It returns [ErrUnknown] if there is no such job, and [ErrStuck] if Execute has
// returned although the Work has not. It may be called at any time. When it has
// returned nil, the name can be used again. Execute goes on even if no job is left.
func (p *LeadershipBasedJobProcessor) RemoveJob(ctx context.Context, name string) error {
	if err := p.made(); err != nil {
		return err
	}
	gone, err := p.dismiss(name)
	if err != nil {
		return err
	}
	select {
	case <-gone:
		err = p.balancer.awaitAnnounced(ctx)
	case <-p.ended:
		select {
		case <-gone:
		default:
			err = ErrStuck // Execute has returned, and Work has not
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("distributed: remove job %q: %w", name, err)
	}
	return nil
}

// dismiss lets a job end, and returns what is closed when it has.
func (p *LeadershipBasedJobProcessor) dismiss(name string) (gone <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	job := p.jobs[name]
	if job == nil {
		return nil, fmt.Errorf("%w: this processor has no job %q", ErrUnknown, name)
	}
	if job.removed {
		return job.gone, nil
	}
	job.removed, job.gone = true, make(chan struct{})
	p.balancer.dismiss(name)
	p.rebar()
	if job.cancel != nil {
		job.cancel(ErrJobRemoved)
	}
	if job.tenure != nil {
		job.tenure.leadership.end(ErrJobRemoved)
	}
	p.strike(job)
	return job.gone, nil
}

// known returns a job that has not been removed. It is called with mu held.
func (p *LeadershipBasedJobProcessor) known(name string) (*plannedJob, error) {
	job := p.jobs[name]
	if job == nil || job.removed {
		return nil, fmt.Errorf("%w: this processor has no job %q", ErrUnknown, name)
	}
	return job, nil
}

// retire undoes the crew's join. RemoveJob is told before Execute may return, which it
// would take for the sign that Work is stuck.
func (p *LeadershipBasedJobProcessor) retire(job *plannedJob) {
	defer p.crew.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crew.desert(job)
	p.strike(job)
}

// strike takes a job off the list, if it is removed and nobody serves it. It is called
// with mu held.
func (p *LeadershipBasedJobProcessor) strike(job *plannedJob) {
	if job.removed && p.jobs[job.Name] == job && !p.crew.serves(job) {
		delete(p.jobs, job.Name)
		p.balancer.exit(job.Name)
		close(job.gone)
	}
}

// enter lets a job take part in balancing.
func (p *LeadershipBasedJobProcessor) enter(job *plannedJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !job.removed {
		p.balancer.enter(job)
	}
}

var (
	// ErrJobRemoved is the cause of the context of a Work whose job was taken away by
	// [LeadershipBasedJobProcessor.RemoveJob].
	ErrJobRemoved = errors.New("distributed: job removed")
)

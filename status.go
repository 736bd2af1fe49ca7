package distributed

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// Status is what a processor does at one moment: what this node knows of itself,
// while [View] and [Observer] show what all can see of one another. All of these
// can be marshalled to JSON and back.
type Status struct {
	Instance  string      `json:"instance"`
	Executing bool        `json:"executing"` // Execute runs, and has not begun to end
	Leased    bool        `json:"leased"`    // there is a lease: this node can lead
	Node      string      `json:"node"`      // ID of this node in a [View]; empty without a lease
	Draining  bool        `json:"draining"`  // it takes no jobs: [LeadershipBasedJobProcessor.Drain], or Execute is ending with [WithLoadBalancing]
	Jobs      []JobStatus `json:"jobs"`
}

// JobStatus is a job of a processor at one moment.
type JobStatus struct {
	Name  string    `json:"name"`
	State JobState  `json:"state"`
	Since time.Time `json:"since"` // when it came into that state; a job is stuck since its context is done
	Token int64     `json:"token"` // of the leadership; 0 while it waits
	Cause error     `json:"-"`     // why the context of Work is done, or the job is paused; nil otherwise. In JSON its text: "cause"

	// Warming: it is led here, and Work has not called [Leadership.Ready] yet.
	Warming bool `json:"warming,omitempty"`

	// Record is what is on record of it in the app: failures of its Work, on whatever
	// node; or that it is done. nil if nothing is, or without a lease.
	Record *JobRecord `json:"record,omitempty"`

	// Lacks are the instances that do not have the job, see [View.Partial].
	Lacks []string `json:"lacks,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (s JobStatus) MarshalJSON() ([]byte, error) {
	v := jobStatusJSON{plainJobStatus: plainJobStatus(s)}
	if s.Cause != nil {
		v.Cause = s.Cause.Error()
	}
	return json.Marshal(v)
}

// UnmarshalJSON implements [json.Unmarshaler]. Of the cause only the text comes
// back: errors.Is finds nothing in it.
func (s *JobStatus) UnmarshalJSON(b []byte) error {
	var v jobStatusJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*s = JobStatus(v.plainJobStatus)
	if v.Cause != "" {
		s.Cause = errors.New(v.Cause)
	}
	return nil
}

type jobStatusJSON struct {
	plainJobStatus
	Cause string `json:"cause,omitempty"`
}

// plainJobStatus has the fields of a JobStatus, and not its methods.
type plainJobStatus JobStatus

// JobState is what a job does on a node.
type JobState string

// A job waits for whatever it has to wait for, runs, and stops, on each node.
const (
	JobWaiting  JobState = "waiting"  // it does not run here
	JobRunning  JobState = "running"  // it is led here, and its context is not done
	JobFailed   JobState = "failed"   // it is led here, and pauses after a failure of its Work
	JobStopping JobState = "stopping" // its context is done, or Work has returned and it is being released
	JobPaused   JobState = "paused"   // it does not run here, as an operator has paused it: Cause says who and why
	JobStuck    JobState = "stuck"    // Work has not returned, 1 s or more after its context was done
	JobDone     JobState = "done"     // it is not run any more, on no node: Work has returned [ErrDone]
)

// Status returns what the processor is doing now, with the jobs sorted by name. It may
// be called at any time, does not block, and makes no call to the store.
func (p *LeadershipBasedJobProcessor) Status() Status {
	if p.made() != nil {
		return Status{}
	}
	s := Status{Instance: p.concurrency.instance, Draining: p.balancer.drains() || p.drained()}
	s.Node, s.Leased = p.concurrency.node()
	s.Executing, s.Jobs = p.jobStatus(time.Now())
	p.recall(s.Jobs)
	slices.SortFunc(s.Jobs, func(a, b JobStatus) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// recall adds what the app knows of the jobs.
func (p *LeadershipBasedJobProcessor) recall(jobs []JobStatus) {
	held := p.concurrency.held()
	if held == nil {
		return
	}
	lacks := map[string][]string{}
	if p.balancer != nil {
		if view, _, err := held.lease.View(); err == nil {
			for _, partial := range view.Partial() {
				lacks[partial.Job] = partial.Lacks
			}
		}
	}
	for i := range jobs {
		j := &jobs[i]
		j.Lacks = lacks[j.Name]
		record, _, outdated := held.lease.Recorded(j.Name)
		if outdated == nil {
			continue
		}
		j.Record = &record
		if record.Done && (j.State == JobWaiting || j.State == JobPaused) {
			j.State, j.Cause = JobDone, nil
		}
	}
}

func (p *LeadershipBasedJobProcessor) jobStatus(now time.Time) (executing bool, jobs []JobStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	jobs = make([]JobStatus, 0, len(p.jobs))
	for name, job := range p.jobs {
		if job.tenure != nil {
			jobs = append(jobs, job.tenure.status(now))
			continue
		}
		s := JobStatus{Name: name, State: JobWaiting, Since: job.since}
		if p.ordered != nil {
			if o := p.ordered.pausedBy(name); o != nil {
				s.State, s.Cause = JobPaused, pausedBy(*o)
			}
		}
		jobs = append(jobs, s)
	}
	return p.ctx != nil && p.ctx.Err() == nil && !p.finished, jobs
}

// drained reports whether an operator drains this node.
func (p *LeadershipBasedJobProcessor) drained() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ordered != nil && p.ordered.drained != nil
}

// tenure is a job's time on this node, from its election until its release. What
// changes is guarded by the processor's mutex.
type tenure struct {
	leadership *Leadership
	stopping   stopping  // of its Work
	returned   time.Time // when Work returned; zero before
	resting    bool      // Work pauses after a failure
	given      bool      // Execute does not wait for Work any more
}

func (t *tenure) status(now time.Time) JobStatus {
	l, ended := t.leadership, t.stopping.ended()
	s := JobStatus{Name: l.name, State: JobRunning, Since: l.since, Token: l.token, Cause: context.Cause(l.ctx), Warming: l.warming()}
	switch {
	case !t.returned.IsZero():
		s.State, s.Since = JobStopping, t.returned
	case !ended.IsZero() && now.Sub(ended) >= stuckAfter:
		s.State, s.Since = JobStuck, ended
	case !ended.IsZero():
		s.State, s.Since = JobStopping, ended
	case s.Cause != nil:
		s.State, s.Since = JobStopping, now
	case t.resting:
		s.State = JobFailed
	}
	return s
}

// begin notes that a job is led here. It ends the leadership if that has come too late to
// be among those that are ended with Execute, or the job.
func (p *LeadershipBasedJobProcessor) begin(job *plannedJob, l *Leadership) *tenure {
	p.mu.Lock()
	defer p.mu.Unlock()
	job.tenure, job.barable = &tenure{leadership: l}, false
	p.parting.tenures++
	switch {
	case p.ctx.Err() != nil:
		l.end(context.Cause(p.ctx))
	case job.removed:
		l.end(ErrJobRemoved)
	}
	return job.tenure
}

// finishTenure notes that a job is released.
func (p *LeadershipBasedJobProcessor) finishTenure(job *plannedJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	job.tenure, job.since = nil, time.Now()
	p.parting.tenures--
	p.noticeParting()
}

// noteRest notes whether a job pauses after a failure.
func (p *LeadershipBasedJobProcessor) noteRest(t *tenure, resting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.resting = resting
}

// noteReturn notes that a Work has returned.
func (p *LeadershipBasedJobProcessor) noteReturn(t *tenure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.returned = time.Now()
	if t.given {
		t.given = false
		p.crew.giveUp(-1)
	}
}

// node returns whether there is a lease, and its ID in views.
func (c *Concurrency) node() (id string, leased bool) {
	held := c.held()
	if held == nil {
		return "", false
	}
	view, _, err := held.lease.View()
	if err != nil {
		return "", false // lost, and nobody has asked it for anything since
	}
	return view.Self, true
}

func (b *balancer) drains() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.draining
}

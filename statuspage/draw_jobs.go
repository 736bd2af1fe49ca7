package statuspage

import "github.com/b2552be4/distributed"

func (h *history) drawJobs(pic, before *picture, names []string) []job {
	jobs := make([]job, len(names))
	view, was, drawn := pic.view.Jobs, before.view.Jobs, before.Jobs
	paused, _ := pausedJobs(pic.view)
	for i, name := range names {
		view, was, drawn = view[jobsBefore(view, name):], was[jobsBefore(was, name):], drawn[drawnBefore(drawn, name):]
		var v *distributed.JobView
		if len(view) > 0 && view[0].Name == name {
			v = &view[0]
		}
		known := v != nil && len(was) > 0 && was[0].Name == name && sameJob(v, &was[0]) && len(drawn) > 0 && drawn[0].Name == name
		if known && !pic.knowsMore(name) && !before.knowsMore(name) && drawn[0].plain() {
			jobs[i] = drawn[0]
		} else {
			jobs[i] = h.drawJob(pic, v, name)
		}
		if by := paused(name); by != "" && jobs[i].State == distributed.JobWaiting {
			jobs[i].State, jobs[i].Paused = distributed.JobPaused, by
		}
	}
	return jobs
}

// jobsBefore returns how many jobs, sorted by name, come before name.
func jobsBefore(jobs []distributed.JobView, name string) (n int) {
	for n < len(jobs) && jobs[n].Name < name {
		n++
	}
	return n
}

// drawnBefore does the same for jobs that have been drawn.
func drawnBefore(jobs []job, name string) (n int) {
	for n < len(jobs) && jobs[n].Name < name {
		n++
	}
	return n
}

// plain reports whether nothing was shown of j but what is in its queue.
func (j *job) plain() bool {
	return j.Failures == 0 && j.Lacks == "" && !j.Warming && j.Prepares == "" && (j.State == distributed.JobRunning || j.State == distributed.JobWaiting)
}

// knowsMore reports whether the node that shows the page has something to say of job.
func (pic *picture) knowsMore(job string) bool {
	if len(pic.local) == 0 {
		return false
	}
	_, ok := pic.local[job]
	return ok
}

// drawJob draws a job; v is nil for one that nobody campaigns for.
func (h *history) drawJob(pic *picture, v *distributed.JobView, name string) job {
	j := job{Name: name, State: distributed.JobWaiting, Since: stampOf(h.vacant[name].at)}
	if v != nil {
		j.Standby = len(v.Queue)
		if v.Led {
			j.Standby--
			j.State, j.Node, j.Token, j.Since = distributed.JobRunning, v.Queue[0].Node, v.Queue[0].Token, 0
			if t := h.terms[name]; t != nil && t.token == j.Token {
				j.Since = stampOf(t.since)
			}
		}
	}
	if l, ok := pic.local[name]; ok && (j.Node == pic.Self || j.Node == "") {
		j.Node, j.State, j.Since, j.Token = pic.Self, l.State, stampOf(l.Since), l.Token
	}
	return j
}

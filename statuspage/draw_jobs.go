package statuspage

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// drawJobs draws the jobs that somebody campaigns for, and others. What was drawn before
// from the same, sorted by name, is not drawn again.
func (h *history) drawJobs(pic *picture, drawn []*job, local map[string]distributed.JobStatus, others []string, now time.Time) []*job {
	jobs := make([]*job, 0, len(h.view.Jobs)+len(others))
	remarks := pic.remarks(h.view, local, now)
	for name, v := range everyJob(h.view.Jobs, others) {
		for len(drawn) > 0 && drawn[0].Name < name {
			drawn = drawn[1:]
		}
		known := len(drawn) > 0 && drawn[0].Name == name
		from := sourceOf(v)
		from.more = remarks.on(name)
		if known && v != nil && !from.more && drawn[0].source == from {
			jobs = append(jobs, drawn[0])
			continue
		}
		j := h.drawJob(v, name)
		remarks.add(&j)
		j.source = from
		if known && *drawn[0] == j {
			jobs = append(jobs, drawn[0])
			continue
		}
		jobs = append(jobs, &j)
	}
	return jobs
}

// everyJob yields jobs, and others that nobody campaigns for, in the order of their
// names; both are sorted.
func everyJob(jobs []distributed.JobView, others []string) iter.Seq2[string, *distributed.JobView] {
	return func(yield func(string, *distributed.JobView) bool) {
		for i := range jobs {
			for ; len(others) > 0 && others[0] < jobs[i].Name; others = others[1:] {
				if !yield(others[0], nil) {
					return
				}
			}
			if !yield(jobs[i].Name, &jobs[i]) {
				return
			}
		}
		for _, name := range others {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// jobsBefore returns how many jobs, sorted by name, come before name.
func jobsBefore(jobs []distributed.JobView, name string) (n int) {
	for n < len(jobs) && jobs[n].Name < name {
		n++
	}
	return n
}

// unled returns how many of the jobs that stop on the node that shows the page, and are
// shown there, nobody leads any more.
func unled(view *distributed.View, local map[string]distributed.JobStatus) (n int) {
	for name := range local {
		at, ok := slices.BinarySearchFunc(view.Jobs, name, func(j distributed.JobView, name string) int { return strings.Compare(j.Name, name) })
		if !ok || !view.Jobs[at].Led {
			n++
		}
	}
	return n
}

func sourceOf(v *distributed.JobView) source {
	if v == nil {
		return source{}
	}
	return source{first: &v.Queue[0], led: v.Led}
}

// drawJob draws a job by its queue; v is nil for one that nobody campaigns for.
func (h *history) drawJob(v *distributed.JobView, name string) job {
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
	return j
}

package statuspage

import (
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// remarks are what there is to say of jobs beyond who leads them and waits for them. They
// are gone through in the order of the jobs' names.
type remarks struct {
	now     time.Time
	self    string                           // ID of the node that shows the page
	local   map[string]distributed.JobStatus // what only that knows
	pauses  bool                             // paused may say something
	paused  func(job string) string          // by whom a job is, and why
	records []distributed.JobRecord          // of jobs that have not been passed
	partial []distributed.PartialJob         // likewise
	warmth  map[string]warmth
}

// warmth is who warms up for a job.
type warmth struct {
	leads    []string // IDs of nodes that say that they lead it
	prepares []string // instances that are to take it over
}

func (pic *picture) remarks(view *distributed.View, local map[string]distributed.JobStatus, now time.Time) *remarks {
	r := &remarks{now: now, self: pic.Self, local: local, records: view.Records, partial: pic.partial, warmth: map[string]warmth{}}
	var paused []string
	r.paused, paused = pausedJobs(view)
	r.pauses = len(paused) > 0 || r.paused("") != ""
	for i := range view.Nodes {
		n := &view.Nodes[i]
		for job, how := range n.Warming {
			w := r.warmth[job]
			switch how {
			case distributed.Warming:
				w.leads = append(w.leads, n.ID)
			case distributed.Preparing:
				w.prepares = append(w.prepares, n.Instance)
			}
			r.warmth[job] = w
		}
	}
	return r
}

// on passes the jobs before one, and reports whether there is anything to say of that.
func (r *remarks) on(job string) bool {
	for len(r.records) > 0 && r.records[0].Job < job {
		r.records = r.records[1:]
	}
	for len(r.partial) > 0 && r.partial[0].Job < job {
		r.partial = r.partial[1:]
	}
	if r.recorded(job) || r.lacking(job) || r.pauses && r.paused(job) != "" {
		return true
	}
	_, local := r.local[job]
	_, warms := r.warmth[job]
	return local || warms
}

func (r *remarks) recorded(job string) bool { return len(r.records) > 0 && r.records[0].Job == job }

func (r *remarks) lacking(job string) bool { return len(r.partial) > 0 && r.partial[0].Job == job }

// add says of a job, after on, what there is to say.
func (r *remarks) add(j *job) {
	if l, ok := r.local[j.Name]; ok && (j.Node == r.self || j.Node == "") {
		j.Node, j.State, j.Since, j.Token = r.self, l.State, stampOf(l.Since), l.Token
	}
	if by := r.paused(j.Name); by != "" && j.State == distributed.JobWaiting {
		j.State, j.Paused = distributed.JobPaused, by
	}
	if r.recorded(j.Name) {
		j.addRecord(&r.records[0], r.now)
	}
	if r.lacking(j.Name) {
		j.Lacks = strings.Join(r.partial[0].Lacks, ", ")
	}
	w := r.warmth[j.Name]
	j.Warming, j.Prepares = slices.Contains(w.leads, j.Node), strings.Join(w.prepares, ", ")
}

// addRecord says of a job that pauses that it has failed, though a node leads it.
func (j *job) addRecord(r *distributed.JobRecord, now time.Time) {
	idle := j.State == distributed.JobWaiting
	switch {
	case r.Done && (idle || j.State == distributed.JobPaused):
		j.State, j.Since = distributed.JobDone, stampOf(r.At)
	case r.Failures > 0 && (idle || (j.State == distributed.JobRunning && now.Before(r.Next()))):
		j.State, j.Since = distributed.JobFailed, stampOf(r.At)
	}
	j.Failures, j.Error = r.Failures, r.Error
	if r.Failures > 0 {
		j.Next = stampOf(r.Next())
	}
}

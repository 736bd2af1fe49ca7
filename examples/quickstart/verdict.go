package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// This file judges what happened. It knows nothing of etcd or of the library:
// history in, violations and gaps out.

// history is what was recorded of a number of jobs, times on one clock.
type history struct {
	jobs   []string
	runs   []run
	steps  []step
	stored map[string]counterValue // what the store holds in the end; nil if that is not known
}

// run is one execution of a job's Work.
type run struct {
	job, node  string
	token      int64
	start, end time.Duration
}

// step is one step of a job's counter, as recorded by who made it. An uncertain
// one may or may not have reached the store: its maker was stopped before it
// had the answer.
type step struct {
	job, node string
	number    int64
	token     int64
	uncertain bool
}

// counterValue is a counter's last step and the token it was made with.
type counterValue struct {
	Step  int64 `json:"step"`
	Token int64 `json:"token"`
}

// gap is a time during which a job ran nowhere, between two of its runs.
type gap struct {
	job    string
	length time.Duration
}

// violations returns what must not happen, and did.
func (h history) violations() []string {
	var v []string
	for _, job := range h.jobs {
		runs := h.runsOf(job)
		v = append(v, overlaps(runs)...)
		v = append(v, tokens(runs)...)
		if h.stored != nil {
			v = append(v, steps(job, h.stepsOf(job), runs, h.stored[job])...)
		}
	}
	return v
}

// idle returns the jobs that never ran.
func (h history) idle() []string {
	return slices.DeleteFunc(slices.Clone(h.jobs), func(job string) bool {
		return slices.ContainsFunc(h.runs, func(r run) bool { return r.job == job })
	})
}

// gaps returns the gaps of all jobs, in no particular order.
func (h history) gaps() []gap {
	var gaps []gap
	for _, job := range h.jobs {
		gaps = append(gaps, gapsBetween(h.runsOf(job))...)
	}
	return gaps
}

// runsOf returns the runs of a job in the order in which they began.
func (h history) runsOf(job string) []run {
	runs := slices.DeleteFunc(slices.Clone(h.runs), func(r run) bool { return r.job != job })
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(a.start, b.start) })
	return runs
}

func (h history) stepsOf(job string) []step {
	return slices.DeleteFunc(slices.Clone(h.steps), func(s step) bool { return s.job != job })
}

// overlaps finds runs of a job that began before an earlier one had ended. runs
// are in the order in which they began.
func overlaps(runs []run) []string {
	var v []string
	for i := 1; i < len(runs); i++ {
		last := slices.MaxFunc(runs[:i], func(a, b run) int { return cmp.Compare(a.end, b.end) })
		if r := runs[i]; r.start < last.end {
			v = append(v, fmt.Sprintf("%s ran twice at once for %v: on %s (token %d) and on %s (token %d)",
				r.job, min(r.end, last.end)-r.start, last.node, last.token, r.node, r.token))
		}
	}
	return v
}

// tokens finds runs whose fencing token is not greater than that of the run
// before. runs are in the order in which they began.
func tokens(runs []run) []string {
	var v []string
	for i := 1; i < len(runs); i++ {
		if before, r := runs[i-1], runs[i]; r.token <= before.token {
			v = append(v, fmt.Sprintf("%s got token %d on %s after token %d on %s",
				r.job, r.token, r.node, before.token, before.node))
		}
	}
	return v
}

// steps checks that a job's counter went up by one each time, each step made
// once, in a run of the job and with its token, and that none was lost.
func steps(job string, made []step, runs []run, stored counterValue) []string {
	var v []string
	complain := func(format string, args ...any) { v = append(v, fmt.Sprintf(job+" "+format, args...)) }

	makers := map[int64]step{}
	uncertain := map[int64]bool{}
	for _, s := range made {
		first, again := makers[s.number]
		switch {
		case s.uncertain:
			uncertain[s.number] = true
			continue
		case again:
			complain("made step %d twice: on %s (token %d) and on %s (token %d)", s.number, first.node, first.token, s.node, s.token)
		case !slices.ContainsFunc(runs, func(r run) bool { return r.node == s.node && r.token == s.token }):
			complain("made step %d on %s with token %d outside of any run", s.number, s.node, s.token)
		case s.number > stored.Step:
			complain("made step %d on %s, but the store holds %d", s.number, s.node, stored.Step)
		}
		makers[s.number] = s
	}
	var last int64 // the greatest token so far
	for n := int64(1); n <= stored.Step; n++ {
		s, ok := makers[n]
		switch {
		case !ok && !uncertain[n]:
			complain("has step %d in the store, which nobody made", n)
		case ok && s.token < last:
			complain("made step %d on %s with token %d after a step with token %d", n, s.node, s.token, last)
		}
		last = max(last, s.token)
	}
	if s, ok := makers[stored.Step]; ok && s.token != stored.Token {
		complain("has token %d in the store, but step %d was made with token %d", stored.Token, s.number, s.token)
	}
	return v
}

// gapsBetween returns the gaps of one job. runs are in the order in which they
// began.
func gapsBetween(runs []run) []gap {
	var gaps []gap
	for i := 1; i < len(runs); i++ {
		gaps = append(gaps, gap{runs[i].job, max(runs[i].start-runs[i-1].end, 0)})
	}
	return gaps
}

// longest returns each job's longest gap, the longest first.
func longest(gaps []gap) []gap {
	most := map[string]time.Duration{}
	for _, g := range gaps {
		most[g.job] = max(most[g.job], g.length)
	}
	var out []gap
	for job, length := range most {
		out = append(out, gap{job, length})
	}
	slices.SortFunc(out, func(a, b gap) int {
		return cmp.Or(cmp.Compare(b.length, a.length), cmp.Compare(a.job, b.job))
	})
	return out
}

// median returns the middle one of the gaps' lengths, or the shorter of the
// middle two; 0 without gaps.
func median(gaps []gap) time.Duration {
	if len(gaps) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(gaps), func(a, b gap) int { return cmp.Compare(a.length, b.length) })
	return sorted[(len(sorted)-1)/2].length
}

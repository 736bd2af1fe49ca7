package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Rules say what is taken for a violation. The zero Rules are the strictest but
// for gaps, which they allow. None may be negative.
type Rules struct {
	// Silence is the longest time between two signs of life of a run for which
	// it is taken to have been executing; after a longer one the process is
	// taken to have been frozen in between. A tick has to come much more often.
	// Default 0: a run is executing from its start to its end, whatever happens.
	Silence time.Duration

	// Wake is for how long a process that has been frozen may go on before it
	// knows that its leadership is gone: nothing can stop it any earlier. It
	// means nothing without Silence. Default 0: it may not go on at all.
	Wake time.Duration

	// Skew is how far the clocks of the machines may be apart: shorter overlaps
	// are not counted, nor is the order of runs that began closer together.
	// Default 0, which is right for records of one boot of one machine.
	Skew time.Duration

	// MaxGap is for how long a job may run nowhere between two runs. Default 0:
	// for ever.
	MaxGap time.Duration
}

// Kind is a kind of violation.
type Kind string

// The kinds of violations.
const (
	Overlap    Kind = "overlap"     // two runs were executing at the same time
	TokenOrder Kind = "token order" // a later run has a smaller token
	TokenReuse Kind = "token reuse" // two processes have the same token
	LongGap    Kind = "gap"         // the job ran nowhere for too long
)

// Violation is something that must not happen, and did.
type Violation struct {
	Kind   Kind          `json:"kind"`
	Job    string        `json:"job"`
	First  Run           `json:"first"`  // of the two that began first
	Second Run           `json:"second"` // the other
	At     time.Duration `json:"at"`     // when it began, on the clock of the runs
	Length time.Duration `json:"length"` // of an overlap or gap, 0 for tokens
}

// String says what happened in one line.
func (v Violation) String() string {
	switch v.Kind {
	case Overlap:
		return fmt.Sprintf("overlap: job %q ran twice at once for %v: %s and %s", v.Job, v.Length, v.First.who(), v.Second.who())
	case LongGap:
		return fmt.Sprintf("gap: job %q ran nowhere for %v: between %s and %s", v.Job, v.Length, v.First.who(), v.Second.who())
	case TokenReuse:
		return fmt.Sprintf("token reuse: job %q: %s, and so did %s", v.Job, v.First.who(), v.Second.who())
	default:
		return fmt.Sprintf("token order: job %q: %s, and later %s", v.Job, v.First.who(), v.Second.who())
	}
}

func (r Run) who() string {
	return fmt.Sprintf("%s (process %s) ran with token %d", r.Node, r.Process, r.Token)
}

// Gap is a time at which a job ran nowhere, between two of its runs.
type Gap struct {
	Job    string        `json:"job"`
	Before Run           `json:"before"`
	After  Run           `json:"after"`
	From   time.Duration `json:"from"` // on the clock of the runs
	To     time.Duration `json:"to"`   // likewise
}

// Length returns how long the gap is.
func (g Gap) Length() time.Duration { return g.To - g.From }

// Report is what [Check] found. In JSON all its times are in nanoseconds.
type Report struct {
	Runs       int         `json:"runs"`       // how many were judged
	Jobs       int         `json:"jobs"`       // likewise
	Violations []Violation `json:"violations"` // by job, then in order of At
	Gaps       []Gap       `json:"gaps"`       // by job, then in order of time
}

// Check judges runs, which may be in any order, and does not change them. Their
// times must be in the order that [Run] says; those from [Runs] are.
func Check(runs []Run, rules Rules) Report {
	jobs := map[string][]Run{}
	for _, r := range runs {
		jobs[r.Job] = append(jobs[r.Job], r)
	}
	report := Report{Runs: len(runs), Jobs: len(jobs)}
	for _, job := range slices.Sorted(maps.Keys(jobs)) {
		of := jobs[job]
		slices.SortStableFunc(of, func(a, b Run) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Token, b.Token))
		})
		stints := stintsOf(of, rules)
		gaps := gaps(of, stints)
		found := slices.Concat(overlaps(of, stints, rules), tokens(of, rules), longGaps(gaps, rules))
		slices.SortStableFunc(found, func(a, b Violation) int { return cmp.Compare(a.At, b.At) })
		report.Violations = append(report.Violations, found...)
		report.Gaps = append(report.Gaps, gaps...)
	}
	return report
}

// stint is a time in which a run was executing without a break.
type stint struct {
	run      int // index
	from, to time.Duration
}

// stintsOf returns the stints of all runs, in the order in which they began.
func stintsOf(runs []Run, rules Rules) []stint {
	var all []stint
	for i, r := range runs {
		all = append(all, r.stints(i, rules)...)
	}
	slices.SortStableFunc(all, func(a, b stint) int { return cmp.Compare(a.from, b.from) })
	return all
}

func (r Run) stints(index int, rules Rules) []stint {
	stints := []stint{{index, r.Start, r.Start}}
	for _, at := range append(slices.Clone(r.Ticks), r.End) {
		last := &stints[len(stints)-1]
		if rules.Silence == 0 || at-last.to <= rules.Silence {
			last.to = at
		} else {
			stints = append(stints, stint{index, at, at})
		}
	}
	for i := 1; i < len(stints); i++ {
		stints[i].from += rules.Wake
	}
	return slices.DeleteFunc(stints, func(s stint) bool { return s.from > s.to })
}

// overlaps finds the pairs of runs that were executing at the same time. stints
// are in the order in which they began.
func overlaps(runs []Run, stints []stint, rules Rules) []Violation {
	type pair struct{ first, second int }
	found := map[pair]*Violation{}
	var active []stint
	for _, s := range stints {
		active = slices.DeleteFunc(active, func(a stint) bool { return a.to <= s.from })
		for _, a := range active {
			if a.run == s.run || a.from >= s.to {
				continue
			}
			p := pair{min(a.run, s.run), max(a.run, s.run)}
			if found[p] == nil {
				found[p] = &Violation{Kind: Overlap, Job: runs[s.run].Job, First: runs[p.first], Second: runs[p.second], At: s.from}
			}
			found[p].Length += min(a.to, s.to) - s.from
		}
		active = append(active, s)
	}
	var out []Violation
	for p, v := range found {
		if v.Length > rules.Skew || rules.Skew == 0 || runs[p.first].Process == runs[p.second].Process {
			out = append(out, *v)
		}
	}
	slices.SortFunc(out, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.First.Token, b.First.Token), cmp.Compare(a.Second.Token, b.Second.Token))
	})
	return out
}

// tokens finds runs whose token is not greater than the greatest before. One
// leadership may run something several times, all with its token. runs are in
// the order in which they began.
func tokens(runs []Run, rules Rules) []Violation {
	var out []Violation
	for i, greatest := 1, 0; i < len(runs); i++ {
		first, r := runs[greatest], runs[i]
		switch {
		case r.Token > first.Token:
			greatest = i
		case r.Token == first.Token && r.Process != first.Process:
			out = append(out, Violation{Kind: TokenReuse, Job: r.Job, First: first, Second: r, At: r.Start})
		case r.Token < first.Token && (r.Process == first.Process || r.Start-first.Start >= rules.Skew):
			out = append(out, Violation{Kind: TokenOrder, Job: r.Job, First: first, Second: r, At: r.Start})
		}
	}
	return out
}

// gaps returns the times without any stint, between the first and the last.
func gaps(runs []Run, stints []stint) []Gap {
	var out []Gap
	for i, last := 1, 0; i < len(stints); i++ {
		if s := stints[i]; s.from > stints[last].to {
			out = append(out, Gap{Job: runs[s.run].Job, Before: runs[stints[last].run], After: runs[s.run], From: stints[last].to, To: s.from})
		}
		if stints[i].to >= stints[last].to {
			last = i
		}
	}
	return out
}

func longGaps(gaps []Gap, rules Rules) []Violation {
	var out []Violation
	for _, g := range gaps {
		if rules.MaxGap > 0 && g.Length() > rules.MaxGap {
			out = append(out, Violation{Kind: LongGap, Job: g.Job, First: g.Before, Second: g.After, At: g.From, Length: g.Length()})
		}
	}
	return out
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	reportGaps       = 30 // jobs in the table of gaps
	reportWidth      = 80
	reportViolations = 20
)

// report prints what is to be said about the history, and returns whether all
// is well. Jobs that never ran are no fault of a run that was interrupted.
func report(w io.Writer, h history, interrupted bool, failure error) bool {
	reportGapsOf(w, h)
	violations := h.violations()
	if idle := h.idle(); len(idle) > 0 && !interrupted {
		violations = append(violations, fmt.Sprintf("%s never ran: %s", count(len(idle), "job"), strings.Join(idle[:min(len(idle), 10)], " ")))
	}
	if failure != nil {
		violations = append(violations, failure.Error())
	}
	if len(violations) > 0 {
		reportFailure(w, violations)
		return false
	}
	var total int64
	for _, c := range h.stored {
		total += c.Step
	}
	fmt.Fprintf(w, "OK  no job ran twice at once: %s of %s, with rising tokens\n",
		count(len(h.runs), "run"), count(len(h.jobs), "job"))
	fmt.Fprintf(w, "OK  no step was lost or repeated: %d steps, as many as etcd holds\n", total)
	return true
}

// reportGapsOf tells how long jobs ran nowhere.
func reportGapsOf(w io.Writer, h history) {
	gaps := h.gaps()
	if len(gaps) == 0 {
		fmt.Fprintf(w, "\nNo job ran more than once.\n\n")
		return
	}
	jobs := longest(gaps)
	fmt.Fprintf(w, "\nBetween two runs a job ran nowhere for %s (median of %d), %s at most.\n",
		millis(median(gaps)), len(gaps), millis(jobs[0].length))
	fmt.Fprintf(w, "The longest of each job")
	if len(jobs) > reportGaps {
		fmt.Fprintf(w, " (the worst %d of %d)", reportGaps, len(jobs))
		jobs = jobs[:reportGaps]
	}
	fmt.Fprint(w, ":\n")
	line := 0
	for _, g := range jobs {
		cell := fmt.Sprintf("%s %8s", g.job, millis(g.length))
		if line+1+len(cell) > reportWidth {
			fmt.Fprintln(w)
			line = 0
		} else if line > 0 {
			cell = " " + cell
		}
		fmt.Fprint(w, cell)
		line += len(cell)
	}
	fmt.Fprint(w, "\n\n")
}

func reportFailure(w io.Writer, violations []string) {
	for i, v := range violations {
		if i == reportViolations {
			fmt.Fprintf(w, "    and %d more\n", len(violations)-i)
			break
		}
		fmt.Fprintf(w, "    %s\n", v)
	}
	fmt.Fprintf(w, "FAILED, for the reasons above (%d)\n", len(violations))
}

func millis(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/verify"
)

// verdict is what is known in the end, and what follows from it.
type verdict struct {
	jobs        []string
	interrupted bool
	report      verify.Report    // on what the nodes recorded
	steps       map[string]steps // that the jobs say they made
	stored      map[string]int64 // the last step of each counter in etcd; nil if unknown
	trouble     error            // what went wrong otherwise
}

// violations returns what must not be, and is. Jobs that never ran are no fault
// of a run that was interrupted.
func (v verdict) violations() (out []string) {
	for _, violation := range v.report.Violations {
		out = append(out, violation.String())
	}
	if v.trouble != nil {
		out = append(out, strings.Split(v.trouble.Error(), "\n")...)
	} else if idle := len(v.jobs) - v.report.Jobs; idle > 0 && !v.interrupted {
		out = append(out, play.Count(idle, "job")+" never ran")
	}
	if v.stored == nil {
		return out
	}
	for _, job := range v.jobs {
		for _, wrong := range v.steps[job].compare(v.stored[job]) {
			out = append(out, job+": "+wrong)
		}
	}
	return out
}

// print prints the verdict, and returns whether all is well.
func (v verdict) print(w io.Writer) bool {
	fmt.Fprintln(w)
	if !play.PrintVerdict(w, v.report, v.violations()) {
		return false
	}
	var total int64
	for _, last := range v.stored {
		total += last
	}
	fmt.Fprintf(w, "OK  no step was lost or repeated: %d steps, as many as etcd holds\n", total)
	return true
}

// steps are the steps of a counter, as told by who made them.
type steps struct {
	made  map[int64]int  // how often each was made
	maybe map[int64]bool // those without an answer
}

// compare returns what shows that not each step was made once, up to the
// last that etcd holds.
func (s steps) compare(last int64) (wrong []string) {
	for n := int64(1); n <= last; n++ {
		if s.made[n] == 0 && !s.maybe[n] {
			wrong = append(wrong, fmt.Sprintf("etcd holds step %d, which nobody made", n))
		}
	}
	for n, times := range s.made {
		if times > 1 {
			wrong = append(wrong, fmt.Sprintf("step %d was made %d times", n, times))
		}
		if n > last {
			wrong = append(wrong, fmt.Sprintf("step %d was made, and etcd holds no more than %d", n, last))
		}
	}
	slices.Sort(wrong)
	return wrong
}

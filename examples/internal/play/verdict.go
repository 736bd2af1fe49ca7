// Package play is what the examples share: the etcd that they play on, what
// their nodes record, and the verdict on it.
package play

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/b2552be4/distributed/verify"
)

const violationsShown = 20

// PrintVerdict says what the records tell, and what was wrong. It
// returns whether nothing was.
func PrintVerdict(w io.Writer, report verify.Report, violations []string) bool {
	fmt.Fprint(w, gaps(report.Gaps))
	if len(violations) > 0 {
		for _, violation := range violations[:min(len(violations), violationsShown)] {
			fmt.Fprintf(w, "    %s\n", violation)
		}
		if more := len(violations) - violationsShown; more > 0 {
			fmt.Fprintf(w, "    and %d more\n", more)
		}
		fmt.Fprintf(w, "FAILED, for the reasons above (%d)\n", len(violations))
		return false
	}
	fmt.Fprintf(w, "OK  no job ran twice at once: %s of %s, with rising tokens\n",
		Count(report.Runs, "run"), Count(report.Jobs, "job"))
	return true
}

// gaps tells how long jobs ran nowhere between two runs.
func gaps(gaps []verify.Gap) string {
	if len(gaps) == 0 {
		return ""
	}
	var lengths []time.Duration
	for _, g := range gaps {
		lengths = append(lengths, g.Length())
	}
	slices.Sort(lengths)
	return fmt.Sprintf("Between two runs a job ran nowhere for %s (median of %d), %s at most.\n",
		millis(lengths[(len(lengths)-1)/2]), len(lengths), millis(lengths[len(lengths)-1]))
}

func millis(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// Count is a number of things in words.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Sleep returns whether d passed before ctx was done.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Command verify reads run records, which services write with the package
// verify, and says whether a job ever ran twice at once.
//
//	verify runs-of-node-a.jsonl runs-of-node-b.jsonl
//
// It prints each violation, the longest gap of each job, and one line that sums
// up. It exits with 0 if there was no violation, with 1 if there was one, and
// with 2 if the records cannot be read or there are none.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/b2552be4/distributed/verify"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const (
	exitViolated = 1
	exitFailed   = 2
)

func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "usage: verify [flags] file...")
		flags.PrintDefaults()
	}
	var rules verify.Rules
	flags.DurationVar(&rules.Silence, "silence", 0, "take a process that was silent for longer `than` this to have been frozen (0: never)")
	flags.DurationVar(&rules.Wake, "wake", 0, "`how long` a process that was frozen may go on")
	flags.DurationVar(&rules.Skew, "skew", 0, "`how far` the clocks of the machines may be apart")
	flags.DurationVar(&rules.MaxGap, "max-gap", 0, "for `how long` a job may run nowhere between two runs (0: no limit)")
	quiet := flags.Bool("q", false, "print violations and the last line only")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitFailed
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return exitFailed
	}
	if rules.Wake > 0 && rules.Silence == 0 {
		fmt.Fprintln(errs, "verify: -wake needs -silence")
		return exitFailed
	}
	report, err := check(flags.Args(), rules)
	if err != nil {
		fmt.Fprintln(errs, err)
		return exitFailed
	}
	return show(out, report, *quiet)
}

func check(files []string, rules verify.Rules) (verify.Report, error) {
	records, err := verify.ReadFiles(files...)
	if err != nil {
		return verify.Report{}, err
	}
	if len(records) == 0 {
		return verify.Report{}, errors.New("verify: there are no records")
	}
	runs, err := verify.Runs(records)
	if err != nil {
		return verify.Report{}, err
	}
	return verify.Check(runs, rules), nil
}

func show(out io.Writer, report verify.Report, quiet bool) (exit int) {
	count := map[verify.Kind]int{}
	for _, v := range report.Violations {
		fmt.Fprintln(out, v)
		count[v.Kind]++
	}
	if !quiet {
		for _, g := range longest(report.Gaps) {
			fmt.Fprintf(out, "longest gap of job %q: %v, from %s to %s\n", g.Job, g.Length().Round(time.Millisecond), g.Before.Node, g.After.Node)
		}
	}
	fmt.Fprintf(out, "%d runs of %d jobs, ", report.Runs, report.Jobs)
	if len(report.Violations) == 0 {
		fmt.Fprintln(out, "no overlap")
		return 0
	}
	fmt.Fprintf(out, "%d overlaps, %d tokens out of order, %d gaps too long\n",
		count[verify.Overlap], count[verify.TokenOrder]+count[verify.TokenReuse], count[verify.LongGap])
	return exitViolated
}

// longest returns the longest gap of each job, in the order of gaps, which are
// by job.
func longest(gaps []verify.Gap) []verify.Gap {
	var out []verify.Gap
	for _, g := range gaps {
		if n := len(out); n == 0 || out[n-1].Job != g.Job {
			out = append(out, g)
		} else if g.Length() > out[n-1].Length() {
			out[n-1] = g
		}
	}
	return out
}

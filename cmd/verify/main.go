// Command verify reads run records, which services write with the package
// verify, and says whether a job ever ran twice at once.
//
//	go run ./cmd/verify node-1.jsonl node-2.jsonl
//
// It prints each violation, the longest gap of each job, and one line that sums
// up. It exits with 0 if there was no violation, with 1 if there was one, and
// with 2 if it was called wrongly, or the records cannot be read or there are
// none. The flag -h explains the flags.
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

const usage = `Usage: verify [flags] file...

Reads the records that services wrote with the package verify, all files as one
set, and says whether a job ever ran twice at once. It prints each violation, the
longest time that each job ran nowhere, and one line that sums up.

Two machines with clocks at most 5 ms apart, and processes that recorded a tick
each 100 ms and may have been frozen:

    verify -skew 5ms -silence 1s -wake 50ms node-1.jsonl node-2.jsonl

Exit code:
    0  there is no violation
    1  there is: two runs at once, a token out of order, or a gap above -max-gap
    2  it was called wrongly, or the files cannot be read or have no records

Flags:
`

func run(args []string, out, errs io.Writer) int {
	var rules verify.Rules
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is printed below, and the help where it is asked for
	flags.DurationVar(&rules.Silence, "silence", 0, "take a process that recorded nothing for this `duration` for frozen (default: none)")
	flags.DurationVar(&rules.Wake, "wake", 0, "let a frozen process go on for this `duration` when it wakes; needs -silence")
	flags.DurationVar(&rules.Skew, "skew", 0, "ignore overlaps up to this `duration`, by which the clocks of machines may differ")
	flags.DurationVar(&rules.MaxGap, "max-gap", 0, "let a job run nowhere for at most this `duration` between two runs (default: no limit)")
	quiet := flags.Bool("q", false, "print only the violations and the last line")
	err := flags.Parse(args)
	if err == nil {
		err = validate(rules, flags.NArg())
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		flags.SetOutput(out)
		flags.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintf(errs, "verify: %v\nThe flag -h explains the flags.\n", err)
		return exitFailed
	}
	report, err := check(flags.Args(), rules)
	if err != nil {
		fmt.Fprintln(errs, err)
		return exitFailed
	}
	return show(out, report, *quiet)
}

func validate(rules verify.Rules, files int) error {
	switch {
	case files == 0:
		return errors.New("there are no files to read")
	case min(rules.Silence, rules.Wake, rules.Skew, rules.MaxGap) < 0:
		return errors.New("a duration must not be negative")
	case rules.Wake > 0 && rules.Silence == 0:
		return errors.New("-wake needs -silence")
	}
	return nil
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
	fmt.Fprintf(out, "runs: %d, jobs: %d, ", report.Runs, report.Jobs)
	if len(report.Violations) == 0 {
		fmt.Fprintln(out, "no violation")
		return 0
	}
	fmt.Fprintf(out, "overlaps: %d, tokens out of order: %d, gaps too long: %d\n",
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

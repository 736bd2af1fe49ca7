package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/b2552be4/distributed/verify"
	"github.com/spf13/cobra"
)

const verifyHelp = `Reads the records that services wrote with the package verify, all files as one
set, and says whether a job ever ran twice at once. It prints each violation, the
longest time that each job ran nowhere, and one line that sums up. It needs no store.

It exits with 1 if there is a violation: two runs at once, a token out of order, or
a gap above --max-gap.`

const verifyExample = `  # two machines with clocks at most 5 ms apart, and processes that recorded a tick
  # each 100 ms and may have been frozen
  distributed verify --skew 5ms --silence 1s --wake 50ms node-1.jsonl node-2.jsonl`

func verifyCommand() *cobra.Command {
	var rules verify.Rules
	cmd := &cobra.Command{
		Use: "verify FILE...", GroupID: "other", Short: "Judge records of runs: did a job ever run twice at once?",
		Long: verifyHelp, Example: verifyExample,
	}
	flags := cmd.Flags()
	flags.DurationVar(&rules.Silence, "silence", 0, "take a process that recorded nothing for this `duration` for frozen (default: none)")
	flags.DurationVar(&rules.Wake, "wake", 0, "let a frozen process go on for this `duration` when it wakes; needs --silence")
	flags.DurationVar(&rules.Skew, "skew", 0, "ignore overlaps up to this `duration`, by which the clocks of machines may differ")
	flags.DurationVar(&rules.MaxGap, "max-gap", 0, "let a job run nowhere for at most this `duration` between two runs (default: no limit)")
	quiet := flags.BoolP("quiet", "q", false, "print only the violations and the last line")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if err := validate(rules, len(files)); err != nil {
			return err
		}
		report, err := check(files, rules)
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), report, *quiet)
	}
	return cmd
}

func validate(rules verify.Rules, files int) error {
	switch {
	case files == 0:
		return errors.New("there are no files to read")
	case min(rules.Silence, rules.Wake, rules.Skew, rules.MaxGap) < 0:
		return errors.New("a duration must not be negative")
	case rules.Wake > 0 && rules.Silence == 0:
		return errors.New("--wake needs --silence")
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

func show(out io.Writer, report verify.Report, quiet bool) error {
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
		return nil
	}
	fmt.Fprintf(out, "overlaps: %d, tokens out of order: %d, gaps too long: %d\n",
		count[verify.Overlap], count[verify.TokenOrder]+count[verify.TokenReuse], count[verify.LongGap])
	return errSilent
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

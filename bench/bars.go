//go:build unix

package main

import (
	"fmt"
	"io"
)

// bar is what this library demands of itself, as a quotient of two results of
// the same run, or as a number that does not depend on the machine.
type bar struct {
	what     string
	measured func(*book) (float64, bool)
	atMost   float64
}

func ratioOf(name, unit, otherName, otherUnit string) func(*book) (float64, bool) {
	return func(b *book) (float64, bool) { return b.ratio(name, unit, otherName, otherUnit) }
}

func medianOf(name, unit string, scale float64) func(*book) (float64, bool) {
	return func(b *book) (float64, bool) {
		v, ok := b.median(name, unit)
		return v * scale, ok
	}
}

func on3(what string, jobs int, by string) string {
	return fleetSpec{By: by, Jobs: jobs, Nodes: 3}.name(what)
}

// worst returns the greatest of what all measurements of this kind have shown.
func worst(kind, unit string, scale float64) func(*book) (float64, bool) {
	return func(b *book) (worst float64, found bool) {
		for _, name := range b.names {
			if k := parseName(name); k["what"] == kind && k["by"] == byOurs {
				v, ok := b.median(name, unit)
				worst, found = max(worst, v*scale), found || ok
			}
		}
		return worst, found
	}
}

// watchesANode returns the most watches that a node has had.
func watchesANode(b *book) (worst float64, found bool) {
	for _, name := range b.names {
		if k := parseName(name); k["what"] == "Idle" && k["by"] == byOurs {
			v, _ := b.median(name, "watchers")
			worst, found = max(worst, v/number(k["nodes"])), true
		}
	}
	return worst, found
}

// crowded is the crowd that the bars are about.
var crowded = fleetSpec{By: byOurs, Jobs: 10_000, Nodes: 20}.name("Crowd")

var bars = []bar{
	{"handover, p50, times the limit's", ratioOf("Handover/by=ours", "ns/op", "Handover/by=limit", "ns/op"), 1.3},
	{"handover, p99, times the limit's", ratioOf("Handover/by=ours", "p99-ns", "Handover/by=limit", "p99-ns"), 1.5},
	{"start of 1,000 jobs, commits a job", medianOf(on3("Start", 1000, byOurs), "commits/job", 1), 0.02},
	{"drain of 1,000 jobs, commits a job", medianOf(on3("Drain", 1000, byOurs), "commits/job", 1), 0.02},
	{"drain of 1,000 jobs, p99 of the gaps, times that of `concurrency`",
		ratioOf(on3("Drain", 1000, byOurs), "p99-ns", on3("Drain", 1000, byConcurrency), "p99-ns"), 0.1},
	{"start of 10,000 jobs, times that of `concurrency`",
		ratioOf(on3("Start", 10_000, byOurs), "ns/op", on3("Start", 10_000, byConcurrency), "ns/op"), 1. / 12},
	{"start of 10,000 jobs, times a write of one key a job",
		ratioOf(on3("Start", 10_000, byOurs), "ns/op", on3("Start", 10_000, byLimit), "ns/op"), 0.5},
	{"a node with 10,000 jobs handed over, ms after its last Work has returned", medianOf(on3("Drain", 10_000, byOurs), "after-ns", 1e-6), 60},
	{"a node with 10,000 jobs handed over, commits", medianOf(on3("Drain", 10_000, byOurs), "commits", 1), 3},
	{"20 nodes start at once, until all campaign for all of 10,000 jobs, s", medianOf(crowded, "ns/op", 1e-9), 5},
	{"20 nodes with 10,000 jobs, leases lost", medianOf(crowded, "leases-lost", 1), 0},
	{"20 nodes with 10,000 jobs, keys", medianOf(crowded, "keys", 1), 10_000},
	{"crash, all jobs run elsewhere, ms after 1.1 TTL", worst("Crash", "beyond-ns", 1e-6), 150},
	{"watches a node", watchesANode, 1},
	{"goroutines a waiting job and node, of 10,000", medianOf(on3("PerWaitingJob", 10_000, byOurs), "goroutines", 1), 1.1},
	{"heap a waiting job and node, of 10,000, KiB", medianOf(on3("PerWaitingJob", 10_000, byOurs), "heap-B", 1./1024), 2},
	{"at rest, heap of a job on a node that neither leads it nor waits for it, KiB", worst("ScaleAside", "heap-B/job", 1./1024), 0.6},
	{"at rest, commits that are not heartbeats, for any number of jobs", worst("Idle", "excess-commits", 1), 0},
	{"`Valid`, ns", medianOf("Call/of=Valid", "ns/op", 1), 50},
	{"`Valid`, allocations", medianOf("Call/of=Valid", "allocs/op", 1), 0},
}

// printBars prints those that this run can judge.
func printBars(w io.Writer, b *book) {
	fmt.Fprint(w, "\n### Bars\n\n| | measured | at most | |\n|---|---:|---:|---|\n")
	for _, bar := range bars {
		v, ok := bar.measured(b)
		if !ok {
			continue
		}
		verdict := "met"
		if v > bar.atMost {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %.3g | %g | %s |\n", bar.what, v, bar.atMost, verdict)
	}
}

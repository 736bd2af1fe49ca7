//go:build unix

// Command bench measures the library next to the physical limit and to what
// people use today: etcd's own concurrency package, Session and Election, used
// as a careful user would. All three run on the same etcd, which is a process
// of its own, in turns, several rounds; every measurement of many jobs is a
// process of its own as well, so that none inherits the memory of another.
//
//	go run ./bench                            everything, some ten minutes
//	go run ./bench -short                     a first look, under a minute
//	go run ./bench -only handover,crash
//	go run ./bench -jobs 1,500 -nodes 5       other sizes
//	go run ./bench -only scale -jobs 10000 -nodes 50
//	go run ./bench -etcd http://127.0.0.1:2379
//	go run ./bench >bench.txt; benchstat -col /by bench.txt
//
// It prints each round in Go's benchmark format, then tables of the medians in
// Markdown, and then whether the bars that this library sets itself are met.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if isChild, err := runChild(os.Args[1:]); isChild {
		exitOn(err)
		return
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	etcd      []string
	only      []string
	rounds    int
	handovers int           // a round
	idle      time.Duration // how long a fleet at rest is watched
	plans     []fleetPlan
	crashJobs []int
	crashTTLs []time.Duration
	crowd     fleetPlan       // nodes that start at once
	scale     []fleetPlan     // nodes that balance
	apart     []time.Duration // how long one after the other they start
	svg       string
	profiles  string
}

// fleetPlan says with how many jobs so many nodes are measured.
type fleetPlan struct {
	nodes int
	jobs  []int
}

var (
	fullPlan = options{
		rounds: 5, handovers: 400, idle: 5 * time.Second,
		plans: []fleetPlan{
			{3, []int{1, 29, 100, 300, 1000, 3000, 10_000, 20_000}},
			{10, []int{1, 29, 1000, 10_000}},
		},
		crashJobs: []int{1, 1000, 10_000}, crashTTLs: []time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second},
		crowd: fleetPlan{20, []int{10_000}},
		scale: []fleetPlan{{10, []int{1000, 10_000}}}, apart: []time.Duration{0, 300 * time.Millisecond},
	}
	shortPlan = options{
		rounds: 1, handovers: 100, idle: 2 * time.Second,
		plans:     []fleetPlan{{3, []int{1, 29, 1000}}},
		crashJobs: []int{29}, crashTTLs: []time.Duration{500 * time.Millisecond},
		crowd: fleetPlan{5, []int{1000}},
		scale: []fleetPlan{{5, []int{300}}}, apart: []time.Duration{300 * time.Millisecond},
	}
)

func parse(args []string) (options, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("short", false, "fewer and smaller measurements, in less than a minute")
	etcd := flags.String("etcd", "", "client `URLs` of an etcd cluster, separated by commas (default: one is started)")
	only := flags.String("only", "", "measure only these of handover, fleet, crowd, scale, crash and calls, separated by commas")
	rounds := flags.Int("rounds", 0, "measure everything so often (default: 5 times, and the largest less often)")
	jobs := flags.String("jobs", "", "numbers of jobs, separated by commas, for fleet, crowd, scale and crash")
	nodes := flags.Int("nodes", 3, "nodes of a fleet, of a crowd and of scale, with -jobs")
	apart := flags.String("apart", "", "how long one after the other the nodes of scale start, such as 0s,300ms (default: both)")
	svg := flags.String("svg", "", "draw how cost grows with the number of jobs into this `file`")
	profiles := flags.String("profiles", "", "write profiles of each fleet's drain and memory into this `directory`; slows them down")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	o := fullPlan
	if *short {
		o = shortPlan
	}
	o.etcd, o.only, o.svg, o.profiles = list(*etcd), list(*only), *svg, *profiles
	for _, name := range o.only {
		if !slices.Contains([]string{"handover", "fleet", "crowd", "scale", "crash", "calls"}, name) {
			return o, fmt.Errorf("-only: there is no measurement %q", name)
		}
	}
	if *rounds > 0 {
		o.rounds = *rounds
	}
	if *apart != "" {
		o.apart = nil
	}
	for _, s := range list(*apart) {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return o, fmt.Errorf("-apart: %q is not a duration", s)
		}
		o.apart = append(o.apart, d)
	}
	if *jobs == "" {
		return o, nil
	}
	sizes := []int{1} // what a node takes by itself
	for _, s := range list(*jobs) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-jobs: %q is not a number of jobs", s)
		}
		sizes = append(sizes, n)
	}
	if *nodes < 2 {
		return o, errors.New("-nodes must be at least 2")
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	o.plans, o.crashJobs, o.crowd = []fleetPlan{{*nodes, sizes}}, sizes, fleetPlan{*nodes, sizes[len(sizes)-1:]}
	o.scale = []fleetPlan{{*nodes, sizes[1:]}}
	return o, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

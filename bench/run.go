//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Who does what is measured.
const (
	byLimit       = "limit"              // etcd alone
	byConcurrency = "concurrency"        // etcd's Session and Election
	byRevoking    = "concurrency-revoke" // the same, but a node that stops revokes its lease instead of resigning each job
	byOurs        = "ours"
)

// bench is one run: an etcd, what is asked of it, and what came of it.
type bench struct {
	options
	endpoints []string
	client    *clientv3.Client
	book      *book
}

// run measures, and prints what it finds to out.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	b := &bench{options: o, endpoints: o.etcd, book: newBook(out)}
	if len(o.etcd) == 0 {
		etcd, endpoint, err := startETCD(ctx)
		if err != nil {
			return err
		}
		defer etcd.stop()
		b.endpoints = []string{endpoint}
	}
	if b.client, err = newClient(b.endpoints); err != nil {
		return err
	}
	defer b.client.Close()
	fmt.Fprintf(out, "goos: %s\ngoarch: %s\npkg: github.com/b2552be4/distributed/bench\n", runtime.GOOS, runtime.GOARCH)
	if err := b.measure(ctx); err != nil {
		return err
	}
	printTables(out, b.book)
	printBars(out, b.book)
	if o.svg == "" {
		return nil
	}
	return os.WriteFile(o.svg, []byte(drawGrowth(b.book)), 0o644)
}

func (b *bench) measure(ctx context.Context) error {
	for _, m := range []struct {
		name string
		run  func(context.Context) error
	}{{"calls", b.calls}, {"handover", b.handover}, {"fleet", b.fleets}, {"crowd", b.crowds}, {"scale", b.scales}, {"crash", b.crashes}} {
		if len(b.only) > 0 && !slices.Contains(b.only, m.name) {
			continue
		}
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// fleets measures many jobs. All subjects take their turn in each round, and
// every other round in the opposite order.
func (b *bench) fleets(ctx context.Context) error {
	for _, plan := range b.plans {
		for _, jobs := range plan.jobs {
			for round := range b.roundsFor(jobs * plan.nodes) {
				for _, by := range inTurn(round, subjectsFor(jobs, plan.nodes)) {
					spec := fleetSpec{By: by, Jobs: jobs, Nodes: plan.nodes, Profiles: b.profiles}
					if round == 0 && by != byRevoking { // which differs only when it stops
						spec.Idle = b.idle
					}
					if err := b.fleet(ctx, spec); err != nil {
						return fmt.Errorf("%d jobs on %d nodes, %s: %w", jobs, plan.nodes, by, err)
					}
				}
			}
		}
	}
	return nil
}

// roundsFor spares the largest fleets most of the rounds: etcd's concurrency
// takes long for them.
func (b *bench) roundsFor(candidates int) int {
	switch {
	case candidates > 30_000:
		return 1
	case candidates > 3_000:
		return min(b.rounds, 3)
	}
	return b.rounds
}

func subjectsFor(jobs, nodes int) []string {
	if nodes == 3 && (jobs == 1000 || jobs == 10_000) {
		return []string{byLimit, byConcurrency, byRevoking, byOurs}
	}
	return []string{byLimit, byConcurrency, byOurs}
}

func inTurn(round int, subjects []string) []string {
	if round%2 == 1 {
		slices.Reverse(subjects)
	}
	return subjects
}

// crowds lets many nodes start at once.
func (b *bench) crowds(ctx context.Context) error {
	for _, jobs := range b.crowd.jobs {
		for range min(b.rounds, 3) {
			if err := b.fleet(ctx, fleetSpec{By: byOurs, Jobs: jobs, Nodes: b.crowd.nodes, Crowd: true, Idle: b.idle, Profiles: b.profiles}); err != nil {
				return fmt.Errorf("%d jobs on %d nodes at once: %w", jobs, b.crowd.nodes, err)
			}
		}
	}
	return nil
}

// crashes kills a node of three.
func (b *bench) crashes(ctx context.Context) error {
	for _, ttl := range b.crashTTLs {
		for _, jobs := range b.crashJobs {
			for round := range min(b.rounds, 3) {
				for _, by := range inTurn(round, []string{byConcurrency, byOurs}) {
					if err := b.crash(ctx, nodeSpec{By: by, Jobs: jobs, TTL: ttl}); err != nil {
						return fmt.Errorf("%d jobs, %s: %w", jobs, by, err)
					}
				}
			}
		}
	}
	return nil
}

// newApp returns a name that nobody has used on this etcd.
func newApp() string { return fmt.Sprintf("bench-%d", time.Now().UnixNano()) }

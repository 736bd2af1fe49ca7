//go:build unix

package main

import (
	"context"
	"time"
)

// restartJobs is up to how many jobs a rolling restart is measured.
const restartJobs = 10_000

// life is that of a fleet. The first node starts and runs all jobs, the others
// join it and wait in line, all rest, and then each node is restarted. Stopping
// the first of them is what Drain tells of.
func (m *measurement) life(ctx context.Context) error {
	rest, err := m.rest(ctx)
	if err != nil {
		return err
	}
	if err := m.startFirst(ctx); err != nil {
		return err
	}
	first, err := m.rest(ctx)
	if err != nil {
		return err
	}
	if err := m.joinOthers(ctx); err != nil {
		return err
	}
	if err := m.settle(ctx); err != nil {
		return err
	}
	if m.Idle > 0 {
		if err := m.watchIdle(ctx, rest, first); err != nil {
			return err
		}
	}
	return m.restart(ctx)
}

func (m *measurement) startFirst(ctx context.Context) error {
	var took time.Duration
	cost, err := m.cost(ctx, m.Jobs, func() error {
		began := time.Now()
		m.start(0)
		full, err := m.allRun(ctx, -1)
		took = full.Sub(began)
		return err
	})
	if err == nil {
		m.book.add(m.name("Start"), m.Jobs, append([]value{ns("ns/op", took)}, cost...)...)
	}
	return err
}

// joinOthers starts one node after the other, each when the last is in line for
// all jobs.
func (m *measurement) joinOthers(ctx context.Context) error {
	began := time.Now()
	cost, err := m.cost(ctx, m.Jobs*(m.Nodes-1), func() error {
		for i := 1; i < m.Nodes; i++ {
			if err := m.join(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(began) / time.Duration(m.Nodes-1)
	if err == nil {
		m.book.add(m.name("Join"), m.Jobs, append([]value{ns("ns/op", took)}, cost...)...)
	}
	return err
}

// join starts node i and waits until it is in line for all jobs.
func (m *measurement) join(ctx context.Context, i int) error {
	inLine, err := awaitCandidates(ctx, m.client, m.app, m.Jobs)
	if err != nil {
		return err
	}
	m.start(i)
	return inLine()
}

// restart stops and starts up to three nodes, each when all is well again.
func (m *measurement) restart(ctx context.Context) error {
	var moves int
	var lost, took time.Duration
	for i := range 3 {
		one, gaps, err := m.drain(ctx, i)
		if err != nil {
			return err
		}
		moves += len(gaps)
		took += one
		for _, gap := range gaps {
			lost += gap
		}
		if m.Nodes != 3 || m.Jobs > restartJobs {
			return nil
		}
		if err := m.join(ctx, i); err != nil {
			return err
		}
		if err := m.settle(ctx); err != nil {
			return err
		}
	}
	m.book.add(m.name("Restart"), m.Jobs, ns("ns/op", took),
		value{"lost-job-s", lost.Seconds()}, value{"moves/job", float64(moves) / float64(m.Jobs)})
	return nil
}

// drain stops node i in order, and returns how long it took until all jobs ran
// again, and how long each did not. That of the first node, which runs all jobs,
// is entered.
func (m *measurement) drain(ctx context.Context, i int) (took time.Duration, gaps []time.Duration, err error) {
	var after time.Duration
	cost, err := m.cost(ctx, m.Jobs, func() error {
		stopProfile, err := m.profileCPU("cpu")
		if err != nil {
			return err
		}
		defer stopProfile()
		began := time.Now()
		m.nodes[i].stop()
		full, err := m.allRun(ctx, i)
		if err != nil {
			return err
		}
		took = max(full.Sub(began), 0) // it may have had nothing to do
		after = max(full.Sub(m.lastLeft()), 0)
		return m.stopped(ctx, i)
	})
	if err != nil {
		return 0, nil, err
	}
	gaps = m.takeGaps()
	if i == 0 {
		m.book.add(m.name("Drain"), m.Jobs, append([]value{ns("ns/op", took), ns("after-ns", after), ns("p50-ns", percentile(gaps, .5)),
			ns("p99-ns", percentile(gaps, .99)), ns("max-ns", percentile(gaps, 1))}, cost...)...)
	}
	return took, gaps, nil
}

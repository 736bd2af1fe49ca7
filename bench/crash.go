//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	crashNodes   = 3
	crashTimeout = 2 * time.Minute

	// leastTTL is that of etcd's leases, unless it is configured otherwise.
	leastTTL = 2 * time.Second
)

// nodeSpec is what a process that is one node is told.
type nodeSpec struct {
	By            string
	Jobs          int
	TTL           time.Duration
	Endpoints     []string
	App, Instance string
	Balanced      bool
}

// crash starts nodes as processes, the first of which runs all jobs, kills that
// one, and takes from the others' own word when each job began again. All
// processes of a machine share one monotonic clock.
func (b *bench) crash(ctx context.Context, spec nodeSpec) error {
	ctx, cancel := context.WithTimeout(ctx, crashTimeout)
	defer cancel()
	if spec.By == byConcurrency {
		spec.TTL = max(spec.TTL, leastTTL)
	}
	spec.App, spec.Endpoints = newApp(), b.endpoints
	var nodes []*child
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() {
		for _, node := range nodes {
			node.stop()
		}
	}()
	for i := range crashNodes {
		node, err := b.startNode(ctx, spec, i)
		if err != nil {
			return err
		}
		nodes = append(nodes, node)
	}
	// When in its lease's life a node dies is for chance to say.
	time.Sleep(time.Second + time.Duration(time.Now().UnixNano())%time.Second)
	killed := monotonic()
	nodes[0].kill()
	gaps, err := successions(nodes[1:], spec.Jobs, killed, &readers)
	if err != nil {
		return err
	}
	last := percentile(gaps, 1)
	b.book.add(fmt.Sprintf("Crash/jobs=%d/ttl=%v/by=%s", spec.Jobs, spec.TTL, spec.By), spec.Jobs, ns("ns/op", percentile(gaps, .5)),
		ns("max-ns", last), value{"max/TTL", float64(last) / float64(spec.TTL)}, ns("beyond-ns", last-spec.TTL*11/10))
	if slices.Min(gaps) < 0 {
		return errors.New("a job ran twice at once")
	}
	return nil
}

// startNode returns when the node campaigns for all jobs, and the first one, when
// it runs them.
func (b *bench) startNode(ctx context.Context, spec nodeSpec, i int) (*child, error) {
	spec.Instance = fmt.Sprint("node-", i)
	inLine, err := awaitCandidates(ctx, b.client, spec.App, spec.Jobs)
	if err != nil {
		return nil, err
	}
	node, err := startChild(ctx, "node", spec)
	if err != nil {
		return nil, err
	}
	err = inLine()
	for job := 0; job < spec.Jobs && i == 0 && err == nil; job++ {
		_, err = node.line()
	}
	if err != nil {
		node.kill()
		return nil, err
	}
	return node, nil
}

// successions returns how long after killed each job began on one of nodes.
// It reads what they print in goroutines, until they end.
func successions(nodes []*child, jobs int, killed time.Duration, readers *sync.WaitGroup) (gaps []time.Duration, err error) {
	type report struct {
		at  time.Duration
		err error
	}
	reports := make(chan report, len(nodes)*(jobs+1)) // each says no more than that
	for _, node := range nodes {
		readers.Go(func() {
			for range jobs {
				line, err := node.line()
				if err != nil {
					reports <- report{err: err}
					return
				}
				at, err := strconv.ParseInt(line, 10, 64)
				reports <- report{time.Duration(at), err}
			}
		})
	}
	for len(gaps) < jobs {
		r := <-reports // an end of the nodes is a report
		if r.err != nil {
			return nil, r.err
		}
		gaps = append(gaps, r.at-killed)
	}
	return gaps, nil
}

// runNode is the life of a node. It prints when each job begins.
func runNode(ctx context.Context, arg []byte) error {
	var spec nodeSpec
	if err := json.Unmarshal(arg, &spec); err != nil {
		return err
	}
	begun := make(chan time.Duration, spec.Jobs)
	go func() {
		out := bufio.NewWriter(os.Stdout)
		for at := range begun {
			fmt.Fprintln(out, int64(at))
			if len(begun) == 0 && out.Flush() != nil {
				return // nobody reads any more
			}
		}
	}()
	m := &member{
		endpoints: spec.Endpoints, app: spec.App, instance: spec.Instance, ttl: spec.TTL, jobs: jobNames(spec.Jobs), balanced: spec.Balanced,
		work: func(ctx context.Context, _ int) {
			select {
			case begun <- monotonic():
			case <-ctx.Done():
			}
			<-ctx.Done()
		},
	}
	return m.run(ctx, spec.By)
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

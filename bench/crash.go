package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/b2552be4/distributed"
)

func (b *bench) clientConfig() clientv3.Config {
	return clientv3.Config{Endpoints: b.endpoints, Logger: zap.NewNop()}
}

// nodeCommand makes this program a node of the crash benchmark.
const nodeCommand = "-node"

// tick is how often a job says that it is running.
const tick = 10 * time.Millisecond

// crash starts nodes as processes, the first of which runs all jobs, kills that
// one, and takes from the jobs' own word how long each had no runner, and
// whether any had two. All processes of a machine share one monotonic clock.
func (b *bench) crash(ctx context.Context) error {
	nodes := make([]*process, b.nodes)
	for i := range nodes {
		p, err := b.startProcess(ctx, i)
		if err != nil {
			return err
		}
		defer p.kill()
		nodes[i] = p
		if i == 0 {
			if err := p.awaitRunning(b.jobs); err != nil {
				return err
			}
		} else if err := b.awaitCandidates(ctx, jobName(b.jobs-1), int64(i+1)); err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	killed := monotonic()
	nodes[0].kill()
	last := nodes[0].drain()
	first, err := b.awaitSuccessors(ctx, nodes[1:])
	if err != nil {
		return err
	}
	var gaps []time.Duration
	overlaps := 0
	for job, at := range first {
		gaps = append(gaps, at-killed)
		if at <= last[job] {
			overlaps++
		}
	}
	bar := b.ttl + b.ttl/10 + time.Second
	fmt.Printf("TTL %v, %d jobs, kill -9: all jobs run elsewhere after %v (p50 %v); TTL·1.1 + 1 s is %v; overlaps: %d\n",
		b.ttl, b.jobs, percentile(gaps, 1).Round(time.Millisecond), percentile(gaps, .5).Round(time.Millisecond), bar, overlaps)
	if overlaps > 0 {
		return errors.New("jobs ran twice")
	}
	return nil
}

// awaitSuccessors returns when each job was first said to run.
func (b *bench) awaitSuccessors(ctx context.Context, nodes []*process) (map[string]time.Duration, error) {
	first := map[string]time.Duration{}
	for len(first) < b.jobs {
		for _, p := range nodes {
			select {
			case r, ok := <-p.reports:
				if !ok {
					return nil, errors.New("a node has ended")
				}
				if _, seen := first[r.job]; !seen {
					first[r.job] = r.at
				}
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}
	return first, nil
}

func jobName(i int) string { return fmt.Sprintf("job-%05d", i) }

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// report is a line of a node: this job is running, at this time.
type report struct {
	job string
	at  time.Duration
}

type process struct {
	cmd     *exec.Cmd
	reports chan report
}

func (b *bench) startProcess(ctx context.Context, i int) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, nodeCommand, strings.Join(b.endpoints, ","), b.app, fmt.Sprint("node-", i), b.ttl.String(), strconv.Itoa(b.jobs))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, reports: make(chan report, 1<<20)}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(out)
	return p, nil
}

// read reads to the end, which kill -9 does not cut short, and then reaps.
func (p *process) read(out io.Reader) {
	defer close(p.reports)
	defer func() { _ = p.cmd.Wait() }() // it was killed
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		job, at, _ := strings.Cut(lines.Text(), " ")
		if ns, err := strconv.ParseInt(at, 10, 64); err == nil { // the last line may be cut short
			p.reports <- report{job, time.Duration(ns)}
		}
	}
}

func (p *process) awaitRunning(jobs int) error {
	seen := map[string]bool{}
	for r := range p.reports {
		if seen[r.job] = true; len(seen) == jobs {
			return nil
		}
	}
	return errors.New("the first node has ended")
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may have ended

// drain returns when each job was last said to run.
func (p *process) drain() map[string]time.Duration {
	last := map[string]time.Duration{}
	for r := range p.reports {
		last[r.job] = max(last[r.job], r.at)
	}
	return last
}

// runNode is the life of a node process.
func runNode(args []string) {
	ttl, err := time.ParseDuration(args[3])
	if err != nil {
		panic(err)
	}
	jobs, err := strconv.Atoi(args[4])
	if err != nil {
		panic(err)
	}
	lines := make(chan string, 1<<16)
	go func() {
		out := bufio.NewWriter(os.Stdout)
		for line := range lines {
			fmt.Fprintln(out, line)
			if len(lines) == 0 && out.Flush() != nil {
				os.Exit(1) // nobody reads any more
			}
		}
	}()
	provider := distributed.NewETCDLeaseProvider(strings.Split(args[0], ","), distributed.WithLeaseTTL(ttl))
	p := distributed.NewLeadershipBasedJobProcessor(args[1], args[2], provider, nil)
	for i := range jobs {
		job := jobName(i)
		err := p.AddJob(distributed.Job{Name: job, Work: func(ctx context.Context) error {
			for ctx.Err() == nil {
				lines <- fmt.Sprintf("%s %d", job, monotonic())
				select {
				case <-ctx.Done():
				case <-time.After(tick * time.Duration(1+jobs/100)):
				}
			}
			return nil
		}})
		if err != nil {
			panic(err)
		}
	}
	if err := p.Execute(context.Background()); err != nil {
		panic(err)
	}
}

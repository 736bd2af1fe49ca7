//go:build unix

// Command bench measures, on one PostgreSQL server and in one run, how a job moves
// from node to node with this library, with River's leader and with a loop on an
// advisory lock:
//
//	go run . -url postgres://postgres@127.0.0.1:5432/postgres
//
// It needs a role that may create schemas and end others' connections, and takes some
// minutes. Each contender has three nodes, in processes and with a network of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

func main() {
	roles := map[string]process.Role{}
	for _, c := range contenders {
		roles[c.name] = process.RoleOf(func(n nodeConfig) error { return run(n, c.run) })
	}
	process.RunRole(roles)
	address := flag.String("url", os.Getenv("DATABASE_URL"), "the `URL` of the server, without TLS")
	flag.Parse()
	if err := bench(*address); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(address string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := prepareRiver(context.Background(), address); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(contenders))
	reports := make([]string, len(contenders))
	for i, c := range contenders {
		wg.Go(func() { reports[i], errs[i] = measure(c.name, address, filepath.Join(dir, c.name)) })
	}
	wg.Wait()
	fmt.Println("| | how it moved | ran nowhere | ran twice |\n|---|---|---:|---:|")
	for i, c := range contenders {
		if errs[i] != nil {
			return fmt.Errorf("%s: %w", c.name, errs[i])
		}
		fmt.Print(reports[i])
	}
	return nil
}

// trouble is what happens to the node that runs the job.
type trouble struct {
	name  string
	times int
	do    func(f *fleet, leader *node) error
	gone  bool // the node's process has ended
}

var troubles = []trouble{
	{"the node stops in order", 5, func(_ *fleet, n *node) error { return n.End(30 * time.Second) }, true},
	{"the process is killed", 3, func(_ *fleet, n *node) error { n.Kill(); return nil }, true},
	{"the machine is gone", 1, func(_ *fleet, n *node) error { n.cutOff(); n.Kill(); return nil }, true},
	{"cut off", 1, func(_ *fleet, n *node) error { n.cutOff(); return nil }, false},
	{"cut off, and the server ends its connections", 3, func(f *fleet, n *node) error { n.cutOff(); return f.terminate(n) }, false},
}

const (
	patience  = time.Minute      // for the job to run again
	aftermath = 10 * time.Second // for which one may run that should not
)

// outcome is what came of a trouble.
type outcome struct {
	least, most time.Duration // in which the job ran nowhere
	twice       time.Duration // in which it ran twice, at most
	never       bool          // it did not run again
}

func (o outcome) String() string {
	if o.never {
		return fmt.Sprintf("more than %v | 0", patience)
	}
	return fmt.Sprintf("%.2f to %.2f s | %.2f s", o.least.Seconds(), o.most.Seconds(), o.twice.Seconds())
}

// suffer lets trouble come over the node that runs the job, and looks what comes of it.
// That node is not used again.
func (f *fleet) suffer(t trouble, o *outcome) error {
	i, err := f.leader()
	if err != nil {
		return err
	}
	leader := f.nodes[i]
	time.Sleep(time.Second)
	troubled := f.lastTick(leader)
	if err := t.do(f, leader); err != nil {
		return err
	}
	f.nodes = slices.Delete(f.nodes, i, i+1)
	defer leader.close()
	next, ok := f.successor(troubled)
	if !ok {
		o.never = true
		return f.terminate(leader)
	}
	if !t.gone {
		time.Sleep(aftermath)
	}
	before := time.Duration(0)
	for _, at := range f.ticks(leader) {
		if at <= next {
			before = at
		}
	}
	gap := next - before
	if o.least == 0 || gap < o.least {
		o.least = gap
	}
	o.most = max(o.most, gap)
	o.twice = max(o.twice, f.lastTick(leader)-next)
	return nil
}

// leader waits until one of the nodes runs the job, and returns which.
func (f *fleet) leader() (int, error) {
	before := make([]time.Duration, len(f.nodes))
	for i, n := range f.nodes {
		before[i] = f.lastTick(n)
	}
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for i, n := range f.nodes {
			if f.lastTick(n) > before[i] {
				return i, nil
			}
		}
	}
	return 0, errors.New("the job does not run")
}

// successor waits until one of the nodes has run the job, and returns since when.
func (f *fleet) successor(after time.Duration) (first time.Duration, ok bool) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, n := range f.nodes {
			for _, at := range f.ticks(n) {
				if at > after && (first == 0 || at < first) {
					first = at
				}
			}
		}
		if first != 0 {
			return first, true
		}
	}
	return 0, false
}

// ticks returns when a node ran the job, by the clock that all of them share.
func (f *fleet) ticks(n *node) (all []time.Duration) {
	records, err := verify.ReadFiles(filepath.Join(f.dir, n.name+".jsonl"))
	if err != nil {
		return nil // it has not begun yet
	}
	for _, r := range records {
		all = append(all, time.Duration(r.Mono))
	}
	return all
}

func (f *fleet) lastTick(n *node) time.Duration {
	all := f.ticks(n)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1]
}

// fleet is the nodes of a contender.
type fleet struct {
	contender, url, dir string
	started             int
	nodes               []*node
}

type node struct {
	*process.Process
	name string
	link *link.Link
}

func (n *node) cutOff() { n.link.HoldUp(); n.link.HoldDown() }

func (n *node) close() {
	n.Kill()
	n.link.Close()
}

// measure returns lines of the table.
func measure(contender, address, dir string) (lines string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	f := &fleet{contender: contender, url: address, dir: dir}
	defer func() {
		for _, n := range f.nodes {
			n.close()
		}
	}()
	for _, t := range troubles {
		var o outcome
		for range t.times {
			for len(f.nodes) < 3 {
				if err := f.add(); err != nil {
					return lines, err
				}
			}
			if err := f.suffer(t, &o); err != nil {
				return lines, fmt.Errorf("%s: %w", t.name, err)
			}
		}
		lines += fmt.Sprintf("| %s | %s, %d times | %v |\n", contender, t.name, t.times, o)
	}
	return lines, nil
}

func (f *fleet) add() error {
	u, err := url.Parse(f.url)
	if err != nil {
		return err
	}
	l, err := link.New(u.Host)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(f.contender, " ", "-"), f.started)
	f.started++
	u.Host = l.Addr()
	u.RawQuery = url.Values{"sslmode": {"disable"}, "application_name": {name}}.Encode()
	p, err := process.Start(f.contender, nodeConfig{name, u.String(), filepath.Join(f.dir, name+".jsonl")}, io.Discard)
	if err != nil {
		return err
	}
	f.nodes = append(f.nodes, &node{p, name, l})
	return nil
}

// terminate ends a node's connections on the server, as TCP or an operator does it at last.
func (f *fleet) terminate(n *node) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, f.url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", n.name)
	_ = conn.Close(ctx) // it is not needed any more
	return err
}

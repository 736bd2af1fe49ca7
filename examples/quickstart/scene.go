package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/verify"
)

const (
	leaseTTL       = 5 * time.Second        // what a crash would cost; a shutdown does not wait for it
	spread         = 200 * time.Millisecond // between the nodes that a job prefers, at the start
	stepsPerSecond = 300                    // of all jobs together, for the sake of etcd's disk
	stepInterval   = 100 * time.Millisecond // of a job, at least
)

// scene is the play: the jobs, the nodes that run them, and what is written down
// about both.
type scene struct {
	cfg     config
	store   *store
	records play.Records
	jobs    []string
	nodes   nodes
	board   *board
	display *display
}

func newScene(cfg config, st *store, records play.Records, out, errOut io.Writer) *scene {
	s := &scene{cfg: cfg, store: st, records: records, board: newBoard()}
	for i := range cfg.jobs {
		s.jobs = append(s.jobs, fmt.Sprintf("job-%0*d", len(fmt.Sprint(cfg.jobs)), i+1))
	}
	log := slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for i := range cfg.nodes {
		s.nodes = append(s.nodes, s.newNode(i, log))
	}
	fmt.Fprintf(out, `%s on %s; etcd: %s.
A column is a job: its digit is the node that runs it, a dot means that none does.
Each job counts in etcd, and its node records when it runs.

`, play.Count(cfg.jobs, "job"), play.Count(cfg.nodes, "node"), st.Where())
	s.display = newDisplay(out, s.board, s.jobs, s.nodes)
	return s
}

// newNode makes the i-th node. At the start it prefers every n-th job: it stands
// for the others a little later.
func (s *scene) newNode(i int, log *slog.Logger) *node {
	name := fmt.Sprintf("node-%d", i+1)
	n := &node{name: name, records: s.records.File(name)}
	n.provide = func() distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider(s.store.Endpoints,
			distributed.WithLeaseTTL(leaseTTL), distributed.WithNamespace(s.store.Prefix))
	}
	n.jobs = func(runs *verify.Writer) (jobs []distributed.Job) {
		for _, job := range s.jobs {
			jobs = append(jobs, distributed.Job{Name: job, Work: s.newCounter(job, name, runs).work})
		}
		return jobs
	}
	delay := map[string]time.Duration{}
	for j, job := range s.jobs {
		delay[job] = spread * time.Duration((s.cfg.nodes+i-j%s.cfg.nodes)%s.cfg.nodes)
	}
	n.options = []distributed.ProcessorOption{
		distributed.WithStartDelay(func(job string) time.Duration { return delay[job] }),
		distributed.WithJobQuota(s.quota()),
		distributed.WithLogger(log),
	}
	return n
}

// quota is what a node must be able to run while another one is down.
func (s *scene) quota() int {
	others := max(s.cfg.nodes-1, 1)
	return (s.cfg.jobs + others - 1) / others
}

func (s *scene) newCounter(job, node string, runs *verify.Writer) *counter {
	return &counter{
		client: s.store.Client, key: s.store.counterKey(job), job: job, node: node,
		interval: max(stepInterval, time.Second*time.Duration(s.cfg.jobs)/stepsPerSecond),
		runs:     runs, board: s.board,
	}
}

// judge plays, prints the verdict, and returns the exit code.
func (s *scene) judge(ctx context.Context, out io.Writer) int {
	played := s.play(ctx)
	report, unread := s.records.Check(verify.Rules{}, s.nodes.names()...)
	stored, unknown := s.store.counters()
	v := verdict{
		jobs: s.jobs, interrupted: ctx.Err() != nil,
		report: report, steps: s.board.steps, stored: stored,
		trouble: errors.Join(played, unread, unknown),
	}
	ok := v.print(out)
	fmt.Fprintf(out, "\n%s\n", s.records.Hint())
	if !ok {
		return 1
	}
	return 0
}

// play starts all nodes, restarts one after the other, and stops them all. It
// ends early when ctx is done or a node fails.
func (s *scene) play(ctx context.Context) error {
	watching, stopWatching := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.display.follow(watching) })

	s.display.say("all nodes start")
	playing, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	for _, n := range s.nodes {
		n.start(failed)
	}
	s.restartEach(playing, failed)
	switch {
	case ctx.Err() != nil:
		s.display.say("interrupted: all nodes stop")
	case playing.Err() != nil:
		s.display.say("a node has failed: all nodes stop")
	default:
		s.display.say("all nodes stop")
	}
	err := s.nodes.shutdown()

	stopWatching()
	wg.Wait()
	s.display.say("all nodes have stopped")
	return err
}

// restartEach spreads the restarts over the time of the play, and lets each node
// be down for long enough to be seen.
func (s *scene) restartEach(ctx context.Context, failed func(error)) {
	act := s.cfg.run / time.Duration(len(s.nodes)+1)
	down := min(act/3, time.Second)
	if !play.Sleep(ctx, act) {
		return
	}
	for _, n := range s.nodes {
		s.display.say("%s stops", n.name)
		n.shutdown()
		s.display.say("%s has stopped", n.name)
		if !play.Sleep(ctx, down) {
			return
		}
		s.display.say("%s starts again", n.name)
		n.start(failed)
		if !play.Sleep(ctx, act-down) {
			return
		}
	}
}

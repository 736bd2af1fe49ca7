package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/verify"
)

// warnings says on stderr what goes wrong, such as why the store cannot be reached.
var warnings = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

// node is one instance of the service. In real life it is a process of its own;
// here it has a lease provider, and with it a connection to the store, of its own.
type node struct {
	name, file string // where it records when its jobs run
	provide    func() distributed.LeaseProvider
	running    *atomic.Int32 // jobs, on all nodes
	failed     func(error)

	end context.CancelFunc
	wg  sync.WaitGroup
}

func (n *node) start() {
	ctx, end := context.WithCancel(context.Background())
	n.end = end
	n.wg.Go(func() {
		if err := n.execute(ctx); err != nil {
			n.failed(fmt.Errorf("%s: %w", n.name, err))
		}
	})
}

// stop returns when the jobs have returned, and others may run them.
func (n *node) stop() {
	n.end()
	n.wg.Wait()
}

// execute is what main would do in a process of its own.
func (n *node) execute(ctx context.Context) error {
	runs, err := verify.Open(n.file, n.name)
	if err != nil {
		return err
	}
	var work []distributed.Job
	for i := range jobs {
		name := fmt.Sprintf("job-%02d", i+1)
		work = append(work, distributed.Job{Name: name, Work: func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx) // every Work has it there
			run := runs.Begin(name, l.Token())
			defer run.End()
			n.running.Add(1)
			defer n.running.Add(-1)
			for {
				select {
				case <-time.After(50 * time.Millisecond):
					run.Tick()
				case <-ctx.Done():
					return nil
				}
			}
		}})
	}
	p := distributed.NewLeadershipBasedJobProcessor("quickstart", n.name, n.provide(), work, distributed.WithLoadBalancing(), distributed.WithLogger(warnings))
	err = p.Execute(ctx)
	if closed := runs.Close(); err == nil {
		err = closed // what could not be recorded cannot be judged
	}
	return err
}

//go:build unix

package demo

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

// App is an app that the nodes run, and how it spreads its jobs over them.
type App struct {
	Name, Title string
	Balance     bool          // WithLoadBalancing
	Term        time.Duration // if not 0, WithVoluntaryTimeout: half to one and a half of it, at random
}

const (
	nodeRole = "node"

	leaseTTL   = 3 * time.Second // what a crash costs
	settleTime = time.Second     // before jobs move to a node that has come
	tick       = 500 * time.Millisecond
)

// nodeConfig is what a node process is told.
type nodeConfig struct {
	Name      string
	Apps      []App
	Jobs      []string
	Endpoints []string
	Namespace string
	Records   string // directory
}

// runNode is the life of a node process: what main is in a service.
func runNode(c nodeConfig) error {
	process.ExitWhenOrphaned()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, len(c.Apps))
	for i, app := range c.Apps {
		wg.Go(func() {
			defer stop() // if one fails, the node does
			errs[i] = c.execute(ctx, app)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c nodeConfig) execute(ctx context.Context, app App) error {
	runs, err := verify.Open(play.Records{Dir: c.Records}.File(recordOf(app, c.Name)), c.Name)
	if err != nil {
		return err
	}
	var jobs []distributed.Job
	for _, job := range c.Jobs {
		jobs = append(jobs, distributed.Job{Name: job, Work: func(ctx context.Context) error { return work(ctx, job, runs) }})
	}
	provider := distributed.NewETCDLeaseProvider(c.Endpoints, distributed.WithLeaseTTL(leaseTTL), distributed.WithNamespace(c.Namespace))
	err = distributed.NewLeadershipBasedJobProcessor(app.Name, c.Name, provider, jobs, app.options()...).Execute(ctx)
	return errors.Join(err, runs.Close()) // what could not be recorded cannot be judged
}

// recordOf names the file of a node for one of its apps: both have the same jobs.
func recordOf(app App, node string) string { return app.Name + "-" + node }

func (a App) options() []distributed.ProcessorOption {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("app", a.Name)
	opts := []distributed.ProcessorOption{
		distributed.WithLogger(log), distributed.WithVersion("demo"),
		distributed.WithMetadata(map[string]string{"pid": strconv.Itoa(os.Getpid())}),
	}
	if a.Balance {
		opts = append(opts, distributed.WithLoadBalancing(distributed.WithSettleTime(settleTime)))
	}
	if a.Term > 0 {
		opts = append(opts, distributed.WithVoluntaryTimeout(func(string) time.Duration { return a.Term/2 + rand.N(a.Term) }))
	}
	return opts
}

// work is the Work of all jobs: it records that it runs.
func work(ctx context.Context, job string, runs *verify.Writer) error {
	leadership, _ := distributed.LeadershipFromContext(ctx) // every Work has it there
	if !leadership.Valid() {
		return nil // this process was frozen just before
	}
	run := runs.Begin(job, leadership.Token())
	defer run.End()
	for play.Sleep(ctx, tick) {
		run.Tick()
	}
	run.Stopping()
	return nil
}

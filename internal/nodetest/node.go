//go:build unix

package nodetest

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

const role = "node"

// config is what a node process is told.
type config struct {
	App, Name, Records, Come string
	Servers, Jobs            []string
	TTL                      time.Duration
}

// RunRole makes this process a node, on the provider of the store at the servers, if
// its parent wants that; or what more says. It does not return then. TestMain calls
// it first thing.
func RunRole(provider func(servers []string, opts ...distributed.LeaseOption) distributed.LeaseProvider, more map[string]process.Role) {
	roles := map[string]process.Role{role: process.RoleOf(func(c config) error {
		return runNode(c, provider(c.Servers, distributed.WithLeaseTTL(c.TTL)))
	})}
	for name, run := range more {
		roles[name] = run
	}
	process.RunRole(roles)
}

func runNode(c config, provider distributed.LeaseProvider) error {
	process.ExitWhenOrphaned()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	records, err := verify.Open(c.Records, c.Name)
	if err != nil {
		return err
	}
	come := func(time.Duration) { _ = os.WriteFile(c.Come, nil, 0o600) } // else the test waits in vain
	p := distributed.NewLeadershipBasedJobProcessor(c.App, c.Name, provider, nil,
		distributed.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		distributed.WithHooks(distributed.Hooks{LeaseAcquired: come}))
	for _, name := range c.Jobs {
		err := p.AddJob(distributed.Job{Name: name, Work: func(ctx context.Context) error {
			work(ctx, records, name)
			return nil
		}})
		if err != nil {
			return err
		}
	}
	if err := p.Execute(ctx); err != nil {
		return err
	}
	return records.Close()
}

// work notes that it runs, until ctx is done.
func work(ctx context.Context, records *verify.Writer, name string) {
	l, _ := distributed.LeadershipFromContext(ctx)
	run, noted := records.Begin(name, l.Token()), make(chan struct{})
	stop := context.AfterFunc(ctx, func() { run.Stopping(); close(noted) })
	defer func() {
		if !stop() {
			<-noted // nothing is noted after the end
		}
		run.End()
	}()
	for ctx.Err() == nil {
		run.Tick()
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

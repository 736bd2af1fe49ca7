//go:build unix

package faults

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path"
	"reflect"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

// nodeConfig is what a node process is told.
type nodeConfig struct {
	Naive     bool   // the usual loop on concurrency.Session and Election, for comparison
	Block     string // what of the user's blocks for ever: "log" or "hooks"
	App, Name string
	Endpoints []string
	TTL       time.Duration
	Jobs      []string
	Leases    int           // processors in the process, each with jobs of its own
	Linger    time.Duration // for which Work goes on after it was told to stop
	Term      time.Duration // voluntary timeout, if not 0
	Balance   bool          // spread the jobs over the nodes
	Tick      time.Duration // how often a job says that it runs
	Lively    bool          // jobs fail, are prepared, and save, see lively
	Username  string
	Password  string
	ClockRate string // read by mutants only: how fast the node's clock runs
	Records   string // path
	Register  string // address
}

// runNode is the life of a node process.
func runNode(config nodeConfig) error {
	process.ExitWhenOrphaned()
	if err := os.Setenv("FAULTS_CLOCK_RATE", config.ClockRate); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	records, err := verify.Open(config.Records, config.Name)
	if err != nil {
		return err
	}
	register, err := dialRegister(config.Register)
	if err != nil {
		return err
	}
	if _, err := register.ask("hello " + config.Name); err != nil { // from now on we obey signals
		return err
	}
	w := &worker{config: config, records: records, register: register}
	if config.Naive {
		err = w.executeNaively(ctx)
	} else {
		err = w.execute(ctx)
	}
	if err != nil {
		return err
	}
	return records.Close()
}

// worker is what the jobs of a node process share.
type worker struct {
	config   nodeConfig
	records  *verify.Writer
	register *registerClient
}

// work records that it runs, and writes to the register, until ctx is done and a
// little longer, and besides is closed. The last write comes after it was told to stop:
// whoever was frozen tries it with a token that is stale by then.
//
// valid is asked before each write. Whoever was told that it leads and is then
// refused, without having been frozen in between, claims what is not true.
func (w *worker) work(ctx context.Context, job string, token int64, valid func() bool, besides <-chan struct{}) error {
	run, noted := w.records.Begin(job, token), make(chan struct{})
	stop := context.AfterFunc(ctx, func() { run.Stopping(); close(noted) }) // at once, also while the register is slow
	defer func() {                                                          // nothing is noted after the end
		switch {
		case !stop():
			<-noted
		case ctx.Err() != nil: // and we have been faster than what stop has stopped
			run.Stopping()
		}
		run.End()
	}()
	var told time.Time
	for {
		if ctx.Err() != nil && told.IsZero() {
			told = time.Now()
		}
		led, asked := valid(), time.Now()
		taken, err := w.register.write(job, token, w.config.Name, w.records.Process())
		if !taken && led && time.Since(asked) < 20*time.Millisecond {
			err = w.register.claim(job, token, w.records.Process())
		}
		if err != nil {
			return nil // the test is over
		}
		run.Tick()
		if !told.IsZero() && time.Since(told) >= w.config.Linger && isClosed(besides) {
			return nil
		}
		select {
		case <-time.After(w.config.Tick):
		case <-untold(ctx, told):
		}
	}
}

// nothing is what a Work does besides, as a rule.
var nothing = func() <-chan struct{} {
	closed := make(chan struct{})
	close(closed)
	return closed
}()

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// untold is done with ctx, once.
func untold(ctx context.Context, told time.Time) <-chan struct{} {
	if told.IsZero() {
		return ctx.Done()
	}
	return nil
}

func (w *worker) execute(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make(chan error, w.config.Leases)
	for i := range w.config.Leases {
		wg.Go(func() { errs <- w.process(ctx, i) })
	}
	wg.Wait()
	for range w.config.Leases {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) process(ctx context.Context, i int) error {
	c := w.config
	provider := distributed.NewETCDLeaseProvider(c.Endpoints, distributed.WithLeaseTTL(c.TTL),
		distributed.WithETCDConfig(clientv3.Config{Username: c.Username, Password: c.Password}))
	opts := []distributed.ProcessorOption{
		distributed.WithLogger(slog.New(c.handler())),
		distributed.WithVoluntaryTimeout(func(string) time.Duration { return c.Term }),
	}
	if c.Block == "hooks" {
		opts = append(opts, distributed.WithHooks(blockingHooks()))
	}
	if c.Lively {
		opts = append(opts, distributed.WithHooks(distributed.Hooks{Done: func(job string, token int64) { w.tell("done", job, token) }}))
	}
	if c.Balance {
		opts = append(opts, distributed.WithLoadBalancing(distributed.WithSettleTime(c.TTL/4)))
	}
	p := distributed.NewLeadershipBasedJobProcessor(c.App, c.Name, provider, nil, opts...)
	for _, job := range c.Jobs {
		if err := p.AddJob(w.job(jobOf(job, i))); err != nil {
			return err
		}
	}
	return p.Execute(ctx)
}

func (w *worker) job(name string) distributed.Job {
	if w.config.Lively {
		return w.lively(name)
	}
	return distributed.Job{Name: name, Work: func(ctx context.Context) error {
		l, _ := distributed.LeadershipFromContext(ctx)
		return w.work(ctx, name, l.Token(), l.Valid, nothing)
	}}
}

// handler is where the node logs to.
func (c nodeConfig) handler() slog.Handler {
	if c.Block == "log" {
		return blockingHandler{slog.DiscardHandler}
	}
	return slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
}

// blockingHandler is a handler whose reader has gone.
type blockingHandler struct{ slog.Handler }

func (blockingHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (blockingHandler) Handle(context.Context, slog.Record) error { select {} }
func (h blockingHandler) WithAttrs([]slog.Attr) slog.Handler      { return h }
func (h blockingHandler) WithGroup(string) slog.Handler           { return h }

// blockingHooks never return, whichever is called.
func blockingHooks() distributed.Hooks {
	var h distributed.Hooks
	fields := reflect.ValueOf(&h).Elem()
	for _, hook := range fields.Fields() {
		hook.Set(reflect.MakeFunc(hook.Type(), func([]reflect.Value) []reflect.Value { select {} }))
	}
	return h
}

// jobOf returns the name of a job of the i-th lease of a process.
func jobOf(job string, i int) string {
	if i == 0 {
		return job
	}
	return fmt.Sprintf("%s-%d", job, i)
}

// executeNaively is what is usually written on etcd's own recipe, with some care:
// Work is stopped when the session is done.
func (w *worker) executeNaively(ctx context.Context) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: w.config.Endpoints, Logger: zap.New(silent)})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, job := range w.config.Jobs {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := w.leadNaively(ctx, client, job); err != nil {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func (w *worker) leadNaively(ctx context.Context, client *clientv3.Client, job string) error {
	opening, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	grant, err := client.Grant(opening, int64(w.config.TTL/time.Second))
	if err != nil {
		return err
	}
	session, err := concurrency.NewSession(client, concurrency.WithLease(grant.ID))
	if err != nil {
		return err
	}
	defer session.Orphan()
	term, end := context.WithCancel(ctx)
	defer end()
	go func() {
		defer end()
		select {
		case <-session.Done():
		case <-term.Done():
		}
	}()
	election := concurrency.NewElection(session, path.Join(w.config.App, job, "leader"))
	if err := election.Campaign(term, w.config.Name); err != nil {
		return err
	}
	if err := w.work(term, job, election.Rev(), func() bool { return false }, nothing); err != nil {
		return err
	}
	resigning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return election.Resign(resigning)
}

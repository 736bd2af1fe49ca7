//go:build unix

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/contest"
	"github.com/b2552be4/distributed/postgres"
)

var contenders = []contest.Contender{
	{Name: "this library", Run: runOurs},
	{Name: "River", Run: runRiver},
	{Name: "advisory lock", Run: runAdvisory},
}

// runOurs has the default TTL of 10 s.
func runOurs(ctx context.Context, n contest.Node, running func()) error {
	jobs := []distributed.Job{{Name: "job", Work: func(ctx context.Context) error {
		for ctx.Err() == nil {
			running()
			time.Sleep(contest.Tick)
		}
		return nil
	}}}
	provider := postgres.NewLeaseProvider(postgres.Config{URL: n.Server, Schema: "bench"})
	return distributed.NewLeadershipBasedJobProcessor("bench", n.Name, provider, jobs).Execute(ctx)
}

func prepareRiver(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

type everyTick struct{}

func (everyTick) Next(now time.Time) time.Time { return now.Add(contest.Tick) }

type nothing struct{}

func (nothing) Kind() string { return "nothing" }

type worker struct{ river.WorkerDefaults[nothing] }

func (worker) Work(context.Context, *river.Job[nothing]) error { return nil }

// runRiver takes the making of periodic jobs for the job: that is what River's leader does.
func runRiver(ctx context.Context, n contest.Node, running func()) error {
	pool, err := pgxpool.New(ctx, n.Server)
	if err != nil {
		return err
	}
	defer pool.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, worker{})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		ID: n.Name, Logger: slog.New(slog.DiscardHandler), Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		PeriodicJobs: []*river.PeriodicJob{river.NewPeriodicJob(everyTick{}, func() (river.JobArgs, *river.InsertOpts) {
			running()
			return nil, nil // none is to be made
		}, nil)},
	})
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return client.Stop(stopping)
}

// runAdvisory is the usual loop: try each second, and look each second whether the
// session is still there, for 5 s.
func runAdvisory(ctx context.Context, n contest.Node, running func()) error {
	for ctx.Err() == nil {
		holdAdvisory(ctx, n.Server, running)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

func holdAdvisory(ctx context.Context, url string, running func()) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // there is nobody to tell
	var held bool
	for !held {
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(4711)").Scan(&held); err != nil {
			return
		}
		if !held {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for {
			ping, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := conn.Exec(ping, "SELECT 1")
			cancel()
			if err != nil {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		running()
		select {
		case <-time.After(contest.Tick):
		case <-lost:
			return
		}
	}
}

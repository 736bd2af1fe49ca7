//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/b2552be4/distributed"
)

const (
	// handoverBatch is how many jobs are handed over one by one before those who
	// gave them up stand in line again.
	handoverBatch = 20

	// handoverRest is how long all stand in line before: a watch of etcd's
	// elections is in place 100 ms after it was asked for.
	handoverRest = 200 * time.Millisecond
)

// runner is a node that can campaign for one job, here.
type runner interface {
	campaign(ctx context.Context, job int) error // blocks until it leads
	resign(ctx context.Context, job int) error
	Close() error
}

// handover measures, in turn: from before a client deletes a key until another
// client has its watch event; and from before a node resigns until another node,
// which has stood in line for a while, has entered its work.
func (b *bench) handover(ctx context.Context) error {
	probe, err := b.newProbe(ctx)
	if err != nil {
		return err
	}
	defer probe.close()
	duels := map[string]*duel{}
	for by, newRunner := range map[string]func(app, instance string) (runner, error){byOurs: b.newOurs, byConcurrency: b.newSession} {
		d, err := b.newDuel(ctx, newRunner)
		if err != nil {
			return err
		}
		defer d.close()
		duels[by] = d
	}
	for round := range b.rounds {
		took := map[string][]time.Duration{}
		for range max(b.handovers/handoverBatch, 1) {
			if err := handOverBatch(ctx, round, probe, duels, took); err != nil {
				return err
			}
		}
		for _, by := range []string{byLimit, byConcurrency, byOurs} {
			b.book.add("Handover/by="+by, len(took[by]), ns("ns/op", percentile(took[by], .5)), ns("p99-ns", percentile(took[by], .99)))
		}
	}
	return nil
}

// handOverBatch lets everybody stand in line, and then hands over job by job.
func handOverBatch(ctx context.Context, round int, probe *probe, duels map[string]*duel, took map[string][]time.Duration) error {
	if err := probe.prepare(ctx); err != nil {
		return err
	}
	for _, d := range duels {
		if err := d.lineUp(ctx); err != nil {
			return err
		}
	}
	time.Sleep(handoverRest)
	for job := range handoverBatch {
		for _, by := range inTurn(round+job, []string{byLimit, byConcurrency, byOurs}) {
			once := probe.once
			if d := duels[by]; d != nil {
				once = d.once
			}
			d, err := once(ctx, job)
			if err != nil {
				return err
			}
			took[by] = append(took[by], d)
			time.Sleep(2 * time.Millisecond) // let what it left behind be done with
		}
	}
	for _, d := range duels {
		d.leader = 1 - d.leader
	}
	return nil
}

// duel is two nodes that take turns in leading all jobs.
type duel struct {
	app     string
	client  *clientv3.Client
	runners [2]runner
	leader  int
	won     chan entered
}

type entered struct {
	at  time.Time
	err error
}

func (b *bench) newDuel(ctx context.Context, newRunner func(app, instance string) (runner, error)) (*duel, error) {
	d := &duel{app: newApp(), client: b.client, won: make(chan entered, handoverBatch)}
	for i := range d.runners {
		r, err := newRunner(d.app, fmt.Sprint("node-", i))
		if err != nil {
			d.close()
			return nil, err
		}
		d.runners[i] = r
	}
	for job := range handoverBatch {
		if err := d.runners[d.leader].campaign(ctx, job); err != nil {
			d.close()
			return nil, err
		}
	}
	return d, nil
}

func (d *duel) close() {
	for _, r := range d.runners {
		if r != nil {
			r.Close()
		}
	}
}

// lineUp returns when the one that does not lead stands in line for all jobs.
func (d *duel) lineUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	inLine, err := awaitCandidates(ctx, d.client, d.app, handoverBatch)
	if err != nil {
		cancel()
		return err
	}
	next := d.runners[1-d.leader]
	for job := range handoverBatch {
		go func() {
			err := next.campaign(context.WithoutCancel(ctx), job)
			d.won <- entered{time.Now(), err}
		}()
	}
	defer cancel()
	return inLine()
}

func (d *duel) once(ctx context.Context, job int) (time.Duration, error) {
	began := time.Now()
	if err := d.runners[d.leader].resign(ctx, job); err != nil {
		return 0, err
	}
	select {
	case e := <-d.won:
		return e.at.Sub(began), e.err
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("nobody took over job %d", job)
	}
}

type ourRunner struct{ *distributed.Concurrency }

func (b *bench) newOurs(app, instance string) (runner, error) {
	provider := distributed.NewETCDLeaseProvider(b.endpoints, distributed.WithLeaseTTL(fleetTTL))
	return ourRunner{distributed.NewConcurrency(app, instance, provider)}, nil
}

func (r ourRunner) campaign(ctx context.Context, job int) error {
	_, err := r.Campaign(ctx, fmt.Sprint("job-", job))
	return err
}

func (r ourRunner) resign(ctx context.Context, job int) error {
	return r.Resign(ctx, fmt.Sprint("job-", job))
}

type sessionRunner struct {
	client    *clientv3.Client
	session   *concurrency.Session
	elections [handoverBatch]*concurrency.Election
}

func (b *bench) newSession(app, instance string) (runner, error) {
	client, err := newClient(b.endpoints)
	if err != nil {
		return nil, err
	}
	session, err := concurrency.NewSession(client, concurrency.WithTTL(int(fleetTTL/time.Second)))
	if err != nil {
		client.Close()
		return nil, err
	}
	r := &sessionRunner{client: client, session: session}
	for job := range r.elections {
		r.elections[job] = concurrency.NewElection(session, fmt.Sprintf("%s/job-%d/leader", app, job))
	}
	return r, nil
}

func (r *sessionRunner) campaign(ctx context.Context, job int) error {
	return r.elections[job].Campaign(ctx, "")
}

func (r *sessionRunner) resign(ctx context.Context, job int) error {
	return r.elections[job].Resign(ctx)
}

func (r *sessionRunner) Close() error {
	defer r.client.Close()
	return r.session.Close()
}

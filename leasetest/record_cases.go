package leasetest

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/b2552be4/distributed"
)

// call bounds a call of an election.
func (r *run) call(what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	var err error
	r.returns(func() { err = f(ctx) }, "%s does not return", what)
	return err
}

func (c *candidate) record(record distributed.JobRecord) {
	err := c.call("Record", func(ctx context.Context) error { return c.election.Record(ctx, record) })
	c.require(err == nil, "Record of %v failed: %v", c, err)
}

func (c *candidate) save(data []byte) {
	err := c.call("Save", func(ctx context.Context) error { return c.election.Save(ctx, data) })
	c.require(err == nil, "Save of %v failed: %v", c, err)
}

func (c *candidate) requireSaved(want []byte) {
	var data []byte
	err := c.call("Saved", func(ctx context.Context) (err error) {
		data, err = c.election.Saved(ctx)
		return err
	})
	c.require(err == nil, "Saved of %v failed: %v", c, err)
	c.require(bytes.Equal(data, want), "%v finds %.20q of %d bytes saved, and %.20q of %d bytes was saved last", c, data, len(data), want, len(want))
}

// recorded returns what a node that has just been elected knows of the job.
func (c *candidate) recorded() distributed.JobRecord {
	record, age, outdated := c.lease.Recorded(c.name)
	c.require((outdated == nil) == (record == distributed.JobRecord{}), "Recorded returns %+v, with a channel or without", record)
	c.require(age >= 0 && age < c.patience, "Recorded has seen %+v for %v", record, age)
	return record
}

func recordIsSeen(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	r.require(leader.recorded() == distributed.JobRecord{}, "something is on record of a new job")
	at := time.UnixMilli(1_790_000_000_000)
	failed := distributed.JobRecord{At: at, Failures: 2, Pause: 3 * time.Second, Error: "broken"}
	leader.record(failed)
	leader.resign()
	next.awaitLead()
	seen := next.recorded()
	r.require(seen.Failures == 2 && seen.Pause == failed.Pause && seen.Error == "broken" && seen.At.Equal(at) && !seen.Done && seen.Job == "job" && seen.Token > 0,
		"%+v was recorded, and the next leader finds %+v", failed, seen)
	_, _, outdated := next.lease.Recorded("job")
	next.record(distributed.JobRecord{At: at, Done: true})
	r.await(outdated, "the channel of Recorded is not closed although something else is on record")
	next.resign()
	last := r.node().lead("job")
	r.require(last.recorded().Done, "that the job is done is not on record any more")
	last.record(distributed.JobRecord{})
	last.resign()
	r.require(r.node().lead("job").recorded() == distributed.JobRecord{}, "what was taken off the record is still there")
}

func savedIsThere(r *run) {
	first := r.node().lead("job")
	first.requireSaved(nil)
	large := bytes.Repeat([]byte{0, 0xff, '"', '\n'}, 16<<10)
	first.save([]byte("not the last"))
	first.save(large)
	first.requireSaved(large)
	first.resign()
	second := r.node().lead("job")
	second.requireSaved(large)
	second.save(nil)
	second.resign()
	r.node().lead("job").requireSaved(nil)
	r.node().lead("another").requireSaved(nil)
}

func staleSave(r *run) {
	stale := r.node().lead("job")
	stale.save([]byte("first"))
	stale.resign()
	next := r.node().lead("job")
	next.requireSaved([]byte("first"))
	for what, call := range map[string]func(context.Context) error{
		"Save":  func(ctx context.Context) error { return stale.election.Save(ctx, []byte("stale")) },
		"Saved": func(ctx context.Context) error { _, err := stale.election.Saved(ctx); return err },
	} {
		err := r.call(what, call)
		r.require(errors.Is(err, distributed.ErrLeadershipLost), "%s of %v, which led before %v, returned %v", what, stale, next, err)
	}
	next.requireSaved([]byte("first"))
}

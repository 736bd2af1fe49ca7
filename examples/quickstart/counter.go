package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/verify"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// counter is what a job does here: it counts, in a key of etcd, and guards the
// key by its fencing token. The token is what a store must check to be safe even
// from a process that was frozen while somebody else took the job over.
type counter struct {
	client    *clientv3.Client
	key       string
	job, node string
	interval  time.Duration  // between steps
	runs      *verify.Writer // of the node
	board     *board
}

// counterValue is a counter's last step and the token it was made with.
type counterValue struct {
	Step  int64 `json:"step"`
	Token int64 `json:"token"`
}

var errStale = errors.New("a later leader has written already")

// work is the Work of the job.
func (c *counter) work(ctx context.Context) error {
	leadership, _ := distributed.LeadershipFromContext(ctx) // every Work has it there
	token := leadership.Token()
	run := c.runs.Begin(c.job, token)
	defer run.End()
	defer c.board.show(c.job, c.node)()

	for play.Sleep(ctx, rand.N(c.interval)) { // so that not all jobs step at the same moment
		if err := c.count(ctx, token, run); errors.Is(err, errStale) && ctx.Err() == nil {
			return err
		}
		// Anything else passes, such as etcd being away: begin again by reading.
	}
	return nil
}

// count reads the counter and steps it until something goes wrong.
func (c *counter) count(ctx context.Context, token int64, run *verify.Active) error {
	value, revision, err := c.read(ctx)
	for err == nil {
		if value.Token > token {
			return fmt.Errorf("%w: token %d, ours is %d", errStale, value.Token, token)
		}
		value = counterValue{Step: value.Step + 1, Token: token}
		revision, err = c.write(ctx, value, revision)
		run.Tick()
		if err == nil && !play.Sleep(ctx, c.interval) {
			err = ctx.Err()
		}
	}
	return err
}

// read returns the value and the revision of its key, both zero at first.
func (c *counter) read(ctx context.Context) (value counterValue, revision int64, err error) {
	got, err := c.client.Get(ctx, c.key)
	if err != nil || len(got.Kvs) == 0 {
		return counterValue{}, 0, err
	}
	err = json.Unmarshal(got.Kvs[0].Value, &value)
	return value, got.Kvs[0].ModRevision, err
}

// write stores the value if nobody has written since revision, and takes down
// the step.
func (c *counter) write(ctx context.Context, value counterValue, revision int64) (int64, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return 0, err
	}
	answer, err := c.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(c.key), "=", revision)).
		Then(clientv3.OpPut(c.key, string(text))).
		Commit()
	if err == nil && !answer.Succeeded {
		return 0, fmt.Errorf("%s was written by somebody else", c.key)
	}
	c.board.step(c.job, value.Step, err == nil)
	if err != nil {
		return 0, err
	}
	return answer.Header.Revision, nil
}

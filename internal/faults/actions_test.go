//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/verify"
)

// stop stops a node as an operator does, and requires that it ends well.
func (w *world) stop(n *node) {
	w.t.Helper()
	require.NoError(w.t, n.End(15*time.Second), "%s", n.name)
}

// unmoved requires that all jobs run where they ran, under the same leadership.
func (w *world) unmoved(before map[string]written) {
	w.t.Helper()
	w.awaitRunning()
	for job, last := range w.holders() {
		require.Equal(w.t, before[job].token, last.token, "%s has stayed where it was", job)
	}
}

// stoppedAfter returns how long after woken the runs that were under way then
// had all been told to stop, or -1 if they have not all ended yet.
func (w *world) stoppedAfter(holders map[string]written, woken time.Duration) time.Duration {
	records, err := verify.ReadFiles(w.records())
	require.NoError(w.t, err)
	runs, err := verify.Runs(records)
	require.NoError(w.t, err)
	var latest time.Duration
	for _, r := range runs {
		if r.Token != holders[r.Job].token {
			continue
		}
		if !r.Ended || !r.Told {
			return -1
		}
		latest = max(latest, r.Stop-woken)
	}
	return latest
}

// awaitStopped waits until the runs that were under way have all been told to stop, and
// have ended, and returns how long after since they had been told.
func (w *world) awaitStopped(holders map[string]written, since time.Duration, what string) (after time.Duration) {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.showRuns(holders, since)
		}
	}()
	w.await(what, func() bool {
		after = w.stoppedAfter(holders, since)
		return after >= 0
	})
	return after
}

// showRuns prints what is known of the last runs of jobs, with times that count from
// since.
func (w *world) showRuns(holders map[string]written, since time.Duration) {
	records, err := verify.ReadFiles(w.records())
	require.NoError(w.t, err)
	runs, err := verify.Runs(records)
	require.NoError(w.t, err)
	for job, held := range holders {
		w.t.Logf("%s was run by %s with token %d, which last wrote at %v", job, held.process, held.token, held.at-since)
		for _, r := range runs {
			if r.Job == job && r.End > since-5*time.Second {
				w.t.Logf("  %s, token %d: from %v to %v, ended %v, told %v at %v", r.Process, r.Token, r.Start-since, r.End-since, r.Ended, r.Told, r.Stop-since)
			}
		}
	}
}

// toldTogether requires that the runs that were under way were all told to stop
// within a moment: the first one waits for no other.
func (w *world) toldTogether(holders map[string]written) {
	w.t.Helper()
	var first, last time.Duration
	told := 0
	require.Eventually(w.t, func() bool { // they note it a moment later
		records, err := verify.ReadFiles(w.records())
		require.NoError(w.t, err)
		runs, err := verify.Runs(records)
		require.NoError(w.t, err)
		told = 0
		for _, r := range runs {
			if r.Token != holders[r.Job].token || !r.Told {
				continue
			}
			if told++; told == 1 || r.Stop < first {
				first = r.Stop
			}
			last = max(last, r.Stop)
		}
		return told == len(holders)
	}, patience, 10*time.Millisecond, "all jobs are told to stop")
	w.t.Logf("%d jobs were told to stop within %v of one another", told, (last - first).Round(100*time.Microsecond))
	require.LessOrEqual(w.t, last-first, together+w.stalls.Worst())
}

// documents returns the keys of what a session of n has written that claims the
// first job.
func (w *world) documents(n *node) (node, claims string) {
	w.t.Helper()
	w.history.look(func(p *picture) { claims = p.document(n.name, w.jobNames[0]) })
	require.NotEmpty(w.t, claims, "%s claims %s", n.name, w.jobNames[0])
	return "nodes/" + strings.Split(claims, "/")[1], claims
}

// put writes a document as it is told to, whatever is there.
func (w *world) put(key string, value []byte) {
	w.t.Helper()
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		resp, err := c.Put(ctx, w.app+"/"+key, string(value))
		if err == nil {
			w.done(resp.Header.Revision)
		}
		return err
	})
}

// change replaces a document by what f makes of it, if it is there.
func (w *world) change(key string, f func(value []byte) []byte) {
	w.t.Helper()
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		for ctx.Err() == nil {
			resp, err := c.Get(ctx, w.app+"/"+key)
			if err != nil || len(resp.Kvs) == 0 {
				return errors.Join(err, ctx.Err())
			}
			changed, err := c.Txn(ctx).
				If(clientv3.Compare(clientv3.ModRevision(w.app+"/"+key), "=", resp.Kvs[0].ModRevision)).
				Then(clientv3.OpPut(w.app+"/"+key, string(f(resp.Kvs[0].Value)))).Commit()
			if err != nil {
				return err
			}
			if changed.Succeeded {
				w.done(changed.Header.Revision)
				return nil
			}
		}
		return ctx.Err()
	})
}

// edit changes fields of a document, as somebody would who knows the format.
func (w *world) edit(key string, fields map[string]any) {
	w.t.Helper()
	w.change(key, func(value []byte) []byte {
		edited, err := edit(key, value, fields)
		require.NoError(w.t, err)
		return edited
	})
}

// touch writes a document again as it is.
func (w *world) touch(key string) {
	w.t.Helper()
	w.change(key, func(value []byte) []byte { return value })
}

func (w *world) delete(key string) {
	w.t.Helper()
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		resp, err := c.Delete(ctx, w.app+"/"+key)
		if err == nil && resp.Deleted != 1 {
			err = fmt.Errorf("there is no document %s", key)
		}
		if err == nil {
			w.done(resp.Header.Revision)
		}
		return err
	})
}

// deleteAll deletes what has a key that begins with prefix.
func (w *world) deleteAll(prefix string) {
	w.t.Helper()
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		resp, err := c.Delete(ctx, w.app+"/"+prefix, clientv3.WithPrefix())
		if err == nil {
			w.done(resp.Header.Revision)
		}
		return err
	})
}

// done takes note of a revision that we have made, and waits until the history has
// come to it.
func (w *world) done(rev int64) {
	w.t.Helper()
	w.history.mine(rev)
	w.await("the history has come to what was done", func() bool { return w.history.last() >= rev })
}

// awaitHeartbeat waits for the next heartbeat of a node.
func (w *world) awaitHeartbeat(key string) {
	w.t.Helper()
	before := len(w.history.versions(key))
	w.await("a heartbeat", func() bool { return len(w.history.versions(key)) > before })
}

// awaitVoid waits until a session has ended for everybody.
func (w *world) awaitVoid(key string) {
	w.t.Helper()
	id := strings.TrimPrefix(key, "nodes/")
	w.await(key+" is void", func() (void bool) {
		w.history.look(func(p *picture) { void = p.nodes[id].void })
		return void
	})
}

// operate does what an operator does, who sees all of etcd.
func (w *world) operate(do func(context.Context, *clientv3.Client) error) {
	w.t.Helper()
	began := monotonic()
	defer func() { w.operated += monotonic() - began }()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	require.NoError(w.t, do(ctx, w.cluster.client))
}

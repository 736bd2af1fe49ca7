//go:build unix

package faults

import (
	"context"
	"fmt"
	"strconv"
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

// leases returns the current leases of a node, by its candidate keys.
func (w *world) leasesOf(n *node) map[string]clientv3.LeaseID {
	out := map[string]clientv3.LeaseID{}
	for _, e := range w.history.seen() {
		_, lease, ok := strings.Cut(e.key, "/leader/")
		if !ok {
			continue
		}
		if e.deleted {
			delete(out, e.key)
			continue
		}
		if instanceOf(e.value) == n.name {
			id, err := strconv.ParseInt(lease, 16, 64)
			require.NoError(w.t, err)
			out[e.key] = clientv3.LeaseID(id)
		}
	}
	return out
}

func (w *world) leaseOf(n *node, job string) string {
	for key := range w.leasesOf(n) {
		if of, lease, _ := strings.Cut(key, "/leader/"); of == job {
			return lease
		}
	}
	require.FailNow(w.t, fmt.Sprintf("%s has no candidate for %s", n.name, job))
	return ""
}

// nodeKeys returns the node keys that there are, or, if ever, that there have
// been: those of n, or all if n is nil.
func (w *world) nodeKeys(n *node, ever bool) map[string]bool {
	out := map[string]bool{}
	for _, e := range w.history.seen() {
		switch {
		case !strings.HasPrefix(e.key, "node/"):
		case !e.deleted && (n == nil || instanceOf(e.value) == n.name):
			out[e.key] = true
		case e.deleted && !ever:
			delete(out, e.key)
		}
	}
	return out
}

// revoke takes the leases of a node away.
func (w *world) revoke(n *node) {
	revoked := map[clientv3.LeaseID]bool{}
	for _, id := range w.leasesOf(n) {
		if revoked[id] {
			continue
		}
		revoked[id] = true
		w.operate(func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Revoke(ctx, id)
			return err
		})
	}
	require.NotEmpty(w.t, revoked)
}

func (w *world) delete(key string) {
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		resp, err := c.Delete(ctx, w.app+"/"+key)
		if err == nil && resp.Deleted != 1 {
			err = fmt.Errorf("there is no key %s", key)
		}
		return err
	})
}

func (w *world) deleteAll() {
	w.operate(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, w.app+"/", clientv3.WithPrefix())
		return err
	})
}

// awaitHeartbeat waits for the next heartbeat of a node.
func (w *world) awaitHeartbeat(lease string) {
	w.t.Helper()
	beats := func() (n int) {
		for _, e := range w.history.seen() {
			if e.key == "node/"+lease {
				n++
			}
		}
		return n
	}
	before := beats()
	w.await("a heartbeat", func() bool { return beats() > before })
}

// operate does what an operator does, who sees all of etcd.
func (w *world) operate(do func(context.Context, *clientv3.Client) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	require.NoError(w.t, do(ctx, w.cluster.client))
}

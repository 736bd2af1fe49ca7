//go:build unix

package faults

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/verify"
)

// backup is what an administrator puts in place of the data of etcd.
type backup struct {
	name      string
	none      bool // but nothing: etcd starts without data
	overtaken bool // and its revisions go on behind the last one seen, as with etcdutl's --bump-revision
	compacted bool // and nothing before is known, as with --mark-compacted
}

var backups = []backup{
	{name: "as it was"},
	{name: "overtaken", overtaken: true},
	{name: "overtaken and compacted", overtaken: true, compacted: true},
	{name: "none", none: true},
}

// A backup of etcd is put back while nodes run. What the backup says is wrong: the
// leader in it has stopped, and it knows nothing of the one that works, which may be
// cut off. All notice, and wait until nobody can be working. Tokens begin anew
// unless the revisions have overtaken those that were seen.
func TestABackupPutBackUnderRunningNodes(t *testing.T) {
	t.Parallel()
	for _, b := range backups {
		t.Run(b.name+", the leader cut off", func(t *testing.T) { b.try(t, true) })
		if *long {
			t.Run(b.name, func(t *testing.T) { b.try(t, false) })
		}
	}
}

func (b backup) try(t *testing.T, alone bool) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 4 * time.Second})
	first := w.start(0)
	w.awaitRunning()
	w.start(2)
	w.awaitCandidates(2)
	w.began = monotonic()
	saved := w.save()
	second := w.start(1)
	w.stop(w.nodes[2])
	w.start(2) // behind the second
	w.awaitCandidates(3)
	before := w.holders()
	w.stop(first)
	w.awaitTaken(before)
	require.Equal(t, second, w.holder())
	w.start(0)
	w.awaitCandidates(3)

	before = w.holders()
	if alone {
		second.each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
	}
	w.putBack(saved, b)
	w.awaitTaken(before)
	second.each((*link.Link).Heal)
	time.Sleep(w.ttl)
	w.awaitRunning()

	until := monotonic()
	v := verdict{}
	v.report, v.runs = w.end()
	for _, x := range v.report.Violations {
		require.NotEqual(t, verify.Overlap, x.Kind, "O1: %s", x)
	}
	v.longest = w.longestGap(v, until)
	t.Logf("longest gap %v (bound %v)", v.longest.Round(time.Millisecond), lossAndReturn(w))
	require.LessOrEqual(t, v.longest, lossAndReturn(w)+w.stalls.Worst(), "O4")
}

// save takes a copy of the data of the only member, as a crash would leave it.
func (w *world) save() (dir string) {
	m := w.cluster.members[0]
	dir = filepath.Join(w.dir, "backup")
	m.Pause()
	defer m.Resume()
	require.NoError(w.t, os.CopyFS(dir, os.DirFS(m.config.Dir)))
	return dir
}

// putBack puts a copy in place of the data of the only member. No node sees it
// before it is complete. From then on the register takes any token, and there is no
// history.
func (w *world) putBack(dir string, b backup) {
	w.register.unfence()
	seen := w.history.last()
	w.history.close()
	for _, n := range w.nodes {
		n.each((*link.Link).Cut)
		n.each((*link.Link).HoldUp)
	}
	m := w.cluster.members[0]
	m.Kill()
	require.NoError(w.t, os.RemoveAll(m.config.Dir))
	if !b.none {
		require.NoError(w.t, os.CopyFS(m.config.Dir, os.DirFS(dir)))
	}
	require.NoError(w.t, m.start())
	require.NoError(w.t, w.cluster.await(w.ctx))
	if b.overtaken {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		require.NoError(w.t, overtake(ctx, w.cluster.client, seen+100, b.compacted))
	}
	for _, n := range w.nodes {
		if n != w.nodes[1] {
			n.each((*link.Link).Heal)
		}
	}
}

// overtake makes revisions until there is rev, and forgets those before if compact.
func overtake(ctx context.Context, c *clientv3.Client, rev int64, compact bool) error {
	for {
		resp, err := c.Put(ctx, "bump", "")
		if err != nil {
			return err
		}
		if resp.Header.Revision < rev {
			continue
		}
		if compact {
			_, err = c.Compact(ctx, resp.Header.Revision)
		}
		return err
	}
}

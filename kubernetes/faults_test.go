//go:build unix

package kubernetes

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/verify"
)

// A node that is lost, or cut off, in any way: its jobs run elsewhere, and never in
// two places.
func TestFaultsOfNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	for name, do := range map[string]func(n *nodetest.Node){
		"killed":              func(n *nodetest.Node) { n.Kill() },
		"stopped":             func(n *nodetest.Node) { _ = n.End(20 * time.Second) },
		"cut off":             func(n *nodetest.Node) { n.Each(func(l *link.Link) { l.HoldUp(); l.HoldDown() }) },
		"hears nothing":       func(n *nodetest.Node) { n.Each((*link.Link).HoldDown) },
		"connections refused": func(n *nodetest.Node) { n.Each((*link.Link).Refuse) },
		"frozen":              func(n *nodetest.Node) { n.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := nodetest.Start(t, []string{c.apis[0].addr}, 3*time.Second)
			before, n := w.Holders(), w.Leader()
			do(n)
			w.AwaitTaken(before)
			n.Each((*link.Link).Heal)
			n.Resume()
			if !n.Running() {
				w.Start(n)
			}
			w.AwaitRunning()
			w.Hold()
		})
	}
}

// All that happens to servers ends leases at worst, and they come back.
func TestFaultsOfServers(t *testing.T) {
	for name, do := range map[string]func(c *cluster, w *nodetest.World){
		"the API server is restarted": func(c *cluster, _ *nodetest.World) {
			c.apis[0].Kill()
			c.startAPI(c.apis[0])
			c.ready(c.apis[0])
		},
		"the API server is frozen": func(c *cluster, w *nodetest.World) {
			before := w.Holders()
			c.apis[0].Pause()
			w.AwaitEnded(before)
			c.apis[0].Resume()
		},
		"etcd is restarted": func(c *cluster, _ *nodetest.World) {
			c.etcd.Kill()
			c.startETCD("etcd")
		},
		"etcd is frozen": func(c *cluster, w *nodetest.World) {
			before := w.Holders()
			c.etcd.Pause()
			w.AwaitEnded(before)
			c.etcd.Resume()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 1)
			w := nodetest.Start(t, []string{c.apis[0].addr}, 3*time.Second)
			do(c, w)
			w.AwaitRunning()
			w.Hold()
		})
	}
}

// An API server whose etcd was put back to a backup shows for a while what is lost,
// keeps watches open that lack what happens now, and takes writes on lost revisions.
func TestETCDRolledBackEndsAllLeases(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	w := nodetest.Start(t, []string{c.apis[0].addr}, 3*time.Second)
	c.etcd.Kill()
	require.NoError(t, os.CopyFS(filepath.Join(c.dir, "backup"), os.DirFS(filepath.Join(c.dir, "etcd"))))
	c.startETCD("etcd")
	c.advance(20)
	w.AwaitRunning()
	before := w.Holders()
	c.etcd.Kill()
	c.startETCD("backup")
	w.AwaitEnded(before)
	w.AwaitRunning()
	w.Hold(verify.TokenOrder, verify.TokenReuse)
}

// advance waits until there have been more changes.
func (c *cluster) advance(changes int64) {
	s, err := c.config(0).open(context.Background(), distributed.LeaseRequest{})
	require.NoError(c.t, err)
	defer s.Close()
	first := int64(0)
	require.Eventually(c.t, func() bool {
		at, err := s.(*store).position(context.Background())
		if first == 0 {
			first = at
		}
		return err == nil && at >= first+changes
	}, time.Minute, 50*time.Millisecond)
}

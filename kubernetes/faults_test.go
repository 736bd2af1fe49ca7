//go:build unix

package kubernetes

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/verify"
)

// A node that is lost, or cut off, in any way: its jobs run elsewhere, and never in
// two places.
func faultsOfNodes(t *testing.T, c *cluster) {
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
			w := nodetest.Start(t, []string{c.Servers[0].Addr}, 3*time.Second)
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
	t.Parallel()
	c := startCluster(t, 1)
	w := nodetest.Start(t, []string{c.Servers[0].Addr}, 3*time.Second)
	for _, fault := range []func(){
		func() { c.restartAPI() },
		func() {
			before := w.Holders()
			c.Servers[0].Pause()
			w.AwaitEnded(before)
			c.Servers[0].Resume()
		},
		func() {
			c.ETCD.Kill()
			c.startETCD("etcd")
		},
		func() {
			before := w.Holders()
			c.ETCD.Pause()
			w.AwaitEnded(before)
			c.ETCD.Resume()
		},
	} {
		fault()
		w.AwaitRunning()
	}
	w.Hold()
}

// Nodes that are on several API servers elect one another's leaders, and those of a
// server that is gone stop in time.
func TestNodesOnTwoServers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	w := nodetest.Start(t, []string{c.Servers[0].Addr, c.Servers[1].Addr}, 3*time.Second)
	before := w.Holders() // on the first server, as is the third node
	c.Servers[0].Kill()
	w.AwaitTaken(before)
	require.NoError(t, c.StartServer(c.Servers[0]))
	before = w.Holders()
	c.Servers[1].Kill()
	w.AwaitTaken(before)
	require.NoError(t, c.StartServer(c.Servers[1]))
	w.AwaitRunning()
	w.Hold()
}

// An API server whose etcd was put back to a backup shows what is lost until it is
// restarted, keeps watches open that lack what happens now, and takes writes on lost
// revisions. Nodes notice it.
func TestETCDRolledBackEndsAllLeases(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	w := nodetest.Start(t, []string{c.Servers[0].Addr}, 3*time.Second)
	c.ETCD.Kill()
	require.NoError(t, os.CopyFS(filepath.Join(c.Dir, "backup"), os.DirFS(filepath.Join(c.Dir, "etcd"))))
	c.startETCD("etcd")
	w.AwaitRunning()
	c.advance(t, 20)
	before := w.Holders()
	c.ETCD.Kill()
	c.startETCD("backup")
	w.AwaitEnded(before)
	c.restartAPI()
	w.AwaitRunning()
	w.Hold(verify.TokenOrder, verify.TokenReuse)
}

func (c *cluster) restartAPI() {
	c.Servers[0].Kill()
	require.NoError(c.t, c.StartServer(c.Servers[0]))
}

func (c *cluster) startETCD(data string) { require.NoError(c.t, c.StartETCD(data)) }

// advance waits until there have been more changes.
func (c *cluster) advance(t *testing.T, changes int64) {
	s := c.open(t)
	defer s.Close()
	first, err := s.position(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		at, err := s.position(t.Context())
		return err == nil && at >= first+changes
	}, time.Minute, 50*time.Millisecond)
}

//go:build unix

package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/verify"
)

// member is the role of a server, in a process that can be killed and frozen.
const member = "member"

func runRole() {
	nodetest.RunRole(func(servers []string, opts ...distributed.LeaseOption) distributed.LeaseProvider {
		config := Config{Options: []nats.Option{nats.IgnoreDiscoveredServers()}, Replicas: 1}
		for _, s := range servers {
			config.Servers = append(config.Servers, "nats://"+s)
		}
		return NewLeaseProvider(config, opts...)
	}, map[string]process.Role{member: func(config []byte) error {
		process.ExitWhenOrphaned()
		var o memberConfig
		if err := json.Unmarshal(config, &o); err != nil {
			return err
		}
		s, err := server.NewServer(o.options())
		if err != nil {
			return err
		}
		s.Start()
		select {} // it is killed
	}})
}

// killable is a cluster whose members are processes.
type killable struct {
	t       *testing.T
	configs []memberConfig
	members []*process.Process
	conn    *nats.Conn
	js      jetstream.JetStream
}

func startKillable(t *testing.T, members int) *killable {
	k := &killable{t: t, members: make([]*process.Process, members)}
	var urls []string
	k.configs = memberConfigs(t, members)
	for i := range members {
		k.configs[i].Sync = true // two that are killed would lose what was confirmed
		k.start(i)
		urls = append(urls, "nats://"+k.configs[i].addr())
	}
	t.Cleanup(func() {
		for _, m := range k.members {
			m.Kill()
		}
	})
	var err error
	require.Eventually(t, func() bool {
		k.conn, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.PingInterval(500*time.Millisecond), nats.Timeout(time.Second))
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	t.Cleanup(k.conn.Close)
	k.js, err = jetstream.New(k.conn)
	require.NoError(t, err)
	config := Config{Stream: "distributed", Replicas: members}
	require.Eventually(t, func() bool { // as soon as there is a leader
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err = k.js.CreateStream(ctx, config.wanted())
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	return k
}

func (k *killable) start(i int) {
	var err error
	k.members[i], err = process.Start(member, k.configs[i], os.Stderr)
	require.NoError(k.t, err)
}

func (k *killable) addrs() (addrs []string) {
	for _, c := range k.configs {
		addrs = append(addrs, c.addr())
	}
	return addrs
}

// leader waits until the stream has a leader other than that, and returns it.
func (k *killable) leader(other int) (leader int) {
	require.Eventually(k.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		stream, err := k.js.Stream(ctx, "distributed")
		if err != nil {
			return false
		}
		_, err = fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "m%d", &leader)
		return err == nil && leader != other
	}, time.Minute, 50*time.Millisecond)
	return leader
}

// A node that is lost, or cut off, in any way: its jobs run elsewhere, and never in
// two places.
func TestFaultsOfNodes(t *testing.T) {
	t.Parallel()
	k := startKillable(t, 3)
	for name, do := range map[string]func(w *nodetest.World, n *nodetest.Node){
		"killed":  func(_ *nodetest.World, n *nodetest.Node) { n.Kill() },
		"stopped": func(_ *nodetest.World, n *nodetest.Node) { _ = n.End(20 * time.Second) },
		"cut off": func(_ *nodetest.World, n *nodetest.Node) {
			n.Each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
		},
		"not heard":           func(_ *nodetest.World, n *nodetest.Node) { n.Each((*link.Link).HoldUp) },
		"hears nothing":       func(_ *nodetest.World, n *nodetest.Node) { n.Each((*link.Link).HoldDown) },
		"connections refused": func(_ *nodetest.World, n *nodetest.Node) { n.Each((*link.Link).Refuse) },
		"frozen":              func(_ *nodetest.World, n *nodetest.Node) { n.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := nodetest.Start(t, k.addrs(), 2*time.Second)
			before, n := w.Holders(), w.Leader()
			do(w, n)
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
	t.Run("disturbed for a moment", func(t *testing.T) {
		t.Parallel()
		w := nodetest.Start(t, k.addrs(), 4*time.Second)
		before, n := w.Holders(), w.Leader()
		for range 3 {
			n.Each((*link.Link).Cut)
			w.AwaitRunning()
			n.Each((*link.Link).Silence)
			w.AwaitRunning()
		}
		w.Unmoved(before)
		w.Hold()
	})
}

// All that happens to servers ends leases at worst, and they come back.
func TestFaultsOfServers(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name    string
		servers int
		do      func(k *killable, w *nodetest.World)
	}{
		{"the only one is killed", 1, func(k *killable, _ *nodetest.World) {
			k.members[0].Kill()
			k.start(0)
		}},
		{"the only one is frozen", 1, func(k *killable, w *nodetest.World) {
			before := w.Holders()
			k.members[0].Pause()
			w.AwaitEnded(before)
			k.members[0].Resume()
		}},
		{"the leader is killed", 3, func(k *killable, _ *nodetest.World) {
			i := k.leader(-1)
			k.members[i].Kill()
			k.leader(i)
			k.start(i)
		}},
		{"the leader is frozen", 3, func(k *killable, _ *nodetest.World) {
			i := k.leader(-1)
			k.members[i].Pause()
			k.leader(i)
			k.members[i].Resume()
		}},
		{"the leader steps down", 3, func(k *killable, w *nodetest.World) {
			for range 3 {
				require.Eventually(k.t, func() bool {
					_, err := k.conn.Request("$JS.API.STREAM.LEADER.STEPDOWN.distributed", nil, time.Second)
					return err == nil
				}, time.Minute, 50*time.Millisecond)
				w.AwaitRunning()
			}
		}},
		{"each is restarted", 3, func(k *killable, w *nodetest.World) {
			for i := range k.members {
				k.members[i].Kill()
				k.start(i)
				k.leader(-1)
				w.AwaitRunning()
			}
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			k := startKillable(t, fault.servers)
			w := nodetest.Start(t, k.addrs(), 2*time.Second)
			fault.do(k, w)
			w.AwaitRunning()
			w.Hold()
		})
	}
}

// A stream that somebody has deleted, or put back from a backup, is another
// history: the leases end.
func TestAnotherHistoryEndsAllLeases(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(k *killable){
		"the stream is deleted and made anew": func(k *killable) {
			require.NoError(k.t, k.js.DeleteStream(k.t.Context(), "distributed"))
			_, err := k.js.CreateStream(k.t.Context(), (&Config{Stream: "distributed", Replicas: 1}).wanted())
			require.NoError(k.t, err)
		},
		"a backup is restored": func(k *killable) {
			dir, backup := k.configs[0].Dir, filepath.Join(k.t.TempDir(), "backup")
			restart := func(from, to string) {
				k.members[0].Kill()
				require.NoError(k.t, os.RemoveAll(to))
				require.NoError(k.t, os.CopyFS(to, os.DirFS(from)))
				k.start(0)
			}
			restart(dir, backup)
			at := k.position(0)
			k.position(at + 20)
			restart(backup, dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKillable(t, 1)
			w := nodetest.Start(t, k.addrs(), 2*time.Second)
			before := w.Holders()
			replace(k)
			w.AwaitEnded(before)
			w.AwaitRunning()
			require.Contains(t, w.Logs(), "level=WARN msg=\"lease lost")
			w.Hold(verify.TokenOrder, verify.TokenReuse)
		})
	}
}

// position waits until the stream has got there, and returns where it is.
func (k *killable) position(least uint64) (at uint64) {
	require.Eventually(k.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		stream, err := k.js.Stream(ctx, "distributed")
		if err == nil {
			at = stream.CachedInfo().State.LastSeq
		}
		return err == nil && at >= least
	}, time.Minute, 50*time.Millisecond)
	return at
}

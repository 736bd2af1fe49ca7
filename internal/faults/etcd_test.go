package faults

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// election is how long etcd may be without a leader: three election timeouts.
const election = 6 * time.Second

// These faults break etcd itself, so each has a cluster of its own. The bound of
// a gap is that of a crash and the time for which etcd was away.

func TestETCDLeaderKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 3 * time.Second})
	w.startAll()
	for range times(1, 5) {
		leader := w.etcdLeader(nil)
		leader.kill()
		w.etcdLeader(leader)
		w.awaitRunning()
		require.NoError(t, leader.start())
		w.awaitRunning()
	}
	w.hold(w.gapAfterLoss()+election, false)
}

// A paused etcd leader is deposed. When it is woken after more than the TTL of
// the leases, it may revoke them, although the new leader has renewed them: the
// library's own clocks and heartbeats must make up for that.
func TestETCDLeaderPausedForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 1, leases: 10, ttl: 3 * time.Second, linger: 100 * time.Millisecond})
	w.startAll()
	revoked, tries := 0, 0
	for range times(2, 30) {
		tries++
		leader := w.etcdLeader(nil)
		before := len(torn(w.history.seen(), w.ttl))
		leader.pause()
		time.Sleep(w.ttl + w.ttl/2)
		leader.resume()
		time.Sleep(2 * time.Second)
		if len(torn(w.history.seen(), w.ttl)) > before {
			revoked++
		}
		w.awaitRunning()
	}
	v := w.hold(w.gapAfterLoss()+election, false)
	t.Logf("%d pauses: in %d of them etcd revoked leases of live nodes, %d leases in all", tries, revoked, len(torn(v.events, w.ttl)))
}

func TestETCDMemberPaused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 3 * time.Second})
	w.startAll()
	before := w.holders()
	leader := w.etcdLeader(nil)
	for _, m := range c.members {
		if m != leader {
			m.pause()
			time.Sleep(2 * w.ttl)
			m.resume()
			break
		}
	}
	w.unmoved(before)
	w.hold(silence, false)
}

// Without a quorum nobody can renew anything: all nodes stop in time, and go on
// when etcd does.
func TestETCDQuorumAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := newWorld(t, c, options{jobs: 3})
	w.startAll()
	for _, m := range c.members[:2] {
		m.pause()
	}
	away := 2 * w.ttl
	time.Sleep(away)
	for _, m := range c.members[:2] {
		m.resume()
	}
	w.etcdLeader(nil)
	time.Sleep(w.ttl)
	w.awaitRunning()
	w.hold(away+w.gapAfterLoss()+election, false)
}

func TestETCDRestarted(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]time.Duration{"at-once": 0, "after-more-than-the-lease": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, nil)
			w := newWorld(t, c, options{jobs: 3})
			w.startAll()
			for _, m := range c.members {
				m.kill()
			}
			time.Sleep(away)
			for _, m := range c.members {
				require.NoError(t, m.start())
			}
			require.NoError(t, c.await(w.ctx))
			time.Sleep(w.ttl)
			w.awaitRunning()
			w.hold(away+w.gapAfterLoss()+election, false)
		})
	}
}

// What the watch has missed may have been compacted away. Then the node lists,
// and must not take what it cannot see any more for nothing.
func TestCompactionWhileTheWatchIsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := newWorld(t, c, options{jobs: 3, ttl: 4 * time.Second})
	leader := w.startAll()
	before := w.holders()
	for _, victim := range []*node{w.nodes[1], leader} {
		victim.each((*Link).HoldDown)
		time.Sleep(w.ttl / 4)
		if victim == w.nodes[1] {
			w.revoke(leader) // unseen by one
		}
		time.Sleep(w.ttl / 8)
		w.operate(func(ctx context.Context, c *clientv3.Client) error {
			events, err := w.history.all(ctx, c)
			if err == nil {
				_, err = c.Compact(ctx, events[len(events)-1].rev)
			}
			return err
		})
		victim.each((*Link).Cut)
		victim.each((*Link).Heal)
		w.awaitTaken(before)
		w.awaitCandidates(len(w.nodes))
	}
	w.hold(w.gapAfterLoss(), false)
}

// etcdLeader waits for a leader other than the given member.
func (w *world) etcdLeader(other *Member) *Member {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	m, err := w.cluster.leader(ctx, other)
	require.NoError(w.t, err)
	return m
}

// times returns how often to repeat something, in short and in long.
func times(short, many int) int {
	if *long {
		return many
	}
	return short
}

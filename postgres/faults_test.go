//go:build unix

package postgres_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
)

// Of the nodes, the first runs all jobs. Its network, or its process, fails.
func TestNoJobRunsTwiceWhateverHappensToANode(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	pooler, _ := s.bouncer("transaction")
	for _, fault := range []struct {
		name string
		do   func(w *world, leader *node)
	}{
		{"stopped", func(w *world, leader *node) {
			before := w.awaitRunning()
			require.NoError(w.t, leader.End(20*time.Second))
			w.awaitElsewhere(before, leader)
		}},
		{"killed", func(w *world, leader *node) {
			before := w.awaitRunning()
			leader.Kill()
			w.awaitElsewhere(before, leader)
		}},
		{"cut off", cutOff(func(l *link.Link) { l.HoldUp(); l.HoldDown() })},
		{"cut off one way", cutOff((*link.Link).HoldDown)},
		{"refused", cutOff((*link.Link).Refuse)},
		{"a blip", func(w *world, leader *node) {
			for range 5 {
				leader.link.Cut()
				time.Sleep(shortTTL / 8)
			}
		}},
		{"silenced connections", func(w *world, leader *node) {
			for range 3 {
				leader.link.Silence()
				w.awaitRunning()
				time.Sleep(shortTTL / 2)
			}
		}},
		{"frozen", func(w *world, leader *node) {
			before := w.awaitRunning()
			leader.Pause()
			w.awaitElsewhere(before, leader)
			leader.Resume()
			time.Sleep(shortTTL / 2)
		}},
		{"all frozen in turn", func(w *world, _ *node) {
			for i := range 12 {
				n := w.nodes[i%3]
				n.Pause()
				time.Sleep(shortTTL / 4 * time.Duration(i%4+1) / 2)
				n.Resume()
				time.Sleep(shortTTL / 10)
			}
		}},
	} {
		for path, addr := range map[string]string{"directly": s.addr, "through a pooler": pooler} {
			t.Run(fmt.Sprint(fault.name, " ", path), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, s.schema, addr)
				fault.do(w, w.nodes[0])
				w.hold()
			})
		}
	}
}

// cutOff makes a fault of what is done to the network of the node that runs all jobs:
// they go elsewhere, and the node comes back.
func cutOff(do func(*link.Link)) func(w *world, leader *node) {
	return func(w *world, leader *node) {
		before := w.awaitRunning()
		do(leader.link)
		w.awaitElsewhere(before, leader)
		leader.link.Heal()
		time.Sleep(shortTTL / 2)
	}
}

// The server, or what is in front of it, fails.
func TestNoJobRunsTwiceWhateverHappensToTheServer(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"stopped": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			w := newWorld(t, s.schema, s.addr)
			for _, away := range []time.Duration{0, shortTTL / 4, 2 * shortTTL} {
				s.stop(signal)
				time.Sleep(away)
				s.start()
				w.awaitRunning()
			}
			w.hold()
		})
	}
	t.Run("frozen", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		w := newWorld(t, s.schema, s.addr)
		for _, away := range []time.Duration{shortTTL / 4, 2 * shortTTL} {
			s.signal(syscall.SIGSTOP)
			time.Sleep(away)
			s.signal(syscall.SIGCONT)
			w.awaitRunning()
		}
		w.hold()
	})
}

// A pooler that is frozen holds its connections to the server.
func TestNoJobRunsTwiceWhenThePoolerOfANodeIsFrozen(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			addr, signal := s.bouncer(mode)
			w := emptyWorld(t, s.schema, shortTTL)
			w.add(linkTo(t, addr))
			w.add(s.link())
			before := w.awaitRunning()
			signal(syscall.SIGSTOP)
			w.awaitElsewhere(before, w.nodes[0])
			signal(syscall.SIGCONT)
			time.Sleep(shortTTL / 2)
			w.hold()
		})
	}
}

// Connections that are cut cost no leadership, nor does a server that loses nothing and is
// back in time.
func TestAShortOutageEndsNoLeadership(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	w := emptyWorld(t, s.schema, 24*time.Second)
	for range 2 {
		w.add(s.link())
	}
	before := w.awaitRunning()
	for range 5 {
		for _, n := range w.nodes {
			n.link.Cut()
		}
		time.Sleep(shortTTL / 8)
	}
	s.stop(syscall.SIGKILL)
	s.start()
	w.awaitBeats(s)
	w.awaitBeats(s)
	w.unmoved(before)
	w.hold()
}

// A failover to a standby that has not got the last changes is noticed, though it was too
// quick for any lease to run out, and also if the new history is the longer one by then.
func TestAFailoverThatLosesChangesEndsAllLeaderships(t *testing.T) {
	t.Parallel()
	for _, ahead := range []int{0, 100} {
		t.Run(fmt.Sprintf("ahead=%d", ahead), func(t *testing.T) {
			t.Parallel()
			w := failOver(t, 20*time.Second, ahead)
			w.say("lease lost")
			w.neverSay("no heartbeat came back in time")
			w.end()
		})
	}
}

func TestJobsRunOnAfterAFailover(t *testing.T) {
	t.Parallel()
	failOver(t, shortTTL, 0).hold()
}

// failOver lets two nodes run jobs on a server, and then on its standby, which has not got
// the last changes, but so many others.
func failOver(t *testing.T, ttl time.Duration, ahead int) *world {
	primary := newServer(t)
	standby, replication := primary.standby()
	way := standby.link() // which is closed until the standby is ready
	way.Refuse()
	w := emptyWorld(t, primary.schema, ttl)
	for range 2 {
		w.add(primary.link(), way.Addr())
	}
	at := primary.position()
	require.Eventually(t, func() bool { return standby.position() >= at }, time.Minute, 20*time.Millisecond)
	replication.Refuse()
	w.awaitBeats(primary) // which will be lost
	primary.stop(syscall.SIGKILL)
	standby.promote()
	standby.exec("SELECT S.put('ahead/' || i, 'value', 0) FROM generate_series(1, $1) i", ahead)
	way.Heal()
	return w
}

// position returns the revision of the last change that the server has, 0 if it does not say.
func (s *server) position() (rev int64) {
	_ = s.scan(&rev, "SELECT rev FROM S.counter")
	return rev
}

// beats returns the number of the last heartbeat of each node, nothing if the server does
// not say.
func (s *server) beats(app string) (beats map[string]int64) {
	_ = s.scan(&beats, "SELECT json_object_agg(key, (value::json->>'beat')::bigint) FROM S.document WHERE starts_with(key, $1) AND value IS NOT NULL", app+"/nodes/")
	return beats
}

// awaitBeats waits for a heartbeat of each node from now on.
func (w *world) awaitBeats(s *server) {
	w.t.Helper()
	before := s.beats(w.app)
	require.Eventually(w.t, func() bool {
		moved := 0
		for node, beat := range s.beats(w.app) {
			if beat > before[node] {
				moved++
			}
		}
		return moved >= len(w.nodes)
	}, time.Minute, 20*time.Millisecond)
}

package distributed

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// history builds the events of etcd revisions for a mirror, one call a revision.
type history struct {
	*mirror
	keys etcdKeys
	rev  int64
	now  time.Duration
}

func newHistory(self string) *history {
	keys := etcdKeys{prefix: "app/"}
	return &history{mirror: newMirror(keys, self, timing{ttl: 10 * time.Second, drift: 0.02}, memory{}), keys: keys}
}

func (h *history) put(key string, value any) keyEvent {
	return keyEvent{key: key, value: []byte(encode(value))}
}

func (h *history) del(key string) keyEvent { return keyEvent{key: key, deleted: true} }

func (h *history) revision(events ...keyEvent) {
	h.rev++
	for i := range events {
		events[i].mod, events[i].create = h.rev, h.rev
	}
	h.apply(events, h.now)
}

func (h *history) beat(lease string) {
	h.revision(h.put(h.keys.node(lease), nodeValue{Instance: lease, Beat: h.rev, TTL: 10, Drift: 0.02}))
}

func (h *history) join(lease string) {
	h.revision(h.put(h.keys.node(lease), nodeValue{Instance: lease, Beat: 1, TTL: 10, Drift: 0.02}), h.put(h.keys.alive(lease), aliveValue{}))
}

// stand gives lease, which has none yet, a candidacy for each job.
func (h *history) stand(lease string, jobs ...string) {
	events := []keyEvent{h.put(h.keys.alive(lease), aliveValue{Keys: len(jobs)})}
	for _, job := range jobs {
		events = append(events, h.put(h.keys.candidate(job, lease), candidateValue{}))
	}
	h.revision(events...)
}

func (h *history) leads(job string) bool { return h.mirror.leads(job, 0) }

func TestKeysOfAJobCannotBeTakenForOthers(t *testing.T) {
	keys := etcdKeys{prefix: "ns/app/"}
	for _, job := range []string{"a", "a/b", "node", "alive", "epoch", "leader", "node/leaders", "ünï/çødé", "/", "a/"} {
		require.NoError(t, validateJobName(job))
		kind, got, lease := keys.parse(keys.candidate(job, "7f"))
		require.Equal(t, candidateKey, kind, job)
		require.Equal(t, job, got)
		require.Equal(t, "7f", lease)
	}
	for key, want := range map[string]keyKind{
		keys.epoch(): epochKey, keys.node("7f"): nodeKey, keys.alive("7f"): aliveKey,
		"ns/app/": otherKey, "ns/app/x": otherKey, "ns/app/epochs": otherKey, "ns/app/node/": otherKey, "ns/apps/node/7f": otherKey, "ns/app//leader/7f": otherKey,
	} {
		kind, _, _ := keys.parse(key)
		require.Equal(t, want, kind, key)
	}
}

func TestTheLowestCreateRevisionLeads(t *testing.T) {
	h := newHistory("b")
	h.join("a")
	h.join("b")
	h.stand("a", "x")
	h.stand("b", "x")
	require.False(t, h.leads("x"), "a came first")
	h.revision(h.del(h.keys.candidate("x", "a")), h.put(h.keys.alive("a"), aliveValue{}))
	require.True(t, h.leads("x"), "a has let go")
	require.False(t, h.mirror.leads("x", h.rev), "a key older than our last release is not ours")
}

// Every way in which a candidate can go, and how long its place stays taken if
// its last heartbeat was seen at 1 s: not at all if its owner let go of it, until
// 1 s + 10 s + 2 % if not.
// Revisions of an etcd that has run for long, or was restored with --bump-revision,
// are further apart than an int of 32 bits can tell.
func TestTheLowestCreateRevisionLeadsHoweverFarTheyAreApart(t *testing.T) {
	h := newHistory("a")
	h.join("a")
	h.join("b")
	h.join("c")
	h.stand("a", "x")
	h.rev += 3 << 30
	h.stand("b", "x")
	h.rev += 1 << 32
	h.stand("c", "x")
	require.True(t, h.leads("x"))
	require.IsIncreasing(t, ranked(h.queues["x"]))

	h.revision(h.del(h.keys.candidate("x", "b")))
	h.rev++
	h.load(h.rev, []keyEvent{
		{key: h.keys.candidate("x", "a"), create: 4, mod: 4, value: []byte(encode(candidateValue{}))},
		{key: h.keys.candidate("x", "c"), create: h.rev - 2, mod: h.rev - 2, value: []byte(encode(candidateValue{}))},
	}, h.now)
	require.Len(t, h.queues["x"], 3, "with the ghost")
	require.IsIncreasing(t, ranked(h.queues["x"]))
}

func ranked(queue []candidate) (revs []int64) {
	for _, c := range queue {
		revs = append(revs, c.rev)
	}
	return revs
}

func TestOnlyACleanLossLetsOthersLeadAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		lose  func(h *history)
		clean bool
	}{
		"released": {func(h *history) {
			h.revision(h.del(h.keys.candidate("x", "a")), h.put(h.keys.alive("a"), aliveValue{}))
		}, true},
		"lease gone": {func(h *history) {
			h.revision(h.del(h.keys.alive("a")), h.del(h.keys.candidate("x", "a")))
		}, false},
		"lease gone after the node has drained": {func(h *history) {
			h.revision(h.put(h.keys.node("a"), nodeValue{TTL: 10, State: stateDrained}), h.del(h.keys.alive("a")))
			h.revision(h.del(h.keys.candidate("x", "a")))
		}, true},
		"key deleted by hand": {func(h *history) { h.revision(h.del(h.keys.candidate("x", "a"))) }, false},
		"all keys deleted by hand": {func(h *history) {
			h.revision(h.del(h.keys.alive("a")), h.del(h.keys.node("a")), h.del(h.keys.candidate("x", "a")))
		}, false},
		"node key deleted, then the lease gone": {func(h *history) {
			h.revision(h.del(h.keys.node("a")))
			h.revision(h.del(h.keys.alive("a")), h.del(h.keys.candidate("x", "a")))
		}, false},
		"another node wrote in that revision": {func(h *history) {
			h.revision(h.del(h.keys.candidate("x", "a")), h.put(h.keys.alive("b"), aliveValue{Keys: 1}))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory("b")
			h.join("a")
			h.join("b")
			h.stand("a", "x")
			h.stand("b", "x")
			h.now = time.Second
			h.beat("a")
			h.now = 3 * time.Second
			tc.lose(h)
			require.Equal(t, tc.clean, h.leads("x"))
			at, waiting := h.nextExpiry()
			require.Equal(t, !tc.clean, waiting)
			if waiting {
				require.Equal(t, 11200*time.Millisecond, at)
				h.expire(at - 1)
				require.False(t, h.leads("x"))
				jobs, _ := h.expire(at)
				require.Equal(t, []string{"x"}, jobs)
				require.True(t, h.leads("x"))
			}
		})
	}
}

func TestAnOwnerThatCleansUpEndsTheWait(t *testing.T) {
	for name, cleanUp := range map[string]func(h *history){
		"it has drained": func(h *history) { h.revision(h.put(h.keys.node("a"), nodeValue{TTL: 10, State: stateDrained})) },
		"it knows that its key is gone": func(h *history) {
			h.revision(h.put(h.keys.alive("a"), aliveValue{Seq: 2, Keys: 0}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory("b")
			h.join("a")
			h.join("b")
			h.stand("a", "x")
			h.stand("b", "x")
			h.revision(h.del(h.keys.candidate("x", "a")))
			require.False(t, h.leads("x"))
			cleanUp(h)
			require.True(t, h.leads("x"))
		})
	}
}

// A node that lists has not seen what was lost before. It must not lead while
// the listing shows that something was lost uncleanly: a lease that
// is gone shows in the missing alive key, and a candidate key deleted by hand in
// the number of keys that the owner last wrote down.
func TestAListingShowsWhetherAnythingWasLost(t *testing.T) {
	node := nodeValue{Instance: "a", Beat: 7, TTL: 10, Drift: 0.02}
	drained := node
	drained.State = stateDrained
	for name, tc := range map[string]struct {
		node  any
		alive any
		clean bool
	}{
		"whole":                  {node, aliveValue{Keys: 1}, true},
		"lease gone":             {node, nil, false},
		"a key deleted by hand":  {node, aliveValue{Keys: 2}, false},
		"drained":                {drained, nil, true},
		"node key unreadable":    {"what?", nil, false},
		"alive key unreadable":   {node, "what?", false},
		"node key gone, no loss": {nil, aliveValue{Keys: 1}, true},
		"foreign":                {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory("b")
			h.now = time.Second
			var listed []keyEvent
			add := func(key string, value any) {
				if value != nil {
					e := h.put(key, value)
					e.create, e.mod = int64(len(listed)+1), int64(len(listed)+1)
					listed = append(listed, e)
				}
			}
			add(h.keys.node("a"), tc.node)
			add(h.keys.alive("a"), tc.alive)
			add(h.keys.candidate("other", "a"), candidateValue{})
			h.load(20, listed, h.now)
			h.rev = 20
			h.join("b")
			h.stand("b", "x")
			require.Equal(t, tc.clean, h.leads("x"))
			if at, waiting := h.nextExpiry(); waiting {
				_, all := h.expire(at)
				require.True(t, all)
				require.True(t, h.leads("x"))
				require.GreaterOrEqual(t, at, 11200*time.Millisecond)
			}
		})
	}
}

// Whoever knew the app before sees that its epoch is another one: keys of nodes
// that are running have gone with it.
func TestAnotherEpochMakesANodeWait(t *testing.T) {
	keys := etcdKeys{prefix: "app/"}
	lease := timing{ttl: 5 * time.Second, drift: 0.02}
	epoch := func(rev int64) keyEvent { return keyEvent{key: keys.epoch(), create: rev, mod: rev} }
	start := func(known memory, listed ...keyEvent) *history {
		h := &history{mirror: newMirror(keys, "b", lease, known), keys: keys, rev: 20, now: time.Second}
		h.load(20, listed, h.now)
		h.join("b")
		h.stand("b", "x")
		return h
	}
	waits := func(t *testing.T, h *history, wait time.Duration) {
		t.Helper()
		require.False(t, h.leads("x"))
		at, waiting := h.nextExpiry()
		require.True(t, waiting)
		require.Equal(t, h.now+wait, at)
		_, all := h.expire(at)
		require.True(t, all)
		require.True(t, h.leads("x"))
	}
	t.Run("a process that knows nothing", func(t *testing.T) {
		h := start(memory{}, epoch(7))
		require.True(t, h.leads("x"))
		require.Equal(t, int64(7), h.known.epoch)
	})
	t.Run("the same", func(t *testing.T) {
		require.True(t, start(memory{epoch: 7}, epoch(7)).leads("x"))
	})
	t.Run("another", func(t *testing.T) {
		h := start(memory{epoch: 7}, epoch(19))
		require.Equal(t, int64(7), h.known.epoch, "a lease that ends before the wait must not shorten that of the next")
		waits(t, h, 5*time.Second*102/100)
		require.Equal(t, int64(19), h.known.epoch)
	})
	t.Run("none", func(t *testing.T) {
		waits(t, start(memory{epoch: 7}), 5*time.Second*102/100)
	})
	t.Run("another, and slower nodes before", func(t *testing.T) {
		waits(t, start(memory{epoch: 7, silence: time.Minute}, epoch(19)), time.Minute)
	})
	t.Run("deleted before our eyes", func(t *testing.T) {
		h := start(memory{}, epoch(7))
		h.revision(h.del(keys.candidate("x", "b")), h.del(keys.epoch()))
		h.stand("b", "x")
		waits(t, h, 10*time.Second*102/100) // for nodes like b, which has a longer TTL
		require.Equal(t, int64(7), h.known.epoch, "until there is another")
	})
	t.Run("listed again while waiting", func(t *testing.T) {
		h := start(memory{epoch: 7}, epoch(19))
		at, waiting := h.nextExpiry()
		require.True(t, waiting)
		h.load(h.rev, []keyEvent{epoch(19)}, h.now+time.Second)
		again, _ := h.nextExpiry()
		require.Equal(t, at, again)
	})
}

func TestADeadNodeIsForgotten(t *testing.T) {
	h := newHistory("b")
	h.join("a")
	h.join("b")
	h.stand("a", "x", "y")
	h.revision(h.del(h.keys.alive("a")), h.del(h.keys.candidate("x", "a")), h.del(h.keys.candidate("y", "a")))
	at, _ := h.nextExpiry()
	require.Empty(t, h.dead(at-1), "it may still be working")
	require.Len(t, h.dead(at), 1)
	jobs, _ := h.expire(at)
	require.ElementsMatch(t, []string{"x", "y"}, jobs)
	h.revision(h.del(h.keys.node("a")))
	require.Len(t, h.nodes, 1)
	require.Empty(t, h.queues)
}

// The cost of an event must not grow with the number of jobs.
func BenchmarkMirrorApply(b *testing.B) {
	for _, jobs := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			h := newHistory("b")
			h.join("a")
			h.join("b")
			for i := range jobs {
				h.revision(h.put(h.keys.candidate(fmt.Sprint(i), "a"), candidateValue{}))
			}
			for b.Loop() {
				h.revision(h.put(h.keys.candidate("x", "a"), candidateValue{}), h.put(h.keys.alive("a"), aliveValue{Keys: jobs + 1}))
				h.revision(h.del(h.keys.candidate("x", "a")), h.put(h.keys.alive("a"), aliveValue{Keys: jobs}))
			}
		})
	}
}

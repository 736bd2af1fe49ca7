package distributed

import (
	"sync"
	"time"
)

// simKeys are those of the app that is simulated.
var simKeys = keys{"app/"}

// simHistory is what others than the nodes have done to the documents.
type simHistory struct {
	mu       sync.Mutex
	noFresh  time.Time       // until then no process may begin, for it would know nothing
	restored time.Time       // until then what is led may be of a history that was replaced
	touched  map[string]bool // sessions whose documents somebody has edited
	all      bool            // everybody's documents were
}

// hold keeps processes from beginning for d, if cond agrees, which it reports.
func (h *simHistory) hold(d time.Duration, cond func() bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !cond() {
		return false
	}
	h.noFresh, h.all = time.Now().Add(d), true
	return true
}

// begins returns when the next process may.
func (h *simHistory) begins() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.noFresh
}

// replaced takes in that history was, as hold said.
func (h *simHistory) replaced() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restored = h.noFresh
}

func (h *simHistory) replacedUntil() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.restored
}

func (h *simHistory) editing(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, id, _ := simKeys.parse(key)
	h.touched[id] = true
}

// wasTouched reports whether a session's documents may be other than it left them.
func (h *simHistory) wasTouched(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all || h.touched[id]
}

// currentSession returns the last session of the present process, nil if it had none.
func (n *simNode) currentSession() *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.session
}

// doubtsStrangers reports whether anybody waits for a session of which it does not
// know the TTL.
func (s *etcdSimulation) doubtsStrangers() bool {
	for _, n := range s.nodes {
		if session := n.currentSession(); session != nil && session.doubtsStrangers() {
			return true
		}
	}
	return false
}

func (s *session) doubtsStrangers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.mirror.doubted {
		if d.quiet == 0 || d.doubt > s.clock.now()+d.quiet { // not known, or not when the doubt began
			return true
		}
	}
	return false
}

// Package memory is a store of documents in this process, for tests and
// development: all that is opened on a hub shares its documents. A hub can do to
// its users what networks and servers do: refuse, be slow, hold back what is sent
// or answered, cut connections, and forget history.
package memory

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed/internal/core"
)

const (
	// maxValue is the largest value that a hub takes, in bytes.
	maxValue = 1 << 20

	// maxHistory is how many changes a hub remembers at most. A follower that is
	// further behind gets a listing.
	maxHistory = 4096
)

var (
	// ErrClosed is the error of calls on a store that was closed.
	ErrClosed = errors.New("distributed: the store is closed")

	// ErrCut is the error of calls that were under way when [Hub.Cut] was called.
	ErrCut = errors.New("distributed: the connection was cut")

	// ErrTooLarge is the error of writes of more than 1 MiB.
	ErrTooLarge = errors.New("distributed: the value is larger than 1 MiB")
)

// Hub is a store in this process. The zero value is ready to use, needs no
// closing, and runs no goroutines. All methods are safe for concurrent use, and
// none blocks. A hub that is used inside a testing/synctest bubble belongs to that
// bubble.
type Hub struct {
	mu        sync.Mutex
	changes   int64                    // so far
	documents map[string]core.Document // that are there
	history   []core.Document          // one a revision, the last ones
	nodes     map[string]*node
	delay     time.Duration
	writes    int
	changed   chan struct{} // closed when there is news for a follower; nil while nobody waits
}

// node is what the hub does to one of its users. Guarded by the hub's mutex.
type node struct {
	refusal  error
	up, down gate
	cut      chan struct{} // closed when cut
}

// gate lets through while it is open, and keeps what comes while it is shut.
type gate struct {
	shut int
	held []func()
}

func (g *gate) pass(f func()) {
	if g.shut > 0 {
		g.held = append(g.held, f)
		return
	}
	f()
}

func (g *gate) open() {
	g.shut--
	for g.shut == 0 && len(g.held) > 0 {
		f := g.held[0]
		g.held = g.held[1:]
		f()
	}
}

// Open returns a store on the hub for the node of that name, which is what the
// methods of the hub know it by; several may have the same.
func (h *Hub) Open(name string) core.BatchStore {
	return &store{hub: h, name: name, closed: make(chan struct{})}
}

// Refuse makes the hub answer everything that a node asks with err, without doing
// it, and end what it follows. An empty name means all nodes; a nil err makes the
// hub accept again.
func (h *Hub) Refuse(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node(name).refusal = err
	h.wake()
}

// SetDelay makes everything that is asked of the hub from now on take d before it
// happens. By default, and with a negative d, it takes no time.
func (h *Hub) SetDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

// HoldRequests keeps what a node sends on its way until release is called, once:
// then it arrives, in order, also what the node has given up meanwhile.
func (h *Hub) HoldRequests(name string) (release func()) {
	return h.hold(name, func(n *node) *gate { return &n.up })
}

// HoldReplies keeps the answers to a node, and what it follows, until release is
// called, once.
func (h *Hub) HoldReplies(name string) (release func()) {
	return h.hold(name, func(n *node) *gate { return &n.down })
}

func (h *Hub) hold(name string, of func(*node) *gate) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := of(h.node(name))
	g.shut++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		g.open()
		h.wake()
	}
}

// Cut ends all calls of a node that are under way with [ErrCut]. What is held of
// their requests arrives all the same. New calls are possible at once.
func (h *Hub) Cut(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.node(name)
	close(n.cut)
	n.cut = make(chan struct{})
}

// Compact makes the hub forget the changes up to revision rev: who follows from
// before it gets a listing.
func (h *Hub) Compact(rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(int(rev - h.forgotten()))
}

// Writes returns how many writes have arrived at the hub, refused ones included.
func (h *Hub) Writes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes
}

// Documents returns what is there below prefix, sorted by key, and the revision
// of the last change. The values must not be changed.
func (h *Hub) Documents(prefix string) ([]core.Document, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.list(prefix), h.revision()
}

// The methods below are called with h.mu held.

func (h *Hub) node(name string) *node {
	if h.nodes == nil {
		h.nodes = map[string]*node{}
	}
	if h.nodes[name] == nil {
		h.nodes[name] = &node{cut: make(chan struct{})}
	}
	return h.nodes[name]
}

func (h *Hub) refusal(name string) error {
	if err := h.node(name).refusal; err != nil {
		return err
	}
	return h.node("").refusal
}

// revision is that of the last change; 1 before there is one, as 0 stands for none.
func (h *Hub) revision() int64 { return 1 + h.changes }

func (h *Hub) list(prefix string) []core.Document {
	var documents []core.Document
	for key, d := range h.documents {
		if strings.HasPrefix(key, prefix) {
			documents = append(documents, d)
		}
	}
	slices.SortFunc(documents, func(a, b core.Document) int { return strings.Compare(a.Key, b.Key) })
	return documents
}

// write does what a node has asked for.
func (h *Hub) write(name string, w core.Write) core.WriteResult {
	h.writes++
	if err := h.refusal(name); err != nil {
		return core.WriteResult{Err: err}
	}
	if len(w.Value) > maxValue {
		return core.WriteResult{Err: ErrTooLarge}
	}
	there := h.documents[w.Key] // at revision 0 if there is none
	if there.Revision != w.Revision {
		there.Key = w.Key
		return core.WriteResult{Err: &core.ConflictError{Key: w.Key, Known: true, There: there}}
	}
	if w.Value != nil || there.Revision != 0 {
		h.change(w.Key, w.Value)
	}
	return core.WriteResult{Revision: h.revision()}
}

func (h *Hub) change(key string, value []byte) {
	if h.documents == nil {
		h.documents = map[string]core.Document{}
	}
	h.changes++
	d := core.Document{Key: key, Value: value, Revision: h.revision()}
	if value == nil {
		delete(h.documents, key)
	} else {
		h.documents[key] = d
	}
	h.history = append(h.history, d)
	h.forget(len(h.history) - maxHistory)
	h.wake()
}

// forgotten is the revision of the last change that is not in the history.
func (h *Hub) forgotten() int64 { return h.revision() - int64(len(h.history)) }

func (h *Hub) forget(n int) {
	if n > 0 {
		h.history = h.history[min(n, len(h.history)):]
	}
}

// step returns the next step of a follower at position, if there is one.
func (h *Hub) step(prefix string, position int64) (core.Step, bool) {
	if position == 0 || position < h.forgotten() || position > h.revision() {
		return core.Step{Revision: h.revision(), Whole: true, Documents: h.list(prefix)}, true
	}
	for _, d := range h.history[position-h.forgotten():] {
		if strings.HasPrefix(d.Key, prefix) {
			return core.Step{Revision: d.Revision, Documents: []core.Document{d}}, true
		}
	}
	return core.Step{}, false
}

// news returns what is closed when there may be another step.
func (h *Hub) news() <-chan struct{} {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

func (h *Hub) wake() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

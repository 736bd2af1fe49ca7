package distributed

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxMemoryValue is the largest value that a hub takes, in bytes.
	maxMemoryValue = 1 << 20

	// maxMemoryHistory is how many changes a hub remembers at most. A follower that is
	// further behind gets a listing.
	maxMemoryHistory = 4096
)

var (
	// errCut is the error of calls under way when the connection was cut.
	errCut = errors.New("distributed: the connection was cut")

	// errTooLarge is the error of writes of more than 1 MiB.
	errTooLarge = errors.New("distributed: the value is larger than 1 MiB")
)

// MemoryHub is a store in this process. Nodes whose providers share a hub
// ([NewMemoryLeaseProvider]) share its documents. Its methods make it fail, to show
// what that does to your jobs. The zero value is ready to use, needs no closing, and
// runs no goroutines. All methods are safe for concurrent use, and none blocks. A hub
// that is used inside a testing/synctest bubble belongs to that bubble.
type MemoryHub struct {
	mu        sync.Mutex
	began     time.Time           // of the first change
	changes   int64               // so far
	documents map[string]Document // that are there
	history   []memoryChange      // one a revision, the last ones
	pictures  map[string]*mirror  // by app, of those that somebody has asked about
	nodes     map[string]*memoryNode
	delay     time.Duration
	writes    int
	followers map[*memoryFollower]bool
	awaited   bool          // somebody has waited for followers
	changed   chan struct{} // closed when there is news for a follower; nil while nobody waits
}

// memoryChange is a document as a change has left it, and when that was.
type memoryChange struct {
	Document
	at time.Time
}

// memoryFollower is a call of Follow under way. Guarded by the hub's mutex.
type memoryFollower struct {
	node, prefix string
	position     int64 // that it has told
}

// memoryNode is what the hub does to one of its users. Guarded by the hub's mutex.
type memoryNode struct {
	refusal  error
	up, down memoryGate
	cut      chan struct{} // closed when cut
}

// gate lets through while it is open, and keeps what comes while it is shut.
type memoryGate struct {
	shut int
	held []func()
}

func (g *memoryGate) pass(f func()) {
	if g.shut > 0 {
		g.held = append(g.held, f)
		return
	}
	f()
}

func (g *memoryGate) open() {
	g.shut--
	for g.shut == 0 && len(g.held) > 0 {
		f := g.held[0]
		g.held = g.held[1:]
		f()
	}
}

// Open returns a store on the hub, like that of each lease of instance; the methods of
// the hub know it by that name. The caller may close it, which only ends what follows
// it.
func (h *MemoryHub) Open(instance string) BatchStore { return h.open(instance) }

func (h *MemoryHub) open(name string) *memoryStore {
	return &memoryStore{hub: h, name: name, closed: make(chan struct{})}
}

// Refuse cuts instance off: the hub answers all of its calls with err, and tells it
// nothing. The node cannot acquire a lease, it loses the lease that it has when that
// runs out, and its campaigns and resignations wait. An empty instance means all nodes
// and observers. A nil err ends it.
func (h *MemoryHub) Refuse(instance string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node(instance).refusal = err
	h.wake()
}

// SetDelay makes each later call to the hub take d before it has an effect. Default: 0,
// also for a negative d.
func (h *MemoryHub) SetDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

// HoldRequests delays what a node sends until release is called, which must be done
// once: then everything arrives, in order, including what the node has given up
// meanwhile.
func (h *MemoryHub) HoldRequests(name string) (release func()) {
	return h.hold(name, func(n *memoryNode) *memoryGate { return &n.up })
}

// HoldReplies delays the answers to a node, and what it follows, until release is
// called, which must be done once.
func (h *MemoryHub) HoldReplies(name string) (release func()) {
	return h.hold(name, func(n *memoryNode) *memoryGate { return &n.down })
}

func (h *MemoryHub) hold(name string, of func(*memoryNode) *memoryGate) (release func()) {
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

// breakOff ends all calls of a node that are under way with [errCut]. What is held of
// their requests arrives all the same. New calls are possible at once.
func (h *MemoryHub) breakOff(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.node(name)
	close(n.cut)
	n.cut = make(chan struct{})
}

// Compact makes the hub forget the changes up to revision rev: a follower that
// continues from before it gets a listing.
func (h *MemoryHub) Compact(rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(int(rev - h.forgotten()))
}

// Writes returns how many writes have arrived at the hub, refused ones included.
func (h *MemoryHub) Writes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes
}

// Documents returns what is there below prefix, sorted by key, and the revision
// of the last change. The values must not be changed.
func (h *MemoryHub) Documents(prefix string) ([]Document, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.list(prefix), h.revision()
}

func (h *MemoryHub) enlist(f *memoryFollower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers == nil {
		h.followers = map[*memoryFollower]bool{}
	}
	h.followers[f] = true
}

func (h *MemoryHub) delist(f *memoryFollower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers, f)
	h.wake()
}

// told takes in that f has told all up to rev.
func (h *MemoryHub) told(f *memoryFollower, rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.position = rev
	if h.awaited {
		h.wake()
	}
}

// await blocks until all who can be told of what has happened below prefix have
// been.
func (h *MemoryHub) await(prefix string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for rev := h.revision(); h.behind(prefix, rev); {
		h.awaited = true
		news := h.news()
		h.mu.Unlock()
		<-news
		h.mu.Lock()
	}
}

// The methods below are called with h.mu held.

func (h *MemoryHub) node(name string) *memoryNode {
	if h.nodes == nil {
		h.nodes = map[string]*memoryNode{}
	}
	if h.nodes[name] == nil {
		h.nodes[name] = &memoryNode{cut: make(chan struct{})}
	}
	return h.nodes[name]
}

func (h *MemoryHub) refusal(name string) error {
	if err := h.node(name).refusal; err != nil {
		return err
	}
	return h.node("").refusal
}

// revision is that of the last change; 1 before there is one, as 0 means none.
func (h *MemoryHub) revision() int64 { return 1 + h.changes }

func (h *MemoryHub) list(prefix string) []Document {
	var documents []Document
	for key, d := range h.documents {
		if strings.HasPrefix(key, prefix) {
			documents = append(documents, d)
		}
	}
	slices.SortFunc(documents, func(a, b Document) int { return strings.Compare(a.Key, b.Key) })
	return documents
}

// write does what a node has asked for.
func (h *MemoryHub) write(name string, w Write) WriteResult {
	h.writes++
	if err := h.refusal(name); err != nil {
		return WriteResult{Err: err}
	}
	if len(w.Value) > maxMemoryValue {
		return WriteResult{Err: errTooLarge}
	}
	there := h.documents[w.Key] // at revision 0 if there is none
	if there.Revision != w.Revision {
		there.Key = w.Key
		return WriteResult{Err: &ConflictError{Key: w.Key, Known: true, There: there}}
	}
	if w.Value != nil || there.Revision != 0 {
		h.change(w.Key, w.Value)
	}
	return WriteResult{Revision: h.revision()}
}

func (h *MemoryHub) change(key string, value []byte) {
	if h.documents == nil {
		h.documents, h.began = map[string]Document{}, time.Now()
	}
	h.changes++
	d := Document{Key: key, Value: value, Revision: h.revision()}
	if value == nil {
		delete(h.documents, key)
	} else {
		h.documents[key] = d
	}
	h.history = append(h.history, memoryChange{d, time.Now()})
	h.forget(len(h.history) - maxMemoryHistory)
	h.wake()
}

// forgotten is the revision of the last change that is not in the history.
func (h *MemoryHub) forgotten() int64 { return h.revision() - int64(len(h.history)) }

func (h *MemoryHub) forget(n int) {
	if n > 0 {
		h.history = h.history[min(n, len(h.history)):]
	}
}

// step returns the next step of a follower at position, if there is one.
func (h *MemoryHub) step(prefix string, position int64) (Step, bool) {
	if position == 0 || position < h.forgotten() {
		return Step{Revision: h.revision(), Whole: true, Documents: h.list(prefix)}, true
	}
	for _, d := range h.history[position-h.forgotten():] {
		if strings.HasPrefix(d.Key, prefix) {
			return Step{Revision: d.Revision, Documents: []Document{d.Document}}, true
		}
	}
	return Step{}, false
}

// behind reports whether somebody can still be told of what has happened below
// prefix, and is not yet.
func (h *MemoryHub) behind(prefix string, rev int64) bool {
	for f := range h.followers {
		n := h.node(f.node)
		deaf := h.refusal(f.node) != nil || n.up.shut > 0 || n.down.shut > 0
		if !deaf && strings.HasPrefix(prefix, f.prefix) && f.position < rev {
			return true
		}
	}
	return false
}

// news returns what is closed when there may be another step.
func (h *MemoryHub) news() <-chan struct{} {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

func (h *MemoryHub) wake() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

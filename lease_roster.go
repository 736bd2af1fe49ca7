package distributed

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// announcer keeps in the store what a session tells the others about its node. All
// is guarded by the session's mu.
type announcer struct {
	wake    chan struct{} // capacity 1
	wanted  *announcement // nil before the first, or while it was not accepted
	waiting []*announcement
	rev     int64 // of our info document, as last known; 0 if there is none
}

// announcement is a call of Announce.
type announcement struct {
	info  []byte
	lists map[string][]byte // pieces of the list of jobs, by key
	done  chan struct{}     // closed when it is in the store, or given up; err is set before
	err   error
}

var errSuperseded = errors.New("distributed: another announcement came after this one")

// Announce implements [Lease].
func (s *session) Announce(ctx context.Context, info NodeInfo) error {
	a, err := s.keys.announcement(s.id, info)
	if err != nil {
		return err
	}
	var over bool
	s.update(func() {
		if over = s.lost != nil; over {
			return
		}
		if old := s.announcer.wanted; old != nil {
			old.finish(errSuperseded)
		}
		s.announcer.wanted = a
		signal(s.announcer.wake)
	})
	if over {
		return ErrLeaseLost
	}
	select {
	case <-a.done:
		return a.err
	case <-s.ended:
		return ErrLeaseLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish tells who waits for it, once.
func (a *announcement) finish(err error) {
	select {
	case <-a.done:
	default:
		a.err = err
		close(a.done)
	}
}

// keepAnnounced writes what is wanted, and again what somebody has deleted or
// changed, until the session is over.
func (s *session) keepAnnounced() {
	pace := backoff{limit: s.timing.attempt()}
	for {
		var a *announcement
		var missing []Write
		s.update(func() { a, missing = s.unannounced() })
		if len(missing) == 0 {
			if a != nil {
				a.finish(nil)
			}
			select {
			case <-s.announcer.wake:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		if sleep(s.ctx, pace.next()) != nil {
			return
		}
		if s.putTold(missing) {
			pace = backoff{limit: pace.limit}
		}
	}
}

// unannounced returns what is wanted, and which documents of it are not in the
// picture: pieces of lists first, so that nobody finds a list with holes. For
// update.
func (s *session) unannounced() (a *announcement, missing []Write) {
	a = s.announcer.wanted
	if a == nil {
		return nil, nil
	}
	want := func(key string, value []byte) {
		there := s.mirror.infos[key]
		if there == nil {
			there = &told{} // to be made
		}
		if !bytes.Equal(there.value, value) {
			missing = append(missing, Write{key, value, there.rev})
		}
	}
	for key, value := range a.lists {
		want(key, value)
	}
	if len(missing) == 0 {
		want(s.keys.info(s.id), a.info)
	}
	return a, missing
}

// putTold writes documents, and waits until the picture shows them, or for long
// enough to try again; it reports whether all were written. That one is there already
// is as good as having written it; and an info document that is at another revision
// will be shown.
func (s *session) putTold(writes []Write) (ok bool) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timing.attempt())
	defer cancel()
	var all sync.WaitGroup
	places := make(chan struct{}, maxParallel)
	var mu sync.Mutex
	var last int64
	ok = true
	for _, w := range writes {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			rev, err := s.store.Put(ctx, w.Key, w.Value, w.Revision)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				last = max(last, rev)
				return
			}
			ok = false
			if !errors.As(err, new(*ConflictError)) && s.ctx.Err() == nil {
				s.log.Debug("node not announced, trying again", "error", err)
			}
		})
	}
	all.Wait()
	for shown := last == 0; !shown; {
		s.update(func() { shown = s.mirror.rev >= last })
		if shown {
			break
		}
		select {
		case <-s.announcer.wake:
		case <-ctx.Done():
			return false
		}
	}
	return ok
}

// announcement is what the node with an id tells: its info document, and the list
// of its jobs in pieces that it shares with all who have the same.
func (k keys) announcement(id string, info NodeInfo) (*announcement, error) {
	a := &announcement{lists: map[string][]byte{}, done: make(chan struct{})}
	v := &infoValue{
		Version: info.Version, Started: info.Started.UnixMilli(), Labels: info.Labels, Metadata: info.Metadata,
		Capacity: info.Capacity, Draining: info.Draining, Listed: info.Jobs != nil,
	}
	for _, piece := range pieces(info.Jobs) {
		body, err := marshal(piece)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		hash := hex.EncodeToString(sum[:sumLength])
		if a.lists[k.list(hash)], err = k.encode(k.list(hash), piece); err != nil {
			return nil, err
		}
		v.Lists = append(v.Lists, hash)
	}
	var err error
	if a.info, err = k.encode(k.info(id), v); err != nil {
		return nil, fmt.Errorf("%w: labels, metadata and the list of %d jobs: %w", ErrInvalidConfig, len(info.Jobs), err)
	}
	return a, nil
}

const (
	// pieceJobs is how many jobs a piece of a list has on average. A job more or less
	// changes one piece.
	pieceJobs = 256

	// pieceBytes keeps a piece below the size of a document.
	pieceBytes = maxDocument / 4
)

// pieces cuts a list where the names say so, which is in the same places whatever
// else is in the list.
func pieces(jobs []JobInfo) (all []*listValue) {
	piece, size := new(listValue), 0
	for _, j := range jobs {
		v := jobValue{Name: j.Name, Weight: j.Weight, Prefer: j.Prefer, Avoid: j.Avoid}
		if v.Weight == 1 {
			v.Weight = 0
		}
		piece.Jobs = append(piece.Jobs, v)
		size += v.size()
		sum := sha256.Sum256([]byte(j.Name))
		if int(sum[0])%pieceJobs == 0 || size > pieceBytes {
			all, piece, size = append(all, piece), new(listValue), 0
		}
	}
	if len(piece.Jobs) > 0 {
		all = append(all, piece)
	}
	return all
}

func (v *jobValue) size() int {
	size := len(v.Name) + 16
	for _, label := range slices.Concat(v.Prefer, v.Avoid) {
		size += len(label) + 4
	}
	return size
}

// Silence implements [Lease].
func (s *session) Silence() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mirror.nodesSilence(s.clock.now())
}

// nodesSilence returns for how long each node has not been heard of.
func (m *mirror) nodesSilence(now time.Duration) map[string]time.Duration {
	silence := map[string]time.Duration{}
	for id, n := range m.nodes {
		if n.counts {
			silence[id] = now - n.seen
		}
	}
	return silence
}

// View implements [Lease].
func (s *session) View() (*View, <-chan struct{}, error) {
	view, outdated := s.views.get(&s.mu, s.mirror)
	if s.over() != nil {
		return nil, nil, ErrLeaseLost
	}
	return view, outdated, nil
}

// views makes the views of a mirror, which its owner guards by a mutex of its own.
// Only the copying is done under that: nothing that concerns validity may wait for
// the rest.
type views struct {
	making   sync.Mutex
	latest   *View
	lists    map[string][]JobInfo // pieces of lists that are in latest, by key
	at       int64                // changes of the mirror in latest; guarded by the owner's mutex
	outdated chan struct{}        // closed when there is another; nil while nobody asked; likewise
}

func (v *views) get(mu *sync.Mutex, m *mirror) (*View, <-chan struct{}) {
	v.making.Lock()
	defer v.making.Unlock()
	var sketch *sketch
	mu.Lock()
	if v.outdated == nil {
		v.outdated = make(chan struct{})
	}
	outdated := v.outdated
	if v.latest == nil || v.at != m.changes {
		v.at = m.changes
		sketch = m.sketch()
	}
	mu.Unlock()
	if sketch != nil {
		v.latest, v.lists = sketch.view(m.keys, v.lists)
	}
	return v.latest, outdated
}

// expire is called with the owner's mutex held, after each change.
func (v *views) expire(m *mirror, over bool) {
	if v.outdated != nil && (v.at != m.changes || over) {
		close(v.outdated)
		v.outdated = nil
	}
}

// sketch is a view as it is copied from a mirror, in no order and with what nodes
// tell as it came.
type sketch struct {
	View
	infos map[string][]byte // by id
	lists map[string][]byte // by key
}

func (m *mirror) sketch() *sketch {
	v := &sketch{View: View{Self: m.self, Nodes: make([]NodeView, 0, len(m.nodes)), Jobs: make([]JobView, 0, len(m.queues))}, infos: map[string][]byte{}, lists: map[string][]byte{}}
	for id, n := range m.nodes {
		if !n.counts {
			continue
		}
		v.Nodes = append(v.Nodes, NodeView{ID: id, Instance: n.value.Instance})
		if told := m.infos[m.keys.info(id)]; told != nil {
			v.infos[id] = told.value
		}
	}
	for key, told := range m.infos {
		if kind, _, _ := m.keys.parse(key); kind == listDocument {
			v.lists[key] = told.value
		}
	}
	candidates := make([]CandidateView, 0, 2*len(m.queues))
	for job, q := range m.queues {
		if len(q.claims) == 0 {
			continue
		}
		start := len(candidates)
		for _, c := range q.claims {
			candidates = append(candidates, CandidateView{Node: c.doc.node.id, Token: c.number})
		}
		end := len(candidates)
		v.Jobs = append(v.Jobs, JobView{Name: job, Queue: candidates[start:end:end], Led: m.led(q)})
	}
	return v
}

// view completes the sketch. known are pieces of lists that have been read before:
// most nodes have the same, and they never change.
func (v *sketch) view(k keys, known map[string][]JobInfo) (*View, map[string][]JobInfo) {
	lists := make(map[string][]JobInfo, len(v.lists))
	for key, value := range v.lists {
		jobs, ok := known[key]
		if !ok {
			jobs = k.readPiece(key, value)
		}
		lists[key] = jobs
	}
	whole := map[string][]JobInfo{} // by the pieces that they are made of
	for x := range v.Nodes {
		n := &v.Nodes[x]
		n.NodeInfo = k.readInfo(n.ID, v.infos[n.ID], lists, whole)
	}
	v.sort()
	return &v.View, lists
}

func (k keys) readPiece(key string, value []byte) []JobInfo {
	var v listValue
	if k.decode(key, value, &v) != nil {
		return nil // not as it was written: as good as missing
	}
	jobs := make([]JobInfo, len(v.Jobs))
	for i, j := range v.Jobs {
		jobs[i] = JobInfo{Name: j.Name, Weight: max(j.Weight, 1), Prefer: j.Prefer, Avoid: j.Avoid}
	}
	return jobs
}

// readInfo reads what a node tells. A list with a piece that is not there, or not
// yet, is none: the node takes no part.
func (k keys) readInfo(id string, value []byte, lists, whole map[string][]JobInfo) NodeInfo {
	var v infoValue
	if value == nil || k.decode(k.info(id), value, &v) != nil {
		return NodeInfo{}
	}
	info := NodeInfo{
		Version: v.Version, Started: time.UnixMilli(v.Started), Labels: v.Labels, Metadata: v.Metadata,
		Capacity: v.Capacity, Draining: v.Draining,
	}
	if !v.Listed {
		return info
	}
	name := fmt.Sprint(v.Lists)
	jobs, ok := whole[name]
	if !ok {
		jobs = k.joinPieces(v.Lists, lists)
		whole[name] = jobs
	}
	info.Jobs = jobs
	return info
}

func (k keys) joinPieces(hashes []string, lists map[string][]JobInfo) []JobInfo {
	jobs := []JobInfo{}
	for _, hash := range hashes {
		piece, ok := lists[k.list(hash)]
		if !ok || piece == nil {
			return nil
		}
		jobs = append(jobs, piece...)
	}
	sorted := slices.IsSortedFunc(jobs, func(a, b JobInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), -1) })
	if !sorted {
		return nil
	}
	return jobs
}

func (v *View) sort() {
	slices.SortFunc(v.Nodes, func(a, b NodeView) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(v.Jobs, func(a, b JobView) int { return cmp.Compare(a.Name, b.Name) })
}

package distributed

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// simulatedStore is a store that does whatever P1 to P5 allow, by the seed: feeds
// lag, merge changes into one step, list anew, end, and fall silent; calls take
// their time, are lost on the way or on the way back, and may reach the store long
// after they were given up, or twice; refusals say what is there, or do not. And the
// machine of a session may not come to make an attempt for a while.
type simulatedStore struct {
	mu      sync.Mutex
	rng     *rand.Rand
	head    int64
	docs    map[string]Document
	history []Document    // what happened, by revision from first+1
	first   int64         // the revision before the history that is kept
	changed chan struct{} // closed when head moves
	after   func()        // called with mu held after each change
	traits
}

// traits are what a store is like.
type traits struct {
	latency time.Duration // of a call one way, at most
	lag     time.Duration // of the feed, at most
	reads   float64       // how often a refusal says what is there
	merges  float64       // how often several changes come in one step
	loses   float64       // how often a call is lost, either way
	copies  float64       // how often a call comes again, late
	breaks  float64       // how often a feed ends, or lists anew
	stalls  float64       // how often an attempt is made late
	batches bool
}

func newSimulatedStore(rng *rand.Rand) *simulatedStore {
	often := func(limit float64) float64 { return max(0, rng.Float64()*2-1) * limit }
	return &simulatedStore{
		rng: rng, docs: map[string]Document{}, changed: make(chan struct{}), after: func() {},
		traits: traits{
			latency: 1 + span(rng, 20*time.Millisecond), lag: 1 + span(rng, 50*time.Millisecond),
			reads: 1 - often(1), merges: often(1), loses: often(0.1), copies: often(0.1), breaks: often(0.05), stalls: often(0.3), batches: rng.IntN(2) == 0,
		},
	}
}

func span(rng *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(limit)))
}

func (s *simulatedStore) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// commit changes a document. It wants mu.
func (s *simulatedStore) commit(key string, value []byte) int64 {
	s.head++
	d := Document{key, value, s.head}
	if value == nil {
		delete(s.docs, key)
	} else {
		s.docs[key] = d
	}
	s.history = append(s.history, d)
	s.wake()
	s.after()
	return s.head
}

func (s *simulatedStore) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// change is commit on condition that the document is at rev.
func (s *simulatedStore) change(key string, value []byte, rev int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.docs[key]
	if there.Revision != rev {
		if s.chance(s.reads) {
			return 0, &ConflictError{Key: key, Known: true, There: there}
		}
		return 0, &ConflictError{Key: key}
	}
	return s.commit(key, value), nil
}

// restore puts the store back to what it was at rev. The history goes on from
// there, or from much later if it is bumped.
func (s *simulatedStore) restore(rev int64, bump bool) {
	s.docs = map[string]Document{}
	for _, d := range s.history[:rev-s.first] {
		if d.Value == nil {
			delete(s.docs, d.Key)
		} else {
			s.docs[d.Key] = d
		}
	}
	s.history = s.history[:rev-s.first]
	s.head = rev
	if bump {
		s.head += 1000
	}
	s.wake()
}

// simulatedLink is a session's way to the store.
type simulatedLink struct {
	store *simulatedStore

	mu     sync.Mutex
	deaf   bool // feeds stand still
	mute   bool // calls do not get through
	broken chan struct{}
	seen   int64 // the revision that the feed has told
	listed bool
}

func newSimulatedLink(store *simulatedStore) *simulatedLink {
	return &simulatedLink{store: store, broken: make(chan struct{})}
}

// cut says what of the link works. All feeds end.
func (l *simulatedLink) cut(deaf, mute bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf, l.mute = deaf, mute
	if !deaf {
		close(l.broken)
		l.broken = make(chan struct{})
	}
}

func (l *simulatedLink) state() (deaf, mute bool, broken chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deaf, l.mute, l.broken
}

// stall keeps an attempt from being made for a while, so that one that was begun after it
// may be made before it.
func (l *simulatedLink) stall() {
	s := l.store
	s.mu.Lock()
	wait, stalls := span(s.rng, newTiming(simulatedTTL).attempt()), s.chance(s.stalls)
	s.mu.Unlock()
	if stalls {
		time.Sleep(wait)
	}
}

// draw returns random times and events for a call.
func (l *simulatedLink) draw() (there, back, late time.Duration, lost, unheard, again bool) {
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	return span(s.rng, s.latency), span(s.rng, s.latency), span(s.rng, 3*time.Second), s.chance(s.loses), s.chance(s.loses), s.chance(s.copies)
}

func (l *simulatedLink) call(ctx context.Context, execute func() error) error {
	there, back, late, lost, unheard, again := l.draw()
	_, mute, _ := l.state()
	if again {
		time.AfterFunc(late, func() { _ = execute() })
	}
	if lost || mute {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := sleep(ctx, there); err != nil {
		return err
	}
	err := execute()
	if e := sleep(ctx, back); e != nil {
		return e
	}
	if _, mute, _ := l.state(); mute || unheard {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// Put implements Store.
func (l *simulatedLink) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	var at int64
	var mu sync.Mutex // a late copy has no answer
	first := true
	err := l.call(ctx, func() error {
		r, err := l.store.change(key, value, rev)
		mu.Lock()
		defer mu.Unlock()
		if first {
			at, first = r, false
		}
		return err
	})
	mu.Lock()
	defer mu.Unlock()
	return at, err
}

// Delete implements Store.
func (l *simulatedLink) Delete(ctx context.Context, key string, rev int64) error {
	return l.call(ctx, func() error {
		_, err := l.store.change(key, nil, rev)
		return err
	})
}

// Close implements Store.
func (l *simulatedLink) Close() error { return nil }

// simulatedBatches is a link to a store that takes several writes at once.
type simulatedBatches struct{ *simulatedLink }

// PutAll implements BatchStore.
func (l simulatedBatches) PutAll(ctx context.Context, writes []Write) []WriteResult {
	var mu sync.Mutex // a late copy has no answer
	var results []WriteResult
	err := l.call(ctx, func() error {
		answers := make([]WriteResult, len(writes))
		for i, w := range writes {
			answers[i].Revision, answers[i].Err = l.store.change(w.Key, w.Value, w.Revision)
		}
		mu.Lock()
		defer mu.Unlock()
		results = answers
		return nil
	})
	if err != nil {
		return slices.Repeat([]WriteResult{{Err: err}}, len(writes))
	}
	mu.Lock()
	defer mu.Unlock()
	return results
}

var errFeedEnds = errors.New("the feed ends")

// Follow implements Store.
func (l *simulatedLink) Follow(ctx context.Context, prefix string, tell func(Step)) error {
	s := l.store
	told, listing := int64(0), true
	_, _, broken := l.state() // of this feed: what comes after it is told by another
	for {
		deaf, _, _ := l.state()
		s.mu.Lock()
		wait, silent, ends := span(s.rng, s.lag), s.chance(s.breaks/10), s.chance(s.breaks)
		changed := s.changed
		s.mu.Unlock()
		if deaf || silent { // it says nothing any more, and no error either
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-broken:
				return errFeedEnds
			}
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		step, ok, err := l.next(prefix, told, listing, broken)
		if err != nil {
			return err
		}
		if !ok {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-broken:
				return errFeedEnds
			case <-changed:
				continue
			}
		}
		tell(step)
		told, listing = step.Revision, false
		l.told(step)
		if ends {
			return errFeedEnds
		}
	}
}

func (l *simulatedLink) told(step Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.listed = step.Revision, true
}

// next returns the next step behind told, if there is one; or that the feed has ended.
func (l *simulatedLink) next(prefix string, told int64, listing bool, broken <-chan struct{}) (step Step, ok bool, err error) {
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-broken: // by a restore, perhaps: what it has told is not to be gone on from
		return Step{}, false, errFeedEnds
	default:
	}
	if listing || told < s.first || s.chance(s.breaks) {
		step = Step{Revision: s.head, Whole: true}
		for _, key := range slices.Sorted(maps.Keys(s.docs)) {
			if strings.HasPrefix(key, prefix) {
				step.Documents = append(step.Documents, s.docs[key])
			}
		}
		return step, true, nil
	}
	behind := s.history[min(int(told-s.first), len(s.history)):]
	if len(behind) == 0 {
		return Step{Revision: s.head}, s.head > told, nil
	}
	n := 1
	if s.chance(s.merges) {
		n += s.rng.IntN(len(behind))
	}
	latest := map[string]int{}
	step = Step{Revision: behind[n-1].Revision}
	for _, d := range behind[:n] {
		if i, ok := latest[d.Key]; ok {
			step.Documents[i] = d
			continue
		}
		latest[d.Key] = len(step.Documents)
		step.Documents = append(step.Documents, d)
	}
	return step, true, nil
}

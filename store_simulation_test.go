package distributed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var storeSeeds = flag.String("sim.store.seeds", "1-1500", "seeds to simulate on stores of all kinds, first-last")

// There are two simulations. This one runs sessions, with all their loops, on a
// simulated store that does whatever P1 to P5 allow any store, in virtual time: each
// seed is another store and other trouble. TestSimulationNeverHasTwoRunners runs
// whole nodes, processors and hooks included, through etcd's client; it is slower,
// and its store does only what etcd does.
//
// At no moment do two Works of one job run, or two leaderships of it hold; tokens
// rise; no session takes a write of its own for somebody else's; and once the trouble is
// over all jobs run. A seed gives the store and the trouble, but not the order in which
// goroutines run that are ready at the same moment.
func TestSimulationOfStoresNeverHasTwoRunners(t *testing.T) {
	var from, to uint64
	if _, err := fmt.Sscanf(*storeSeeds, "%d-%d", &from, &to); err != nil {
		t.Fatalf("-sim.store.seeds=%s: %v", *storeSeeds, err)
	}
	total := &simTotals{n: map[string]int{}}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // there is much garbage, and little else
	var next atomic.Uint64
	t.Run("seeds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint("by ", i), func(t *testing.T) {
				t.Parallel()
				for seed := from + next.Add(1) - 1; seed <= to && !total.failed.Load(); seed = from + next.Add(1) - 1 {
					synctest.Test(t, func(t *testing.T) { runStoreSimulation(t, seed, total) })
				}
			})
		}
	})
	t.Logf("seeds %d to %d: %v", from, to, total.n)
	if to-from > 500 {
		total.requireAll(t, "run", "handover", "lost", "deleted", "wiped", "touched", "restored", "crashed", "closed", "buried")
	}
}

const (
	simulatedTTL   = time.Second
	simulatedNodes = 3
)

var simulatedJobs = []string{"a", "b"}

type storeSimulation struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	store *simulatedStore
	start time.Time
	nodes []*simulatedNode
	total *simTotals
	loops sync.WaitGroup

	mu       sync.Mutex
	notes    []string
	runs     map[string][]*simulatedRun
	noFresh  time.Time       // until then no process may begin that knows nothing
	restored time.Time       // since then all that is told is of the present history
	torn     map[string]bool // sessions of which a stranger has changed documents
	allTorn  bool            // or of all
	failed   bool
}

// simulatedRun is a Work from its begin to its return.
type simulatedRun struct {
	node       string
	token      int64
	start, end time.Time
	valid      func() bool
}

// simulatedNode is a process.
type simulatedNode struct {
	s       *storeSimulation
	name    string
	rng     *rand.Rand
	clock   *clock
	ctx     context.Context // of the process
	kill    context.CancelFunc
	done    chan struct{}
	mu      sync.Mutex
	known   memory
	link    *simulatedLink
	session *session
}

func runStoreSimulation(t *testing.T, seed uint64, total *simTotals) {
	rng := rand.New(rand.NewPCG(seed, 7))
	s := &storeSimulation{
		t: t, seed: seed, rng: rng, store: newSimulatedStore(rand.New(rand.NewPCG(seed, 8))), start: time.Now(), total: total,
		runs: map[string][]*simulatedRun{}, torn: map[string]bool{},
	}
	for i := range simulatedNodes {
		s.nodes = append(s.nodes, s.newNode(i, 0))
	}
	for i, n := range s.nodes {
		s.launch(n, span(rng, time.Duration(1+i)*300*time.Millisecond))
	}
	for end := time.Now().Add(4*simulatedTTL + span(rng, 6*simulatedTTL)); time.Now().Before(end) && !s.hasFailed(); {
		time.Sleep(span(rng, simulatedTTL))
		s.trouble()
	}
	s.calm()
	for _, n := range s.nodes {
		n.kill()
	}
	s.loops.Wait()
}

func (s *storeSimulation) newNode(i, generation int) *simulatedNode {
	n := &simulatedNode{s: s, name: fmt.Sprintf("%c%d", 'a'+i, generation), rng: rand.New(rand.NewPCG(s.seed, uint64(100*i+generation+10)))}
	rate := 1 + defaultDrift*(2*n.rng.Float64()-1)
	n.clock = &clock{start: time.Now(), boot: func() (time.Duration, bool) { return 0, false }}
	n.clock.tell = func() time.Time { return n.clock.start.Add(time.Duration(float64(time.Since(n.clock.start)) * rate)) }
	n.ctx, n.kill = context.WithCancel(context.Background())
	n.done = make(chan struct{})
	return n
}

func (s *storeSimulation) launch(n *simulatedNode, delay time.Duration) {
	s.loops.Go(func() {
		defer close(n.done)
		if sleep(n.ctx, delay) == nil {
			n.run()
		}
	})
}

// run is a process: one session after the other.
func (n *simulatedNode) run() {
	pace := backoff{limit: simulatedTTL / 4}
	for sleep(n.ctx, pace.next()) == nil {
		session, err := n.join()
		if err != nil {
			n.s.note("%s has not joined: %v", n.name, err)
			continue
		}
		pace = backoff{limit: pace.limit}
		n.live(session)
	}
}

func (n *simulatedNode) join() (*session, error) {
	link := newSimulatedLink(n.s.store)
	n.mu.Lock()
	n.link = link
	known := n.known
	n.mu.Unlock()
	var store Store = link
	if n.s.store.batches {
		store = simulatedBatches{link}
	}
	ctx, cancel := context.WithTimeout(n.ctx, 2*simulatedTTL)
	defer cancel()
	timing := newTiming(simulatedTTL)
	id := fmt.Sprintf("%s-%x", n.name, n.rng.Uint32())
	session, err := join(ctx, sessionOptions{
		store: store, prefix: testKeys.prefix, id: id, instance: n.name, timing: timing, clock: n.clock, known: known, stall: link.stall,
		remember: func(known memory) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.known = known
		},
		log:    slog.New(slog.NewTextHandler(notes{n}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		events: LeaseEvents{Lost: func(cause error) { n.lose(id, cause) }},
	})
	if err != nil {
		return nil, err
	}
	n.s.note("%s has joined as %s", n.name, session.id)
	session.update(func() { session.writer.perDocument = 1 })
	n.mu.Lock()
	n.session = session
	n.mu.Unlock()
	return session, nil
}

// lose takes in that a session was lost. If it says that somebody else has changed its
// documents, somebody must have: it does not take its own writes for that.
func (n *simulatedNode) lose(id string, cause error) {
	s := n.s
	s.count("lost")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notef("%s: session lost: %v", n.name, cause)
	if errors.Is(cause, errTornAway) && !s.torn[id] && !s.allTorn {
		s.failf("%s has lost its session %s, and nobody has touched that", n.name, id)
	}
}

// tear notes that a stranger changes a document, or all that there are.
func (s *storeSimulation) tear(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, id, _ := testKeys.parse(key)
	s.torn[id] = true
	s.allTorn = s.allTorn || key == ""
}

// notes is where a node logs to.
type notes struct{ *simulatedNode }

func (n notes) Write(line []byte) (int, error) {
	n.s.note("%s: %s", n.name, line)
	return len(line), nil
}

// live runs the jobs under a session, until that or the process is over.
func (n *simulatedNode) live(session *session) {
	var jobs sync.WaitGroup
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	for _, job := range simulatedJobs {
		rng := rand.New(rand.NewPCG(n.rng.Uint64(), 1))
		jobs.Go(func() {
			for ctx.Err() == nil && n.lead(ctx, session, job, rng) == nil {
			}
		})
	}
	closing := time.Duration(n.rng.Int64N(int64(40 * simulatedTTL)))
	select {
	case <-session.ended:
	case <-n.ctx.Done(): // killed: nothing is tidied up
		jobs.Wait()
		session.update(func() { session.end(ErrClosed) })
		session.quit()
		session.loops.Wait()
		return
	case <-time.After(closing): // a rollout
	}
	cancel()
	jobs.Wait()
	closeCtx, stop := context.WithTimeout(n.ctx, 2*time.Second)
	defer stop()
	if err := session.Close(closeCtx); err == nil {
		n.s.count("closed")
	}
	n.s.note("%s has closed %s", n.name, session.id)
}

// lead campaigns for a job, and runs Work.
func (n *simulatedNode) lead(ctx context.Context, session *session, job string, rng *rand.Rand) error {
	e := session.Election(job)
	work, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	campaign, give := ctx, func() {}
	if rng.IntN(4) == 0 {
		campaign, give = context.WithTimeout(ctx, span(rng, 2*simulatedTTL))
	}
	defer give()
	token, err := campaignAndWait(campaign, e, stop)
	if err != nil {
		if errors.Is(err, ErrLeaseLost) || ctx.Err() != nil {
			return err
		}
		return nil
	}
	if !e.Valid() {
		n.s.note("%s won %s too late", n.name, job)
	}
	run := n.s.begin(n.name, job, token, e.Valid)
	term := time.NewTimer(span(rng, 2*simulatedTTL))
	defer term.Stop()
	select {
	case <-work.Done():
		_ = sleep(n.ctx, span(rng, session.timing.grace*9/10)) // Work takes its time to stop
	case <-n.ctx.Done(): // killed
	case <-ctx.Done():
		_ = sleep(n.ctx, span(rng, 50*time.Millisecond))
	case <-term.C:
	}
	n.s.finish(run, job)
	resign, cancel := context.WithTimeout(n.ctx, span(rng, simulatedTTL))
	defer cancel()
	_ = e.Resign(resign)
	return nil
}

// campaignAndWait returns what a campaign comes to.
func campaignAndWait(ctx context.Context, e Election, lost context.CancelCauseFunc) (token int64, err error) {
	decided := make(chan struct{})
	e.Campaign(ctx, func(t int64, failure error) { token, err = t, failure; close(decided) }, lost)
	<-decided
	return token, err
}

func (s *storeSimulation) begin(node, job string, token int64, valid func() bool) *simulatedRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &simulatedRun{node: node, token: token, start: time.Now(), valid: valid}
	before := s.runs[job]
	s.notef("%s runs %s with token %d", node, job, token)
	if len(before) > 0 {
		last := before[len(before)-1]
		if token <= last.token && last.start.After(s.restored) { // they rise within a history
			s.failf("%s runs on %s with token %d after token %d on %s", job, node, token, last.token, last.node)
		}
		if last.node != node {
			s.total.count("handover")
		}
	}
	for _, b := range before {
		if b.end.IsZero() {
			s.failf("%s runs on %s with token %d, and on %s with token %d", job, node, token, b.node, b.token)
		}
		if valid() && b.valid() {
			s.failf("%s is led by %s with token %d, and by %s with token %d", job, node, token, b.node, b.token)
		}
	}
	s.runs[job] = append(before, r)
	s.total.count("run")
	return r
}

func (s *storeSimulation) finish(r *simulatedRun, job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.end = time.Now()
	s.notef("%s has run %s", r.node, job)
}

func (s *storeSimulation) count(what string) { s.total.count(what) }

func (s *storeSimulation) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notef(format, args...)
}

func (s *storeSimulation) notef(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf("%8.3f ", time.Since(s.start).Seconds())+fmt.Sprintf(format, args...))
}

func (s *storeSimulation) failf(format string, args ...any) {
	if !s.failed {
		s.failed = true
		s.total.failed.Store(true)
		s.t.Errorf("seed %d: %s\n%+v\n%s", s.seed, fmt.Sprintf(format, args...), s.store.traits, strings.Join(s.notes, "\n"))
	}
}

func (s *storeSimulation) hasFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// trouble makes some.
func (s *storeSimulation) trouble() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	switch s.rng.IntN(12) {
	case 0, 1:
		s.cut(n, false, true)
	case 2, 3:
		s.cut(n, true, s.rng.IntN(2) == 0)
	case 4, 5:
		for _, n := range s.nodes {
			s.cut(n, false, false)
		}
	case 6, 7:
		s.delete()
	case 8:
		s.touch()
	case 9:
		s.crash(n)
	case 10:
		if s.rng.IntN(4) == 0 {
			s.wipe()
		}
	case 11:
		if s.rng.IntN(2) == 0 {
			s.restore()
		}
	}
}

func (s *storeSimulation) cut(n *simulatedNode, deaf, mute bool) {
	n.mu.Lock()
	link := n.link
	n.mu.Unlock()
	if link != nil {
		s.note("%s: deaf %v, mute %v", n.name, deaf, mute)
		link.cut(deaf, mute)
	}
}

func (s *storeSimulation) key() (string, bool) {
	keys := slices.Sorted(maps.Keys(s.store.docs))
	if len(keys) == 0 {
		return "", false
	}
	return keys[s.rng.IntN(len(keys))], true
}

func (s *storeSimulation) touch() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if key, ok := s.key(); ok {
		s.tear(key) // one that was written once may not be told from another when it is listed
		s.note("a stranger touches %s at %d", key, s.store.commit(key, s.store.docs[key].Value))
		s.count("touched")
	}
}

// delete is an operator's: of any document, but not of the last one that tells of a
// session; or garbage in its place.
func (s *storeSimulation) delete() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	key, ok := s.key()
	if !ok || isLastTrace(testKeys, key, s.store.docs) {
		return
	}
	s.tear(key)
	if s.rng.IntN(4) == 0 {
		s.note("a stranger writes over %s at %d", key, s.store.commit(key, []byte("x")))
		return
	}
	s.note("an operator deletes %s at %d", key, s.store.commit(key, nil))
	s.count("deleted")
}

// isLastTrace reports whether nothing else tells that the session of a document may
// work.
func isLastTrace(ks keys, key string, docs map[string]Document) bool {
	kind, id, _ := ks.parse(key)
	if kind != nodeDocument && kind != claimsDocument {
		return false
	}
	for other, d := range docs {
		k, i, _ := ks.parse(other)
		if other == key || i != id {
			continue
		}
		var v claimsValue
		if k == nodeDocument || ks.decode(other, d.Value, &v) != nil || v.Seq > 1 {
			return false
		}
	}
	return true
}

// wipe deletes everything. Who has never seen the app cannot know.
func (s *storeSimulation) wipe() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if !s.allKnow(false) {
		return
	}
	s.tear("")
	for _, key := range slices.Sorted(maps.Keys(s.store.docs)) {
		s.store.commit(key, nil)
	}
	s.note("an operator deletes everything, up to %d", s.store.head)
	s.count("wiped")
	s.keepFresh()
}

// restore puts the store back to a state of a moment ago. Feeds have told what there
// was, and end.
func (s *storeSimulation) restore() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if !s.allKnow(true) || len(s.store.history) == 0 || s.store.first > 0 {
		return
	}
	back := 1 + s.rng.Int64N(80)
	if s.store.head-back < 1 || s.store.head > int64(len(s.store.history)) {
		return
	}
	s.tear("")
	bump := s.rng.IntN(2) == 0
	s.note("a backup of %d is put back, bumped %v; it was %d", s.store.head-back, bump, s.store.head)
	s.store.restore(s.store.head-back, bump)
	for _, n := range s.nodes {
		n.link.cut(false, false)
	}
	if bump {
		s.store.first = s.store.head
		s.store.history = nil
	}
	s.count("restored")
	s.keepFresh()
	s.mu.Lock()
	s.restored = s.noFresh
	s.mu.Unlock()
}

// allKnow reports whether each process has seen the app; current: all of it.
func (s *storeSimulation) allKnow(current bool) bool {
	for _, n := range s.nodes {
		n.mu.Lock()
		known, link, session := n.known, n.link, n.session
		n.mu.Unlock()
		if session == nil || link == nil || (known.epoch == "" && session.over() != nil) {
			return false
		}
		link.mu.Lock()
		seen, listed := link.seen, link.listed
		link.mu.Unlock()
		if !listed || (current && seen != s.store.head) || (current && session.over() != nil) {
			return false
		}
	}
	return true
}

func (s *storeSimulation) keepFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noFresh = time.Now().Add(simulatedTTL * 3 / 2)
}

// crash kills a process, and starts another that knows nothing.
func (s *storeSimulation) crash(n *simulatedNode) {
	s.mu.Lock()
	fresh := time.Now().After(s.noFresh)
	s.mu.Unlock()
	if !fresh {
		return
	}
	s.note("%s crashes", n.name)
	n.kill()
	<-n.done
	i := slices.Index(s.nodes, n)
	var generation int
	_, _ = fmt.Sscanf(n.name[1:], "%d", &generation)
	s.nodes[i] = s.newNode(i, generation+1)
	s.launch(s.nodes[i], span(s.rng, simulatedTTL/2))
	s.count("crashed")
}

// calm ends the trouble, and waits until all jobs run.
func (s *storeSimulation) calm() {
	if s.hasFailed() {
		return
	}
	s.note("calm")
	s.store.mu.Lock()
	s.store.loses, s.store.breaks, s.store.copies, s.store.stalls = 0, 0, 0, 0
	s.store.mu.Unlock()
	deadline := time.Now().Add(15 * simulatedTTL)
	began := time.Now()
	for _, n := range s.nodes {
		s.cut(n, false, false)
	}
	for !s.allRanSince(began) && !s.hasFailed() {
		if time.Now().After(deadline) {
			if s.doubtsStrangers() && deadline.Before(began.Add(longestSilence)) {
				deadline = deadline.Add(longestSilence)
				continue
			}
			s.mu.Lock()
			for _, n := range s.nodes {
				s.notef("%s", n)
			}
			s.failf("not all jobs run, long after the trouble is over")
			s.mu.Unlock()
			return
		}
		time.Sleep(simulatedTTL / 4)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, d := range s.store.docs {
		var v nodeValue
		if testKeys.decode(d.Key, d.Value, &v) == nil && v.State == stateBuried {
			s.count("buried")
		}
	}
}

func (s *storeSimulation) allRanSince(began time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range simulatedJobs {
		runs := s.runs[job]
		if len(runs) == 0 || runs[len(runs)-1].start.Before(began) {
			return false
		}
	}
	return true
}

// doubtsStrangers reports whether anybody waits for a session of which it does not
// know the TTL.
func (s *storeSimulation) doubtsStrangers() bool {
	for _, n := range s.nodes {
		n.mu.Lock()
		session := n.session
		n.mu.Unlock()
		if session == nil {
			continue
		}
		if session.doubtsStrangers() {
			s.count("long doubt")
			return true
		}
	}
	return false
}

// String tells what a node waits for.
func (n *simulatedNode) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil {
		return n.name + " has never joined"
	}
	return n.name + " is " + n.session.state()
}

// state tells what a session waits for.
func (s *session) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fmt.Sprintf("%s at %v: over %v, picture of %d, amiss %v, epoch %q, registered %d", s.id, s.clock.now(), s.lost, s.mirror.rev, s.mirror.amiss, s.mirror.epoch, s.writer.registered)
	for d := range s.mirror.doubted {
		out += fmt.Sprintf("; doubts %+v", *d)
	}
	for _, n := range s.mirror.nodes {
		if n.counts {
			out += fmt.Sprintf("; sees %s at %d, heard at %v, %+v, tried to bury %d until %v", n.id, n.rev, n.seen, n.value, n.tried, n.retry)
		}
	}
	for _, c := range s.writer.candidacies {
		out += fmt.Sprintf("; campaigns for %s %+v", c.job, c.standing)
		if q := s.mirror.queues[c.job]; q != nil {
			for _, c := range q.claims {
				out += fmt.Sprintf(" %s:%d", c.doc.node.id, c.number)
			}
		}
	}
	return out
}

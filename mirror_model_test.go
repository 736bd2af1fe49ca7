package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The model runs the decisions of several nodes, which are those of session,
// against a store made of a map: writes may be committed late or never, twice
// asked for, and their answers lost; feeds lag behind as they like, merge changes
// into one step, and list anew; strangers write documents again as they are, and
// operators delete them; nodes crash; clocks run fast or slow within the drift
// allowed for. At no moment may two nodes hold a valid leadership of one job, and
// once the trouble is over every job must find a leader.
func TestModelNeverHasTwoLeaders(t *testing.T) {
	var stats modelStats
	for range 10 { // times -rapid.checks, of which 100 is the default
		rapid.Check(t, func(t *rapid.T) { runModel(t, &stats) })
	}
	t.Logf("%+v", stats)
	if stats.leaderships == 0 || stats.handovers == 0 || stats.deleted == 0 || stats.wiped == 0 || stats.touched == 0 || stats.listed == 0 ||
		stats.merged == 0 || stats.late == 0 || stats.buried == 0 || stats.crashed == 0 || stats.drained == 0 || stats.numbered == 0 {
		t.Fatalf("the model did not reach what it is about: %+v", stats)
	}
}

type modelStats struct {
	leaderships, handovers, deleted, wiped, touched, listed, merged, late, buried, crashed, drained, numbered, settled int
}

const modelTTL = 5 * time.Second

func runModel(t *rapid.T, stats *modelStats) {
	m := newModel(t, stats)
	actions := map[string]func(*rapid.T){
		"":         func(t *rapid.T) { m.check() },
		"live":     m.live, // weighted: the keys of this map are drawn evenly
		"live2":    m.live,
		"live3":    m.live,
		"cut":      m.cut,
		"cut2":     m.cut,
		"wait":     m.wait,
		"send":     func(t *rapid.T) { m.node(t).send() },
		"execute":  m.execute,
		"execute2": m.execute,
		"answer":   m.answer,
		"deliver":  m.deliver,
		"deliver2": m.deliver,
		"tick":     func(t *rapid.T) { m.node(t).tick() },
		"stand":    m.stand,
		"resign":   m.resign,
		"loss":     m.lossOf,
		"touch":    m.touch,
		"other": func(t *rapid.T) {
			rapid.SampledFrom([]func(*rapid.T){m.relist, m.replace, m.crash}).Draw(t, "action")(t)
		},
	}
	for range rapid.IntRange(1, 4).Draw(t, "rounds") {
		t.Repeat(actions)
	}
	m.settle(t)
}

var modelJobs = []string{"a", "b", "c"}

// model is a store with its history, and the nodes.
type model struct {
	stats   *modelStats
	now     time.Duration
	head    int64
	docs    map[string]Document
	history []Document // by revision, from 1
	nodes   []*modelNode
	ids     int
	tokens  map[string]int64 // the greatest of each job
	led     map[*election]int64
	hidden  map[string]time.Duration // sessions of which nothing is left, until when they may work
}

// modelNode is a process with its present session; the ones before are over, but
// their documents and messages may still be there.
type modelNode struct {
	*session
	m         *model
	rate      float64
	known     memory
	elections map[string]*election
	wire      []*message
	deaf      bool
	mute      bool
	joined    int // steps of joining that are done
	drained   bool
	view      *View // the last one, so that the next is made from it
}

// message is an attempt of a write under way, and afterwards its answer.
type message struct {
	key      string
	value    []byte // nil deletes
	guard    int64
	executed bool
	rev      int64
	err      error
	answer   func(rev int64, err error) // nil once it was given or lost
}

func newModel(t *rapid.T, stats *modelStats) *model {
	m := &model{stats: stats, docs: map[string]Document{}, tokens: map[string]int64{}, led: map[*election]int64{}, hidden: map[string]time.Duration{}}
	for range 3 {
		n := &modelNode{m: m, rate: 1 + defaultDrift*rapid.Float64Range(-1, 1).Draw(t, "rate")}
		m.nodes = append(m.nodes, n)
		n.begin()
	}
	return m
}

// begin gives the node a new session, which has yet to join.
func (n *modelNode) begin() {
	m := n.m
	m.ids++
	c := &clock{boot: func() (time.Duration, bool) { return 0, false }}
	c.start = time.Unix(0, 0)
	c.tell = func() time.Time { return c.start.Add(time.Second + time.Duration(float64(m.now)*n.rate)) }
	n.session = newSession(sessionOptions{
		prefix: testKeys.prefix, id: fmt.Sprintf("%c%d", 'a'+slices.Index(m.nodes, n), m.ids), timing: newTiming(modelTTL), clock: c,
		known: n.known, remember: func(known memory) { n.known = known }, log: slog.New(slog.DiscardHandler),
	})
	n.writer.perDocument = 2 // of three jobs
	n.elections, n.joined, n.drained = map[string]*election{}, 0, false
	for _, job := range modelJobs {
		n.elections[job] = n.session.Election(job).(*election)
	}
}

// join does what enter does, as far as the answers and the feed allow.
func (n *modelNode) join() {
	n.update(func() {
		switch {
		case n.lost != nil || !n.mirror.listed:
		case n.mirror.shown == "":
			b, _ := testKeys.encode(testKeys.epoch(), &epochValue{fmt.Sprintf("epoch%d", n.m.head)})
			n.post(attempt{key: testKeys.epoch(), value: b}, func(attempt, int64, error) {})
		case n.joined == 0:
			n.joined, n.created, n.makingUntil = 1, true, n.clock.now()+modelTTL
			n.makeDocument()
		case n.joined == 1 && n.writer.documents[0].made != 0:
			n.joined = 2
		}
	})
}

// post sends a write.
func (n *modelNode) post(a attempt, answer func(a attempt, rev int64, err error)) {
	n.wire = append(n.wire, &message{key: a.key, value: a.value, guard: a.guard, answer: func(rev int64, err error) { answer(a, rev, err) }})
}

// send sends an attempt of everything there is to write.
func (n *modelNode) send() {
	n.join()
	s := n.session
	var flights []*flight
	n.update(func() {
		if n.lost != nil {
			return
		}
		s.take()
		for _, d := range s.writer.documents {
			if d.flight != nil {
				flights = append(flights, d.flight)
			}
		}
		for _, f := range flights {
			if f.seq > 1 && !f.claiming && len(f.out) == 0 {
				n.m.stats.numbered++
			}
			n.post(s.attempt(f), func(a attempt, rev int64, err error) {
				s.update(func() { _ = s.settle(f, a, rev, err) })
			})
		}
	})
	if n.joined == 2 {
		n.beat()
	}
	n.dig()
}

func (n *modelNode) beat() {
	s := n.session
	var h *heartbeat
	n.update(func() {
		if n.lost == nil {
			h = s.newHeartbeat()
		}
	})
	if h != nil {
		n.sendBeat(h)
	}
}

func (n *modelNode) sendBeat(h *heartbeat) {
	s := n.session
	n.update(func() {
		n.post(s.attemptHeartbeat(h), func(a attempt, rev int64, err error) {
			s.update(func() { err = s.answered(h, a, rev, err) })
			if errors.Is(err, errAgain) && n.session == s {
				n.sendBeat(h)
			}
		})
	})
}

// dig sends tombstones for the dead.
func (n *modelNode) dig() {
	s := n.session
	n.update(func() {
		if n.lost != nil {
			return
		}
		graves, _ := s.mirror.due(s.clock.now())
		for _, g := range graves {
			v := g.value
			v.State, v.TTL = stateBuried, modelTTL.Milliseconds()
			b, err := testKeys.encode(testKeys.node(g.id), &v)
			if err != nil {
				panic(err)
			}
			n.post(attempt{key: testKeys.node(g.id), value: b, guard: g.rev}, func(_ attempt, _ int64, err error) {
				if err == nil {
					n.m.stats.buried++
				}
			})
		}
	})
}

// commit changes a document, whoever asks for it.
func (m *model) commit(key string, value []byte) int64 {
	m.head++
	d := Document{key, value, m.head}
	if value == nil {
		delete(m.docs, key)
	} else {
		m.docs[key] = d
	}
	m.history = append(m.history, d)
	if kind, id, _ := testKeys.parse(key); value == nil || kind == claimsDocument || m.hidden[id] != 0 {
		m.hide()
	}
	return m.head
}

// hide notes of which sessions nothing is left by which a newcomer could tell that
// they may work.
func (m *model) hide() {
	traced := map[string]bool{}
	for key, d := range m.docs {
		switch kind, id, _ := testKeys.parse(key); kind {
		case nodeDocument:
			traced[id] = true
		case claimsDocument:
			var v claimsValue
			traced[id] = traced[id] || testKeys.decode(key, d.Value, &v) != nil || v.Seq > 1
		}
	}
	for _, n := range m.nodes {
		if _, ok := m.hidden[n.id]; !ok && n.validUntil.Load() != 0 && !traced[n.id] {
			m.hidden[n.id] = m.now + 2*modelTTL
		}
	}
}

// mayList reports whether a listing is within what is guaranteed for a node with
// that picture: it knows of all sessions that have vanished, or that the epoch has.
func (m *model) mayList(known *mirror) bool {
	for id, until := range m.hidden {
		if until < m.now {
			delete(m.hidden, id)
			continue
		}
		if known.nodes[id] == nil {
			return false
		}
	}
	return true
}

func (m *model) run(w *message) {
	there := m.docs[w.key]
	if w.guard != there.Revision {
		w.err = &ConflictError{Key: w.key, Known: m.head%3 != 0, There: there}
		return
	}
	w.rev, w.err = m.commit(w.key, w.value), nil
}

// execute lets a message reach the store: any time after it was sent, in any order,
// and perhaps not for the first time.
func (m *model) execute(t *rapid.T) {
	n := m.node(t)
	if len(n.wire) == 0 {
		t.Skip()
	}
	w := rapid.SampledFrom(n.wire).Draw(t, "message")
	if w.executed {
		late := *w
		late.answer = nil
		m.run(&late)
		m.stats.late++
		return
	}
	m.run(w)
	w.executed = true
}

// answer gives an answer, or loses it.
func (m *model) answer(t *rapid.T) {
	n := m.node(t)
	i := slices.IndexFunc(n.wire, func(w *message) bool { return w.executed && w.answer != nil })
	if i < 0 {
		t.Skip()
	}
	w := n.wire[i]
	answer := w.answer
	w.answer = nil
	if rapid.IntRange(0, 3).Draw(t, "lost") == 0 {
		answer(0, context.DeadlineExceeded)
	} else {
		answer(w.rev, w.err)
	}
	n.wire = n.wire[max(0, len(n.wire)-20):] // copies of what is older do not come any more
}

func (m *model) node(t *rapid.T) *modelNode { return rapid.SampledFrom(m.nodes).Draw(t, "node") }

func (m *model) wait(t *rapid.T) {
	m.now += time.Duration(rapid.SampledFrom([]int{10, 100, 300, 1000}).Draw(t, "ms")) * time.Millisecond
}

// deliver lets a node's feed catch up by some revisions, one by one or in one step.
func (m *model) deliver(t *rapid.T) {
	n := m.node(t)
	to := min(m.head, n.mirror.rev+int64(rapid.IntRange(1, 8).Draw(t, "revisions")))
	if !n.mirror.listed {
		if m.mayList(n.mirror) {
			m.list(n)
		}
		return
	}
	if rapid.Bool().Draw(t, "merged") {
		m.stats.merged++
		m.show(n, to)
		return
	}
	m.catchUp(n, to)
}

// show takes all up to a revision in as one step.
func (m *model) show(n *modelNode, to int64) {
	if to <= n.mirror.rev {
		return
	}
	latest := map[string]Document{}
	for _, d := range m.history[n.mirror.rev:to] {
		latest[d.Key] = d
	}
	n.apply(Step{Revision: to, Documents: slices.Collect(maps.Values(latest))})
	m.check()
}

func (m *model) catchUp(n *modelNode, to int64) {
	for n.mirror.rev < to {
		m.show(n, n.mirror.rev+1)
	}
}

func (m *model) list(n *modelNode) {
	n.apply(Step{Revision: m.head, Whole: true, Documents: slices.Collect(maps.Values(m.docs))})
	m.check()
}

func (m *model) relist(t *rapid.T) {
	n := m.node(t)
	if !m.mayList(n.mirror) {
		t.Skip()
	}
	m.stats.listed++
	m.list(n)
}

func (n *modelNode) tick() {
	n.update(func() {
		n.session.tick()
		if n.mirror.torn != nil && n.lost == nil {
			panic("torn, and not over")
		}
	})
}

// live lets a second pass as it does when all is well, but for the nodes that are
// cut off: so runs get to where there is something to lose.
func (m *model) live(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "seconds") {
		m.now += time.Second
		for _, n := range m.nodes {
			n.renew()
			m.exchange(n)
			m.check()
		}
	}
}

// renew replaces a session that is over, if the node reaches the store.
func (n *modelNode) renew() {
	if n.lost != nil && !n.deaf && !n.mute && n.m.mayList(n.mirror) {
		n.m.drain(n.session)
		n.begin()
	}
}

// exchange has a node send what it has to send, get answers, and catch up, as far
// as it is not cut off.
func (m *model) exchange(n *modelNode) {
	for range 4 {
		n.tick()
		if !n.deaf {
			if !n.mirror.listed {
				if !m.mayList(n.mirror) {
					return
				}
				m.list(n)
			}
			m.catchUp(n, m.head)
		}
		for _, job := range modelJobs {
			n.standFor(job)
		}
		if n.mute {
			continue
		}
		n.send()
		for next := 0; next < len(n.wire); { // answers may send more
			w := n.wire[next]
			next++
			if !w.executed {
				m.run(w)
				w.executed = true
			}
			if w.answer != nil {
				answer := w.answer
				w.answer = nil
				answer(w.rev, w.err)
			}
		}
		n.wire = n.wire[max(0, len(n.wire)-20):]
	}
}

func (n *modelNode) standFor(job string) {
	if e := n.elections[job]; e.candidacy == nil && n.lost == nil {
		n.update(func() { e.stand(newBid(func(error) {})) })
	}
}

// cut heals everybody, and makes one node deaf: its feed stands still; or mute:
// what it sends stays under way; or both.
func (m *model) cut(t *rapid.T) {
	for _, n := range m.nodes {
		n.deaf, n.mute = false, false
	}
	n := m.node(t)
	mode := rapid.IntRange(0, 4).Draw(t, "mode") // 0 heals it
	n.deaf, n.mute = mode >= 2, mode == 1 || mode == 4
}

func (m *model) stand(t *rapid.T) {
	m.node(t).standFor(rapid.SampledFrom(modelJobs).Draw(t, "job"))
}

func (m *model) resign(t *rapid.T) {
	e := m.node(t).elections[rapid.SampledFrom(modelJobs).Draw(t, "job")]
	e.session.update(func() { e.withdraw() })
	if rapid.Bool().Draw(t, "again") && e.session.over() == nil {
		e.session.update(func() { e.stand(newBid(func(error) {})) })
	}
}

func (m *model) touch(t *rapid.T) {
	if len(m.docs) == 0 {
		t.Skip()
	}
	key := rapid.SampledFrom(slices.Sorted(maps.Keys(m.docs))).Draw(t, "key")
	m.commit(key, m.docs[key].Value)
	m.stats.touched++
}

// lossOf is an operator's deletion: of one document, or of everything; or another
// hand's change of one.
func (m *model) lossOf(t *rapid.T) {
	if len(m.docs) == 0 {
		t.Skip()
	}
	switch key := rapid.SampledFrom(slices.Sorted(maps.Keys(m.docs))).Draw(t, "key"); rapid.IntRange(0, 5).Draw(t, "loss") {
	case 0:
		for _, key := range slices.Sorted(maps.Keys(m.docs)) {
			m.commit(key, nil)
		}
		m.stats.wiped++
	case 1:
		m.commit(key, []byte("garbage"))
	default:
		m.commit(key, nil)
		m.stats.deleted++
	}
}

// replace begins another session of a node whose session is over. What ran under it
// has stopped; that may or may not get to the store.
func (m *model) replace(t *rapid.T) {
	n := m.node(t)
	if n.lost == nil || !m.mayList(n.mirror) {
		t.Skip()
	}
	if rapid.Bool().Draw(t, "drain") {
		m.drain(n.session)
	}
	n.begin()
}

// drain does what close does.
func (m *model) drain(s *session) {
	if s.created {
		b, err := testKeys.encode(testKeys.node(s.id), s.nodeValue(s.renewal.number+1, stateDrained))
		if err != nil {
			panic(err)
		}
		m.commit(testKeys.node(s.id), b)
		m.stats.drained++
	}
}

// crash kills a process. The next one knows nothing.
func (m *model) crash(t *rapid.T) {
	n := m.node(t)
	if !m.mayList(newMirror(testKeys, "", newTiming(modelTTL), memory{})) {
		t.Skip()
	}
	m.stats.crashed++
	n.known = memory{}
	n.begin()
	n.wire = nil
}

// check is what it is all about.
func (m *model) check() {
	for _, job := range modelJobs {
		var valid []string
		for _, n := range m.nodes {
			e := n.elections[job]
			if !e.Valid() {
				continue
			}
			valid = append(valid, n.id)
			if m.led[e] != e.token {
				if e.token <= m.tokens[job] {
					panic(fmt.Sprintf("job %s: session %s leads with token %d after %d", job, n.id, e.token, m.tokens[job]))
				}
				if m.tokens[job] > 0 {
					m.stats.handovers++
				}
				m.led[e], m.tokens[job] = e.token, e.token
				m.stats.leaderships++
			}
		}
		if len(valid) > 1 {
			panic(fmt.Sprintf("job %s: valid leaderships of sessions %v at once", job, valid))
		}
	}
	for i, n := range m.nodes {
		if (m.head+int64(i))%23 == 0 { // several changes to a view, which takes a while to make anew
			n.checkView()
		}
	}
}

// checkView compares the view that was made from the one before with one that is made
// anew.
func (n *modelNode) checkView() {
	n.views.at = -1
	patched, _ := n.views.get(&n.mu, n.mirror)
	n.view = patched
	news := n.mirror.news
	n.mirror.news = newsOfAll
	whole := n.mirror.sketch().view(n.keys, nil)
	n.mirror.news = news
	if !reflect.DeepEqual(patched.Nodes, whole.Nodes) || !slices.EqualFunc(patched.Jobs, whole.Jobs, func(a, b JobView) bool { return reflect.DeepEqual(a, b) }) {
		panic(fmt.Sprintf("the view of session %s is %+v, and made anew %+v", n.id, patched, whole))
	}
}

var newsOfAll = news{all: true}

// settle ends the trouble: writes get through, feeds catch up, and lost sessions are
// replaced. After a few TTLs every job has one leader.
func (m *model) settle(t *rapid.T) {
	for round := range 80 {
		m.now += modelTTL / 10
		if round == 40 && m.doubtsStrangers() {
			m.now += longestSilence
		}
		for _, n := range m.nodes {
			n.deaf, n.mute = false, false
			n.renew()
			m.exchange(n)
			m.check()
		}
		if m.allLed() {
			break
		}
	}
	for _, job := range modelJobs {
		if !m.isLed(job) {
			for _, n := range m.nodes {
				t.Logf("%s at %v: over %v, waits for %v", n.id, n.clock.now(), n.lost, slices.Collect(maps.Keys(n.mirror.doubted)))
			}
			t.Fatalf("job %s has no leader long after the trouble is over", job)
		}
	}
	m.stats.settled++
}

func (m *model) allLed() bool {
	return !slices.ContainsFunc(modelJobs, func(job string) bool { return !m.isLed(job) })
}

func (m *model) isLed(job string) bool {
	return slices.ContainsFunc(m.nodes, func(n *modelNode) bool { return n.elections[job].Valid() })
}

// doubtsStrangers reports whether anybody waits for a session of which it does not
// know the TTL.
func (m *model) doubtsStrangers() bool {
	for _, n := range m.nodes {
		for d := range n.mirror.doubted {
			if d.quiet == 0 {
				return true
			}
		}
	}
	return false
}

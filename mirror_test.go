package distributed

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testTTL = 10 * time.Second

var testSilence = silence(testTTL, defaultDrift)

// picture is a mirror with a store that it follows.
type picture struct {
	*mirror
	t    *testing.T
	now  time.Duration
	docs map[string]Document
	head int64
	last change
}

func newPicture(t *testing.T, self string) *picture {
	p := &picture{mirror: newMirror(testKeys, self, newTiming(testTTL), memory{}), t: t, docs: map[string]Document{}}
	p.put(testKeys.epoch(), &epochValue{"e"})
	p.list()
	return p
}

// put writes a document, and returns what the feed says of it.
func (p *picture) put(key string, v value) Document {
	b, err := testKeys.encode(key, v)
	require.NoError(p.t, err)
	return p.set(key, b)
}

func (p *picture) set(key string, b []byte) Document {
	p.head++
	d := Document{key, b, p.head}
	if b == nil {
		delete(p.docs, key)
	} else {
		p.docs[key] = d
	}
	return d
}

func (p *picture) touch(key string) Document { return p.set(key, p.docs[key].Value) }

// show takes in a step, a second after the last one.
func (p *picture) show(docs ...Document) {
	p.now += time.Second
	p.last = p.step(Step{Revision: p.head, Documents: docs}, p.now)
}

func (p *picture) list() {
	var all []Document
	for _, d := range p.docs {
		all = append(all, d)
	}
	p.now += time.Second
	p.last = p.step(Step{Revision: p.head, Whole: true, Documents: all}, p.now)
}

func beat(n int64, made ...int64) *nodeValue {
	v := &nodeValue{Instance: "i", TTL: testTTL.Milliseconds(), Drift: inMillionths(defaultDrift), Beat: n, Documents: len(made)}
	for _, m := range made {
		v.Made += m
	}
	return v
}

func ended(state string) *nodeValue {
	v := beat(99)
	v.State = state
	return v
}

func claimed(seq, made, guard int64, claims ...position) *claimsValue {
	v := &claimsValue{TTL: testTTL.Milliseconds(), Drift: inMillionths(defaultDrift), Seq: seq, Made: made, Guard: guard}
	return v.claim(claims)
}

// join makes a session with one claim document, and returns when that was made.
func (p *picture) join(id string) (made int64) {
	c := p.put(testKeys.claims(id, 0), claimed(1, 0, 0))
	p.show(c)
	p.show(p.put(testKeys.node(id), beat(1, c.Revision)))
	return c.Revision
}

// stand has a session claim job a with its second write, and returns the revision.
func (p *picture) stand(id string, made int64) int64 {
	d := p.put(testKeys.claims(id, 0), claimed(2, made, p.docs[testKeys.claims(id, 0)].Revision, position{"a", 0}))
	p.show(d)
	return d.Revision
}

func (p *picture) requireFirst(id string) {
	p.t.Helper()
	require.False(p.t, p.waits(), "in doubt about %v", p.doubted)
	q := p.queues["a"]
	if id == "" {
		require.Nil(p.t, q)
		return
	}
	require.NotNil(p.t, q)
	require.Equal(p.t, id, q.claims[0].doc.node.id)
}

func (p *picture) requireDoubt(until time.Duration) {
	p.t.Helper()
	require.True(p.t, p.waits())
	at, ok := p.nextExpiry()
	require.True(p.t, ok)
	require.Equal(p.t, until, at)
	require.False(p.t, p.expire(until-1))
	require.True(p.t, p.waits())
}

func TestTheFirstClaimLeadsAndAReleaseLetsTheNextLead(t *testing.T) {
	p := newPicture(t, "x")
	x, y := p.join("x"), p.join("y")
	mine := p.stand("x", x)
	p.stand("y", y)
	require.True(t, p.leads("a", standing{0, 2, mine}))
	require.False(t, p.leads("a", standing{0, 2, 0}), "the number is not known yet")
	require.False(t, p.leads("a", standing{0, 3, mine}), "a later write makes the claim")
	require.False(t, p.leads("a", standing{1, 1, mine}), "another document has it")
	alone := newPicture(t, "x")
	mineAlone := alone.stand("x", alone.join("x"))
	require.True(t, alone.leads("a", standing{0, 2, mineAlone}))
	require.False(t, alone.leads("a", standing{0, 2, mineAlone + 1}), "the picture is older than the number")
	p.show(p.put(testKeys.claims("x", 0), claimed(3, x, mine)))
	p.requireFirst("y")
	require.Len(t, p.last.queues, 1)
	require.Equal(t, p.now, p.queues["a"].vacated)
}

func TestAPlaceIsNeverLaterThanTheCommit(t *testing.T) {
	for name, c := range map[string]struct {
		show func(p *picture, write Document)
		want func(from, guard, commit int64) int64
	}{
		"seen singly":       {func(p *picture, d Document) { p.show(d) }, func(from, guard, commit int64) int64 { return commit }},
		"touched unseen":    {func(p *picture, d Document) { p.show(p.touch(d.Key)) }, func(from, guard, commit int64) int64 { return from + 1 }},
		"touched":           {func(p *picture, d Document) { p.show(d); p.show(p.touch(d.Key)) }, func(from, guard, commit int64) int64 { return commit }},
		"listed":            {func(p *picture, d Document) { p.list() }, func(from, guard, commit int64) int64 { return from + 1 }},
		"listed and listed": {func(p *picture, d Document) { p.list(); p.touch(d.Key); p.list() }, func(from, guard, commit int64) int64 { return from + 1 }},
		"merged with others": {func(p *picture, d Document) {
			p.show(d, p.put(testKeys.node("z"), beat(1)))
		}, func(from, guard, commit int64) int64 { return from + 1 }},
		"met in a listing": {func(p *picture, d Document) {
			p.touch(d.Key)
			p.mirror = newMirror(testKeys, "x", newTiming(testTTL), memory{})
			p.list()
		}, func(from, guard, commit int64) int64 { return guard + 1 }},
		"merged with a write before": {func(p *picture, d Document) {
			v := claimed(3, 0, d.Revision, position{"a", d.Revision}, position{"b", 0})
			v.Made = 2
			p.show(p.put(d.Key, v))
		}, func(from, guard, commit int64) int64 { return commit }},
		"numbered": {func(p *picture, d Document) {
			p.touch(d.Key)
			p.list()
			p.show(p.put(d.Key, claimed(3, 2, p.head, position{"a", 1000})))
		}, func(from, guard, commit int64) int64 { return 1000 }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			y := p.join("y")
			from, guard := p.rev, p.docs[testKeys.claims("y", 0)].Revision
			d := p.put(testKeys.claims("y", 0), claimed(2, y, guard, position{"a", 0}))
			c.show(p, d)
			require.False(t, p.waits())
			require.Equal(t, c.want(from, guard, d.Revision), p.queues["a"].claims[0].number)
		})
	}
}

func TestALossByAnotherHandIsWaitedFor(t *testing.T) {
	key := testKeys.claims("y", 0)
	for name, lose := range map[string]func(p *picture, made, stood int64){
		"the claim document is deleted": func(p *picture, _, _ int64) { p.show(p.set(key, nil)) },
		"the node document is deleted":  func(p *picture, _, _ int64) { p.show(p.set(testKeys.node("y"), nil)) },
		"both are deleted": func(p *picture, _, _ int64) {
			p.show(p.set(testKeys.node("y"), nil), p.set(key, nil))
		},
		"a claim is taken out": func(p *picture, made, _ int64) {
			b, _ := testKeys.encode(key, claimed(2, made, made, position{"b", 0}))
			copy(b[len(valueStart):], p.docs[key].Value[len(valueStart):len(valueStart)+sumLength])
			p.show(p.set(key, b))
		},
		"an older version is put back": func(p *picture, _, _ int64) { p.show(p.put(key, claimed(1, 0, 0))) },
		"the same version is another":  func(p *picture, made, _ int64) { p.show(p.put(key, claimed(2, made, made))) },
		"made anew": func(p *picture, made, _ int64) {
			p.set(key, nil)
			p.show(p.put(key, claimed(3, 0, 0)))
		},
		"the node document is garbage": func(p *picture, _, _ int64) { p.show(p.set(testKeys.node("y"), []byte("{}"))) },
		"its heartbeat goes back":      func(p *picture, made, _ int64) { p.show(p.put(testKeys.node("y"), beat(0, made))) },
		"its heartbeat is another":     func(p *picture, made, _ int64) { p.show(p.put(testKeys.node("y"), beat(1, made, 0))) },
		"made anew as it was, unseen": func(p *picture, made, _ int64) {
			key := testKeys.claims("y", 1)
			d := p.put(key, claimed(1, 0, 0))
			p.show(d, p.put(testKeys.node("y"), beat(2, made, d.Revision)))
			p.set(key, nil)
			p.show(p.set(key, d.Value))
		},
		"a registered document is absent": func(p *picture, made, _ int64) { p.show(p.put(testKeys.node("y"), beat(2, made, 5))) },
		"listed without the claim document": func(p *picture, _, _ int64) {
			p.set(key, nil)
			p.list()
		},
		"listed without the node document": func(p *picture, _, _ int64) {
			p.set(testKeys.node("y"), nil)
			p.list()
		},
		"listed without either": func(p *picture, _, _ int64) {
			p.set(testKeys.node("y"), nil)
			p.set(key, nil)
			p.list()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			made := p.join("y")
			stood := p.stand("y", made)
			p.requireFirst("y")
			lose(p, made, stood)
			lost := p.now
			p.requireDoubt(lost + testSilence)
			p.list()
			p.requireDoubt(lost + testSilence) // listing it again does not prolong it
			if _, ok := p.docs[key]; !ok {
				b, _ := testKeys.encode(key, claimed(1, 0, 0))
				p.show(p.set(key, b)) // a late copy makes it again
			}
			require.True(t, p.waits(), "a document that is there again does not end it")
			p.show(p.put(testKeys.node("y"), ended(stateDrained)))
			p.requireFirst("")

			own := newPicture(t, "y")
			made = own.join("y")
			lose(own, made, own.stand("y", made))
			require.ErrorIs(t, own.torn, errTornAway, "the owner is as strict")
		})
	}
}

func TestNewcomersWaitForWhatIsLost(t *testing.T) {
	key := testKeys.claims("y", 0)
	for name, lose := range map[string]func(p *picture){
		"the claim document is gone": func(p *picture) { p.set(key, nil) },
		"the node document is gone":  func(p *picture) { p.set(testKeys.node("y"), nil) },
		"the claim document was made anew": func(p *picture) {
			b, _ := testKeys.encode(key, claimed(1, 0, 0))
			p.set(key, b)
		},
		"the claim document is garbage": func(p *picture) { p.set(key, []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			p.stand("y", p.join("y"))
			lose(p)
			p.mirror = newMirror(testKeys, "x", newTiming(testTTL), memory{})
			p.list()
			p.requireDoubt(p.now + testSilence)
		})
	}
	p := newPicture(t, "x")
	p.put(key, claimed(1, 0, 0))
	p.list()
	require.False(t, p.waits(), "who is about to join has claimed nothing")
}

func TestWhatIsTouchedIsNotLost(t *testing.T) {
	p := newPicture(t, "y")
	p.stand("y", p.join("y"))
	p.show(p.touch(testKeys.claims("y", 0)))
	p.show(p.touch(testKeys.node("y")))
	p.touch(testKeys.claims("y", 0))
	p.touch(testKeys.node("y"))
	p.list()
	p.requireFirst("y")
	require.NoError(t, p.torn)
}

func TestANewLossProlongsADoubt(t *testing.T) {
	p := newPicture(t, "x")
	made := p.join("y")
	p.stand("y", made)
	p.show(p.set(testKeys.claims("y", 0), nil))
	p.show(p.put(testKeys.claims("y", 0), claimed(1, 0, 0)))
	p.show(p.set(testKeys.claims("y", 0), nil))
	p.requireDoubt(p.now + testSilence)
	for _, garbage := range []string{"x", "y"} {
		p.show(p.set(testKeys.claims("y", 0), []byte(garbage)))
		p.requireDoubt(p.now + testSilence)
	}
	require.True(t, p.expire(p.now+testSilence))
	require.False(t, p.waits())
}

func TestADoubtTakesAsLongAsTheLargerTimingSays(t *testing.T) {
	for name, c := range map[string]struct {
		ttl   time.Duration
		drift float64
		want  time.Duration
	}{
		"theirs is longer":       {30 * time.Second, 0, silence(30*time.Second, defaultDrift)},
		"theirs is shorter":      {time.Second, 0, silence(time.Second, defaultDrift)},
		"their clocks are worse": {time.Second, 0.1, silence(time.Second, 0.1)},
		"nothing is known of it": {0, 0, longestSilence},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			v := &nodeValue{TTL: c.ttl.Milliseconds(), Drift: inMillionths(c.drift), Beat: 1}
			if c.ttl > 0 {
				p.show(p.put(testKeys.node("y"), v))
				p.show(p.set(testKeys.node("y"), nil))
			} else {
				p.show(p.set(testKeys.node("y"), []byte("garbage")))
			}
			p.requireDoubt(p.now + c.want)
		})
	}
}

func TestWhoIsVoidCountsForNothing(t *testing.T) {
	for _, state := range []string{stateDrained, stateBuried} {
		p := newPicture(t, "x")
		made := p.join("y")
		p.stand("y", made)
		p.stand("x", p.join("x"))
		p.requireFirst("y")
		p.show(p.put(testKeys.node("y"), ended(state)))
		p.requireFirst("x")
		require.Equal(t, state == stateDrained, p.queues["a"].vacated == p.now)
		p.show(p.set(testKeys.claims("y", 0), nil), p.set(testKeys.node("y"), nil))
		p.requireFirst("x")
		require.Len(t, p.nodes, 1)

		own := newPicture(t, "y")
		own.stand("y", own.join("y"))
		own.show(own.put(testKeys.node("y"), ended(state)))
		require.ErrorIs(t, own.torn, errBuried)
	}
}

func TestASilentNodeIsBuriedAndNotPassedOver(t *testing.T) {
	p := newPicture(t, "x")
	made := p.join("y")
	p.stand("y", made)
	p.stand("x", p.join("x"))
	p.show(p.put(testKeys.node("y"), beat(2, made)))
	heard := p.now
	p.list()
	graves, next := p.due(heard + testSilence - 1)
	require.Empty(t, graves)
	require.Equal(t, heard+testSilence, next, "listing it again is no heartbeat")
	graves, _ = p.due(heard + testSilence)
	require.Len(t, graves, 1)
	require.Equal(t, p.docs[testKeys.node("y")].Revision, graves[0].rev)
	p.requireFirst("y") // until the tombstone is there

	p.dug(graves[0], heard+testSilence)
	again, next := p.due(heard + testSilence)
	require.Empty(t, again)
	require.Equal(t, heard+2*testSilence, next, "a store that was taken back does not tell of the tombstone")
	again, _ = p.due(next)
	require.Len(t, again, 1)
	p.show(p.touch(testKeys.node("y")))
	again, next = p.due(heard + testSilence)
	require.Empty(t, again)
	require.Equal(t, p.now+testSilence, next, "what was touched may have been made anew, and lived in between")
	again, _ = p.due(next)
	require.Equal(t, p.head, again[0].rev, "the guard is the revision that the picture shows")
}

func TestWhatHasNoNodeDocumentIsBuriedToo(t *testing.T) {
	p := newPicture(t, "x")
	p.show(p.put(testKeys.claims("y", 0), claimed(1, 0, 0)))
	_, next := p.due(p.now)
	require.Equal(t, p.now+testSilence, next)
	graves, _ := p.due(next)
	require.Equal(t, int64(0), graves[0].rev)

	p.stand("z", p.join("z"))
	p.show(p.set(testKeys.node("z"), nil))
	lost := p.now
	graves, _ = p.due(lost + testSilence)
	require.Len(t, graves, 1, "z is in doubt until then")
	p.expire(lost + testSilence)
	graves, _ = p.due(lost + testSilence)
	require.Len(t, graves, 2)
}

func TestTheGravesOfTheVoidAreKept(t *testing.T) {
	for name, b := range map[string][]byte{"deleted": nil, "written over": []byte("x")} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			p.stand("y", p.join("y"))
			p.show(p.put(testKeys.node("y"), ended(stateDrained)))
			graves, _ := p.due(p.now)
			require.Empty(t, graves)
			p.show(p.set(testKeys.node("y"), b))
			require.False(t, p.waits())
			graves, _ = p.due(p.now)
			require.Len(t, graves, 1, "or newcomers would wait for it")
			require.Equal(t, p.docs[testKeys.node("y")].Revision, graves[0].rev)
		})
	}
}

func TestAnotherEpochIsADoubtAboutEverybody(t *testing.T) {
	for name, c := range map[string]func(p *picture){
		"gone":           func(p *picture) { p.show(p.set(testKeys.epoch(), nil)) },
		"another":        func(p *picture) { p.show(p.put(testKeys.epoch(), &epochValue{"f"})) },
		"garbage":        func(p *picture) { p.show(p.set(testKeys.epoch(), []byte("x"))) },
		"listed another": func(p *picture) { p.put(testKeys.epoch(), &epochValue{"f"}); p.list() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			p.stand("x", p.join("x"))
			c(p)
			p.requireDoubt(p.now + testSilence)
			require.ErrorIs(t, p.torn, errEpoch)
			until := p.now + testSilence

			p.mirror = newMirror(testKeys, "z", newTiming(testTTL), p.memory())
			p.put(testKeys.epoch(), &epochValue{"f"})
			p.list()
			at, _ := p.nextExpiry()
			require.GreaterOrEqual(t, at, until, "the next session remembers")
			require.NoError(t, p.torn, "and has nothing to lose yet")
			require.True(t, p.expire(at))
			p.list()
			require.False(t, p.waits(), "this is the epoch from now on")
		})
	}
	p := newPicture(t, "x")
	p.stand("y", p.join("y"))
	p.set(testKeys.epoch(), nil)
	p.mirror = newMirror(testKeys, "x", newTiming(testTTL), memory{})
	p.list()
	p.requireDoubt(p.now + testSilence) // nodes without an epoch
}

func TestAProcessRemembersFromSessionToSession(t *testing.T) {
	p := newPicture(t, "x")
	p.stand("y", p.join("y"))
	heard := p.now - time.Second
	p.show(p.put(testKeys.node("z"), beat(1)))
	p.show(p.set(testKeys.node("z"), nil))
	lost := p.now
	p.mirror = newMirror(testKeys, "x2", newTiming(testTTL), p.memory())
	p.requireDoubt(lost + testSilence)
	p.list()
	p.requireDoubt(lost + testSilence)
	graves, _ := p.due(heard + testSilence)
	require.Len(t, graves, 1, "what was heard before counts")

	p.mirror = newMirror(testKeys, "x3", newTiming(testTTL), p.memory())
	p.set(testKeys.node("y"), nil)
	p.set(testKeys.claims("y", 0), nil)
	p.list()
	p.requireDoubt(lost + testSilence)
	require.Equal(t, p.now+testSilence, p.nodes["y"].doubt, "known before, and absent now")
}

// Otherwise a process whose sessions end more often than that would wait for ever.
func TestWhatNobodyCanReadIsWaitedForOnceByAProcess(t *testing.T) {
	p := newPicture(t, "x")
	key := testKeys.claims("y", 0)
	p.show(p.set(key, []byte("?"))) // of a session of which nothing is known
	lost := p.now
	for range 3 {
		p.mirror = newMirror(testKeys, "x2", newTiming(testTTL), p.memory())
		p.list()
		p.requireDoubt(lost + longestSilence)
	}
	p.set(key, []byte("??"))
	p.mirror = newMirror(testKeys, "x3", newTiming(testTTL), p.memory())
	p.list()
	require.Equal(t, p.now+longestSilence, p.nodes["y"].doubt, "written since, by whom it may be")
	p.mirror = newMirror(testKeys, "x4", newTiming(testTTL), p.memory())
	p.set(key, nil)
	p.list()
	require.Equal(t, p.now+longestSilence, p.nodes["y"].doubt, "gone since")
}

func TestAnEarlierStateOfTheStoreIsNoticed(t *testing.T) {
	for name, c := range map[string]func(p *picture, before Document){
		"the revision falls":  func(p *picture, _ Document) { p.head -= 2; p.list() },
		"a document is older": func(p *picture, d Document) { p.docs[d.Key] = d; p.head += 10; p.list() },
		"a revision has two values": func(p *picture, d Document) {
			d.Revision = p.docs[d.Key].Revision
			p.docs[d.Key] = d
			p.list()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicture(t, "x")
			made := p.join("y")
			before := p.docs[testKeys.claims("y", 0)]
			p.stand("y", made)
			c(p, before)
			require.ErrorIs(t, p.torn, errHistory)
			require.True(t, p.waits())
			at := p.amiss
			require.Equal(t, p.now+testSilence, at)
			p.mirror = newMirror(testKeys, "x2", newTiming(testTTL), p.memory())
			p.list()
			require.NoError(t, p.torn, "the next session takes the store as it is")
			require.Equal(t, at, p.amiss)
		})
	}
	p := newPicture(t, "x")
	known := p.memory()
	p.head--
	p.mirror = newMirror(testKeys, "x2", newTiming(testTTL), known)
	p.list()
	require.ErrorIs(t, p.torn, errHistory, "from session to session")
}

func TestGarbageGoesLateAndInOrder(t *testing.T) {
	p := newPicture(t, "x")
	p.stand("y", p.join("y"))
	p.show(p.put(testKeys.info("y"), &infoValue{}))
	p.show(p.put(testKeys.node("y"), ended(stateDrained)))
	age := p.now + garbageAge
	require.Empty(t, p.garbage(age-1, 10))
	for _, key := range []string{testKeys.claims("y", 0), testKeys.info("y"), testKeys.node("y")} {
		found := p.garbage(age, 10)
		require.Len(t, found, 1)
		require.Equal(t, key, found[0].Key)
		require.Equal(t, p.docs[key].Revision, found[0].Revision)
		p.show(p.set(key, nil))
		require.False(t, p.waits())
	}
	require.Empty(t, p.garbage(age, 10))
	require.Empty(t, p.nodes)
	require.True(t, p.collects())
	p.join("a")
	require.False(t, p.collects(), "the first of those that are there does")
}

func TestNobodyLeadsBesideAnUnknownVersion(t *testing.T) {
	p := newPicture(t, "x")
	mine := p.stand("x", p.join("x"))
	require.True(t, p.leads("a", standing{0, 2, mine}))
	p.show(p.set(testKeys.node("y"), []byte(`{"v":2}`)))
	require.ErrorContains(t, p.unknown(), "format version 2")
	require.ErrorContains(t, p.torn, "format version 2")
	p.expire(p.now + 2*longestSilence)
	require.False(t, p.leads("a", standing{0, 2, mine}))
	p.show(p.set(testKeys.node("y"), nil))
	require.NoError(t, p.unknown())
}

func TestViewsAreNotOutdatedByHeartbeats(t *testing.T) {
	p := newPicture(t, "x")
	made := p.join("y")
	before := p.changes
	p.stand("y", made)
	require.Greater(t, p.changes, before)
	before = p.changes
	p.show(p.put(testKeys.node("y"), beat(2, made)))
	p.show(p.touch(testKeys.claims("y", 0)))
	p.show()
	require.Equal(t, before, p.changes)
	p.show(p.put(testKeys.claims("y", 0), claimed(3, made, p.head)))
	require.Greater(t, p.changes, before)
	before = p.changes
	p.show(p.put(testKeys.info("y"), &infoValue{Version: "v"}))
	require.Greater(t, p.changes, before)
}

// many is a picture of nodes that all claim the same jobs.
func many(t testing.TB, nodes, jobs, each int) (m *mirror, docs []Document) {
	m = newMirror(testKeys, "x", newTiming(testTTL), memory{})
	put := func(key string, v value) {
		b, err := testKeys.encode(key, v)
		require.NoError(t, err)
		docs = append(docs, Document{key, b, int64(len(docs) + 1)})
	}
	put(testKeys.epoch(), &epochValue{"e"})
	for n := range nodes {
		id := fmt.Sprintf("node%d", n)
		var made []int64
		for k := 0; k*each < jobs; k++ {
			var claims positions
			for j := k * each; j < min((k+1)*each, jobs); j++ {
				claims = append(claims, position{fmt.Sprintf("job-%06d", j), int64(n + 1)})
			}
			made = append(made, int64(len(docs)+1))
			put(testKeys.claims(id, k), claimed(2, made[k], 0, claims...))
		}
		put(testKeys.node(id), beat(1, made...))
	}
	return m, docs
}

func TestAPictureOfManyClaimsIsSmall(t *testing.T) {
	const nodes, jobs = 50, 2_000
	m, docs := many(t, nodes, jobs, 50)
	before := liveBytes()
	m.step(Step{Revision: int64(len(docs)), Whole: true, Documents: docs}, 1)
	perClaim := (liveBytes() - before) / (nodes * jobs)
	require.False(t, m.waits())
	require.Len(t, m.queues["job-000007"].claims, nodes)
	t.Logf("%d bytes a claim", perClaim)
	require.Less(t, perClaim, int64(100))
	runtime.KeepAlive(docs)
}

func liveBytes() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// BenchmarkStep is one claim more in a document of 50, beside half a million others.
func BenchmarkStep(b *testing.B) {
	m, docs := many(b, 50, 10_000, 50)
	m.step(Step{Revision: int64(len(docs)), Whole: true, Documents: docs}, 1)
	key := testKeys.claims("node7", 3)
	var claims positions
	for j := 150; j < 200; j++ {
		claims = append(claims, position{fmt.Sprintf("job-%06d", j), 8})
	}
	values := make([][]byte, b.N)
	rev := int64(len(docs))
	guard := m.nodes["node7"].docs[3].rev
	for i := range values {
		v := claimed(int64(3+i), m.nodes["node7"].docs[3].made, guard, claims[:49+i%2]...)
		guard = rev + int64(i) + 1
		values[i], _ = testKeys.encode(key, v)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range values {
		rev++
		if c := m.step(Step{Revision: rev, Documents: []Document{{key, values[i], rev}}}, 2); len(c.queues) > 1 && i > 0 {
			b.Fatalf("%d queues changed", len(c.queues))
		}
	}
	if m.waits() {
		b.Fatal("in doubt")
	}
}

// BenchmarkPicture is the pictures of 20 nodes in one process that begin to claim the same
// 9,600 jobs at once.
func BenchmarkPicture(b *testing.B) {
	steps := crowd(b, 20)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		pictures := make([]*mirror, 20)
		for i := range pictures {
			pictures[i] = newMirror(testKeys, fmt.Sprintf("node%d", i), newTiming(testTTL), memory{})
		}
		for _, s := range steps {
			for _, m := range pictures {
				m.step(s, 1)
			}
		}
		for _, m := range pictures {
			if m.waits() || m.torn != nil || len(m.queues) != 9_600 {
				b.Fatal("not all is there")
			}
		}
	}
}

// crowd is what nodes write that claim 9,600 jobs, 64 a document and 25 documents a step:
// all documents empty, then with the claims, and in the end with their numbers.
func crowd(t testing.TB, nodes int) (steps []Step) {
	put := func(key string, v value) (rev int64) {
		s := &steps[len(steps)-1]
		b, err := testKeys.encode(key, v)
		require.NoError(t, err)
		s.Documents = append(s.Documents, Document{key, b, s.Revision})
		return s.Revision
	}
	begin := func() { steps = append(steps, Step{Revision: int64(len(steps) + 1)}) }
	begin()
	put(testKeys.epoch(), &epochValue{"e"})
	for n := range nodes {
		begin()
		var made []int64
		for k := range 150 {
			made = append(made, put(testKeys.claims(fmt.Sprintf("node%d", n), k), claimed(1, 0, 0)))
		}
		put(testKeys.node(fmt.Sprintf("node%d", n)), beat(1, made...))
	}
	written := make([]int64, nodes*150)
	for seq := int64(2); seq <= 3; seq++ {
		for first := 0; first < 150; first += 25 {
			for n := range nodes {
				begin()
				for k := first; k < first+25; k++ {
					made, before := int64(n+2), &written[n*150+k]
					var claims positions
					for j := range 64 {
						claims = append(claims, position{fmt.Sprintf("job-%06d", k*64+j), *before})
					}
					*before = put(testKeys.claims(fmt.Sprintf("node%d", n), k), claimed(seq, made, max(made, *before), claims...))
				}
			}
		}
	}
	return steps
}

func newTiming(ttl time.Duration) timing {
	return timing{ttl: ttl, drift: defaultDrift, grace: ttl / 5}
}

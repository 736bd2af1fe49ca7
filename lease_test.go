package distributed

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lone is a session whose calls and feed are in the hands of the test.
type lone struct {
	*session
	t     *testing.T
	now   time.Duration
	docs  map[string]Document
	head  int64
	shown int64
	told  []error // why the session was lost
}

func newLone(t *testing.T) *lone {
	l := &lone{t: t, now: time.Minute, docs: map[string]Document{}}
	c := &clock{start: time.Unix(0, 0), boot: func() (time.Duration, bool) { return 0, false }}
	c.tell = func() time.Time { return c.start.Add(l.now) }
	l.session = newSession(sessionOptions{
		prefix: testKeys.prefix, id: "x", instance: "i", timing: newTiming(testTTL), clock: c, remember: func(memory) {},
		log:    slog.New(slog.DiscardHandler),
		events: LeaseEvents{Lost: func(cause error) { l.told = append(l.told, cause) }},
	})
	l.put(testKeys.epoch(), &epochValue{"e"})
	l.apply(Step{Revision: l.head, Whole: true, Documents: []Document{l.docs[testKeys.epoch()]}})
	l.update(func() { l.makeDocument() })
	l.write()
	l.show()
	l.beat()
	l.show()
	require.False(t, l.isReady())
	l.beat()
	l.show()
	require.True(t, l.isReady())
	return l
}

func (l *lone) isReady() (ready bool) {
	l.update(func() { ready = l.ready() })
	return ready
}

// commit changes a document, and shows that only when show is called.
func (l *lone) commit(key string, b []byte) int64 {
	l.head++
	l.docs[key] = Document{key, b, l.head}
	return l.head
}

func (l *lone) put(key string, v value) int64 {
	b, err := testKeys.encode(key, v)
	require.NoError(l.t, err)
	return l.commit(key, b)
}

func (l *lone) show() {
	step := Step{Revision: l.head}
	for _, d := range l.docs {
		if d.Revision > l.shown {
			step.Documents = append(step.Documents, d)
		}
	}
	l.shown = l.head
	l.apply(step)
}

// beat sends a heartbeat, and has it confirmed.
func (l *lone) beat() *heartbeat {
	h, a := l.makeBeat()
	rev := l.commit(a.key, a.value)
	l.update(func() { require.NoError(l.t, l.answered(h, a, rev, nil)) })
	return h
}

func (l *lone) makeBeat() (h *heartbeat, a attempt) {
	l.update(func() {
		h = l.newHeartbeat()
		a = l.attemptHeartbeat(h)
	})
	return h, a
}

// flights are the writes that are to be sent now, or are under way.
func (l *lone) flights() (flights []*flight) {
	l.update(func() {
		l.take()
		for _, d := range l.writer.documents {
			if d.flight != nil {
				flights = append(flights, d.flight)
			}
		}
	})
	return flights
}

// write sends what there is, and has it confirmed.
func (l *lone) write() (revs []int64) {
	for _, f := range l.flights() {
		a := l.make(f)
		rev := l.commit(a.key, a.value)
		l.update(func() { require.NoError(l.t, l.settle(f, a, rev, nil)) })
		revs = append(revs, rev)
	}
	return revs
}

func (l *lone) make(f *flight) (a attempt) {
	l.update(func() { a = l.attempt(f) })
	return a
}

func (l *lone) stand(job string) *election {
	e := l.Election(job).(*election)
	l.update(func() { e.stand(newBid(func(error) {})) })
	return e
}

// newBid returns one whose outcome the election tells.
func newBid(lost context.CancelCauseFunc) *bid {
	return &bid{ctx: context.Background(), stop: func() bool { return true }, decided: func(int64, error) {}, lost: lost}
}

func (l *lone) requireOver(cause error) {
	l.t.Helper()
	require.ErrorIs(l.t, l.lost, cause)
	require.ErrorIs(l.t, l.lost, ErrLeadershipLost)
	require.Zero(l.t, l.validUntil.Load())
}

func TestAHeartbeatCountsFromItsFirstSendingOnceItComesBack(t *testing.T) {
	l := newLone(t)
	l.now += time.Second
	sent := l.now
	h, a := l.makeBeat()
	before := l.validUntil.Load()
	l.now += time.Second
	touched := l.commit(a.key, l.docs[a.key].Value)
	err := l.session.answeredUnderMu(h, a, 0, &ConflictError{Known: true, There: l.docs[a.key]})
	require.ErrorIs(t, err, errAgain)
	l.now += time.Second
	l.update(func() { a = l.attemptHeartbeat(h) })
	require.Equal(t, touched, a.guard)
	rev := l.commit(a.key, a.value)
	require.NoError(t, l.session.answeredUnderMu(h, a, rev, nil))
	require.Equal(t, before, l.validUntil.Load(), "confirmed is not seen")
	l.now += time.Second
	l.show()
	require.Equal(t, int64(sent+l.timing.validity()), l.validUntil.Load())
}

func (s *session) answeredUnderMu(h *heartbeat, a attempt, rev int64, err error) error {
	s.update(func() { err = s.answered(h, a, rev, err) })
	return err
}

func TestAHeartbeatThatComesBackLateEndsTheSession(t *testing.T) {
	l := newLone(t)
	l.now += l.timing.period()
	l.beat()
	l.now = time.Duration(l.validUntil.Load()) - l.timing.grace
	l.show()
	l.requireOver(errExpired)
	require.Len(t, l.told, 1)
}

func TestHowARefusedHeartbeatGoesOn(t *testing.T) {
	again, dropped := errAgain, error(nil)
	for name, c := range map[string]struct {
		there func(l *lone, h *heartbeat, a attempt) Document
		want  error
		over  error
	}{
		"touched": {func(l *lone, _ *heartbeat, a attempt) Document {
			l.commit(a.key, l.docs[a.key].Value)
			return l.docs[a.key]
		}, again, nil},
		"itself": {func(l *lone, _ *heartbeat, a attempt) Document {
			l.commit(a.key, a.value)
			return l.docs[a.key]
		}, dropped, nil},
		"a later one": {func(l *lone, _ *heartbeat, a attempt) Document {
			l.beat()
			return l.docs[a.key]
		}, dropped, nil},
		"gone":    {func(*lone, *heartbeat, attempt) Document { return Document{} }, errTornAway, errTornAway},
		"garbage": {func(l *lone, _ *heartbeat, a attempt) Document { l.commit(a.key, []byte("x")); return l.docs[a.key] }, errTornAway, errTornAway},
		"tombstone": {func(l *lone, _ *heartbeat, a attempt) Document {
			l.put(a.key, ended(stateBuried))
			return l.docs[a.key]
		}, errBuried, errBuried},
		"went back": {func(l *lone, _ *heartbeat, a attempt) Document { l.put(a.key, beat(1)); return l.docs[a.key] }, errTornAway, errTornAway},
		"never sent": {func(l *lone, _ *heartbeat, a attempt) Document {
			l.put(a.key, beat(77))
			return l.docs[a.key]
		}, errTornAway, errTornAway},
		"where it was before": {func(l *lone, _ *heartbeat, a attempt) Document {
			d := l.docs[a.key]
			d.Revision = a.guard - 1
			return d
		}, errHistory, errHistory},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLone(t)
			h, a := l.makeBeat()
			err := l.session.answeredUnderMu(h, a, 0, &ConflictError{Known: true, There: c.there(l, h, a)})
			require.ErrorIs(t, err, c.want)
			if c.over != nil {
				l.requireOver(c.over)
			} else {
				require.NoError(t, l.lost)
			}
		})
	}
	t.Run("an earlier one of ours", func(t *testing.T) {
		l := newLone(t)
		_, first := l.makeBeat()
		h, a := l.makeBeat()
		l.commit(first.key, first.value)
		require.ErrorIs(t, l.session.answeredUnderMu(h, a, 0, &ConflictError{Known: true, There: l.docs[a.key]}), again)
		require.Equal(t, l.head, l.renewal.rev)
	})
	t.Run("not told", func(t *testing.T) {
		l := newLone(t)
		h, a := l.makeBeat()
		require.NoError(t, l.session.answeredUnderMu(h, a, 0, &ConflictError{}))
		l.commit(a.key, l.docs[a.key].Value)
		l.show()
		require.Len(t, l.hurry, 1, "the feed tells, and another is sent")
	})
}

func TestAClaimIsWrittenInARegisteredDocumentThatIsLedByItsNumber(t *testing.T) {
	l := newLone(t)
	e := l.stand("a")
	require.False(t, e.Valid())
	rev := l.write()[0]
	require.False(t, e.Valid(), "the picture does not show it")
	l.show()
	require.True(t, e.Valid())
	require.Equal(t, rev, e.token)

	l.now += l.timing.period()
	l.beat()
	require.Len(t, l.write(), 1, "the position of 0 is replaced")
	var v claimsValue
	require.NoError(t, testKeys.decode(testKeys.claims("x", 0), l.docs[testKeys.claims("x", 0)].Value, &v))
	require.Equal(t, positions{{"a", rev}}, v.claims())
	require.Equal(t, l.writer.documents[0].made, v.Made)
	l.now += l.timing.period()
	require.Empty(t, l.write())
}

func TestClaimsWaitForTheirDocumentToBeRegistered(t *testing.T) {
	l := newLone(t)
	l.writer.perDocument = 1
	l.stand("a")
	l.write()
	l.show()
	b := l.stand("b")
	f := l.flights()
	require.Len(t, f, 1, "another document is made")
	require.Empty(t, f[0].claims)
	l.write()
	l.show()
	require.Empty(t, l.flights(), "it is not registered")
	require.Len(t, l.beatIt, 1)
	l.beat()
	f = l.flights()
	require.Len(t, f, 1)
	require.Equal(t, positions{{"b", 0}}, f[0].claims)
	l.write()
	l.show()
	require.True(t, b.Valid())
}

func TestClaimsWaitUntilThePictureShowsTheLastOnesAndReleasesDoNot(t *testing.T) {
	l := newLone(t)
	a := l.stand("a")
	l.write()
	l.stand("b")
	require.Empty(t, l.flights())
	l.update(func() { a.withdraw() })
	f := l.flights()
	require.Len(t, f, 1)
	require.Empty(t, f[0].claims, "b has no document yet")
	l.write()
	require.Empty(t, l.flights())
	l.show()
	f = l.flights()
	require.Len(t, f, 1)
	require.Equal(t, positions{{"b", 0}}, f[0].claims)
}

func TestANumberIsTheRevisionAtWhichTheWriteWasFirstFound(t *testing.T) {
	for name, find := range map[string]func(l *lone, f *flight, a attempt) int64{
		"by the answer": func(l *lone, f *flight, a attempt) int64 {
			rev := l.commit(a.key, a.value)
			l.update(func() { _ = l.settle(f, a, rev, nil) })
			l.show()
			return rev
		},
		"by the feed": func(l *lone, f *flight, a attempt) int64 {
			rev := l.commit(a.key, a.value)
			l.show()
			return rev
		},
		"by a refusal, touched": func(l *lone, f *flight, a attempt) int64 {
			l.commit(a.key, a.value)
			rev := l.commit(a.key, a.value)
			l.update(func() { _ = l.settle(f, a, 0, &ConflictError{Known: true, There: l.docs[a.key]}) })
			l.show()
			return rev
		},
		"by the answer, and touched": func(l *lone, f *flight, a attempt) int64 {
			rev := l.commit(a.key, a.value)
			l.update(func() { _ = l.settle(f, a, rev, nil) })
			l.commit(a.key, a.value)
			l.show()
			return rev
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLone(t)
			e := l.stand("a")
			f := l.flights()[0]
			want := find(l, f, l.make(f))
			require.True(t, e.Valid())
			require.Equal(t, want, e.token)
		})
	}
}

func TestHowARefusedDocumentGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		there func(l *lone, a attempt) Document
		want  error
	}{
		"touched": {func(l *lone, a attempt) Document { l.commit(a.key, l.docs[a.key].Value); return l.docs[a.key] }, errAgain},
		"gone":    {func(*lone, attempt) Document { return Document{} }, errTornAway},
		"garbage": {func(l *lone, a attempt) Document { l.commit(a.key, []byte("x")); return l.docs[a.key] }, errTornAway},
		"another's": {func(l *lone, a attempt) Document {
			l.put(a.key, claimed(9, 0, 0))
			return l.docs[a.key]
		}, errTornAway},
		"where it was before": {func(l *lone, a attempt) Document {
			d := l.docs[a.key]
			d.Revision = a.guard - 1
			return d
		}, errHistory},
		"for nothing": {func(l *lone, a attempt) Document { return l.docs[a.key] }, errAgain},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLone(t)
			l.stand("a")
			f := l.flights()[0]
			a := l.make(f)
			there := c.there(l, a)
			var err error
			l.update(func() { err = l.settle(f, a, 0, &ConflictError{Known: true, There: there}) })
			require.ErrorIs(t, err, c.want)
			if !errors.Is(err, errAgain) {
				l.requireOver(c.want)
				return
			}
			require.NoError(t, l.lost)
			require.Equal(t, there.Revision, l.make(f).guard)
		})
	}
}

func TestAWriteThatTheStoreHasForgottenEndsTheSession(t *testing.T) {
	for name, c := range map[string]func(l *lone){
		"a tombstone is confirmed at a revision that was shown": func(l *lone) {
			l.update(func() { l.buried(grave{id: "y", rev: 1}, l.shown, l.shown, nil) })
		},
		"a tombstone is refused for a change that the picture lacks": func(l *lone) {
			l.put(testKeys.node("y"), &nodeValue{TTL: 1000, Beat: 1})
			l.show()
			l.commit("other", nil)
			l.show()
			refusal := &ConflictError{Known: true, There: Document{Revision: l.shown}}
			l.update(func() { l.buried(grave{id: "y", rev: l.shown - 1}, 0, l.shown, refusal) })
		},
		"a tombstone is refused for a document that is older than was seen": func(l *lone) {
			refusal := &ConflictError{Known: true, There: Document{Revision: 1}}
			l.update(func() { l.buried(grave{id: "y", rev: 2}, 0, l.shown, refusal) })
		},
		"a heartbeat is confirmed at a revision that was shown": func(l *lone) {
			h, a := l.makeBeat()
			_ = l.session.answeredUnderMu(h, a, l.shown, nil)
		},
		"claims are confirmed at a revision that was shown": func(l *lone) {
			l.stand("a")
			f := l.flights()[0]
			a := l.make(f)
			l.update(func() { _ = l.settle(f, a, l.shown, nil) })
		},
		"the picture comes to a heartbeat without it": func(l *lone) {
			h, a := l.makeBeat()
			require.NoError(l.t, l.session.answeredUnderMu(h, a, l.head+2, nil))
			l.commit("other", nil)
			l.show()
			require.NoError(l.t, l.lost)
			l.commit("other", nil)
			l.show()
		},
		"the picture comes to a claim without it": func(l *lone) {
			l.stand("a")
			f := l.flights()[0]
			a := l.make(f)
			l.update(func() { _ = l.settle(f, a, l.head+2, nil) })
			l.commit("other", nil)
			l.show()
			require.NoError(l.t, l.lost)
			l.commit("other", nil)
			l.show()
		},
		"something else has that revision": func(l *lone) {
			h, a := l.makeBeat()
			require.NoError(l.t, l.session.answeredUnderMu(h, a, l.head+1, nil))
			l.commit(a.key, l.docs[a.key].Value)
			l.show()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLone(t)
			c(l)
			l.requireOver(errHistory)
			require.NotZero(t, l.mirror.amiss, "and whoever knows waits for all that may run")
		})
	}
}

func TestACampaignNeverWinsOnceItsContextIsDone(t *testing.T) {
	l := newLone(t)
	e := l.Election("a").(*election)
	b := newBid(func(error) {})
	var cancel context.CancelFunc
	b.ctx, cancel = context.WithCancel(t.Context())
	l.update(func() { e.stand(b) })
	l.write()
	cancel()
	l.show()
	require.False(t, e.leading.Load(), "though nobody has withdrawn it yet")
	l.update(func() { e.cancel(b) })
	require.Nil(t, e.candidacy)
}

func TestNobodyBeginsToLeadWithoutTimeForWorkToStop(t *testing.T) {
	l := newLone(t)
	e := l.stand("a")
	l.write()
	l.now = time.Duration(l.validUntil.Load()) - l.timing.grace
	l.show()
	require.False(t, e.leading.Load())
}

func TestAllLeadershipsOfASessionEndTogether(t *testing.T) {
	l := newLone(t)
	tombstone := ended(stateBuried)
	var told []string
	var elections []*election
	for _, job := range []string{"a", "b", "c"} {
		e := l.Election(job).(*election)
		elections = append(elections, e)
		l.update(func() {
			e.stand(newBid(func(cause error) {
				require.ErrorIs(t, cause, ErrLeadershipLost)
				for _, e := range elections {
					require.False(t, e.Valid(), "nobody is told before all have ended")
				}
				require.Empty(t, l.told, "and nothing else is told before")
				told = append(told, job)
			}))
		})
	}
	l.write()
	l.show()
	for _, e := range elections {
		require.True(t, e.Valid())
	}
	l.put(testKeys.node("x"), tombstone)
	l.show()
	require.Len(t, told, 3)
	require.Len(t, l.told, 1)
	for _, e := range elections {
		var outcome error
		e.Campaign(t.Context(), func(_ int64, err error) { outcome = err }, nil)
		require.ErrorIs(t, outcome, ErrLeaseLost)
	}
}

func TestAJobThatStandsAnewAtOnceHasANewPlace(t *testing.T) {
	l := newLone(t)
	e := l.stand("a")
	l.write()
	l.show()
	first := e.token
	var gone chan struct{}
	l.update(func() {
		gone = e.withdraw()
		e.stand(newBid(func(error) {}))
	})
	require.False(t, e.Valid())
	f := l.flights()
	require.Len(t, f, 1)
	require.Equal(t, positions{{"a", 0}}, f[0].claims)
	l.write()
	select {
	case <-gone:
	default:
		t.Fatal("the release is confirmed")
	}
	l.show()
	require.True(t, e.Valid())
	require.Greater(t, e.token, first)
}

func TestNothingRemainsOfACampaignThatIsOver(t *testing.T) {
	l := newLone(t)
	for _, sent := range []bool{false, true} {
		e := l.stand("a")
		if sent {
			l.write()
		}
		var gone chan struct{}
		l.update(func() { gone = e.withdraw() })
		require.Equal(t, sent, gone != nil)
		l.write()
		l.show()
		require.Empty(t, l.writer.candidacies)
		require.Empty(t, l.writer.documents[0].members)
		require.Empty(t, l.mirror.queues)
	}
}

func TestTheGapIsTheTimeSinceTheReleaseWasSeen(t *testing.T) {
	l := newLone(t)
	key := testKeys.claims("y", 0)
	made := l.put(key, claimed(1, 0, 0))
	l.put(testKeys.node("y"), beat(1, made))
	guard := l.put(key, claimed(2, made, made, position{"a", 0}))
	l.show()
	e := l.stand("a")
	l.write()
	l.show()
	require.False(t, e.Valid())
	l.now += time.Second
	l.put(key, claimed(3, made, guard))
	l.show()
	require.True(t, e.Valid())
	l.now += 5 * time.Millisecond
	gap, ok := e.Gap()
	require.True(t, ok)
	require.Equal(t, 5*time.Millisecond, gap)
}

func TestAFeedThatFollowsOthersInVainGetsMoreTime(t *testing.T) {
	l := newLone(t)
	feeds, lag, at := 0, l.timing.lag(), l.now
	l.refeed = func() { feeds++ }
	l.heardAt, l.renewal.acked, l.renewal.owed = at, l.mirror.rev+1, at
	for i, patience := range []time.Duration{lag, lag, 2 * lag, 4 * lag, 8 * lag, 16 * lag, l.timing.ttl, l.timing.ttl} {
		at += patience
		l.checkFeed(at - 1)
		require.Equal(t, i, feeds)
		l.checkFeed(at)
		require.Equal(t, i+1, feeds)
	}
	l.mirror.rev, l.now = l.renewal.acked, at
	l.committed(l.renewal.number+1, l.mirror.rev+1)
	l.checkFeed(at + lag)
	require.Equal(t, 9, feeds, "once it has caught up, a feed that hangs is replaced as soon as before")
}

// Heartbeats go on while a feed hangs, and may be closer together than it has time.
func TestAFeedThatHangsGetsNoMoreTimeByTheNextHeartbeat(t *testing.T) {
	l := newLone(t)
	feeds := 0
	l.refeed = func() { feeds++ }
	l.heardAt = l.now
	next := l.mirror.rev + 1
	l.committed(l.renewal.number+1, next)
	l.now += l.timing.lag()
	l.committed(l.renewal.number+2, next+1)
	l.checkFeed(l.now)
	require.Equal(t, 1, feeds)
}

// Attempts do not wait for one another, so that a heartbeat can be made before another
// one and come to be sent after it. Its number would go back.
func TestAHeartbeatThatWasOvertakenIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConcurrency("app", "a", NewMemoryLeaseProvider(nil))
		defer func() { require.NoError(t, c.Close()) }()
		l, err := c.Campaign(t.Context(), "x")
		require.NoError(t, err)
		s := c.lease.lease.(*session)
		var first, second *heartbeat
		s.update(func() { first, second = s.newHeartbeat(), s.newHeartbeat() })
		require.NoError(t, s.sendHeartbeat(t.Context(), second))
		require.NoError(t, s.sendHeartbeat(t.Context(), first))
		synctest.Wait()
		require.NoError(t, l.Context().Err())
		require.Equal(t, second.number, s.renewal.beat)
	})
}

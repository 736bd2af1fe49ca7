//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/postgres"
)

func put(t *testing.T, s distributed.Store, key, value string, rev int64) int64 {
	t.Helper()
	at, err := s.Put(context.Background(), key, []byte(value), rev)
	require.NoError(t, err)
	return at
}

// rejected requires that a document is at another revision.
func rejected(t *testing.T, s distributed.Store, key string, rev int64) {
	t.Helper()
	_, err := s.Put(context.Background(), key, []byte("rejected"), rev)
	require.ErrorAs(t, err, new(*distributed.ConflictError))
}

// putInTime puts until that works, as a session does.
func putInTime(t *testing.T, s distributed.Store, key, value string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = s.Put(ctx, key, []byte(value), 0)
		cancel()
		var conflict *distributed.ConflictError
		if err == nil || errors.As(err, &conflict) {
			return
		}
	}
	require.NoError(t, err)
}

// A statement whose context is done goes on: to cancel it could make it take effect
// without the standby that it waits for.
func TestAWriteThatWasGivenUpIsNotCancelledAndTakesEffectOnce(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	store := open(t, s.config())
	first := put(t, store, "app/document", "first", 0)
	lock := s.connect()
	tx, err := lock.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), s.sql("SELECT FROM S.counter FOR UPDATE"))
	require.NoError(t, err)
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	given := make(chan error, 1)
	go func() {
		_, err := store.Put(ctx, "app/document", []byte("second"), first)
		given <- err
	}()
	waiting := func() (n int) {
		assert.NoError(t, s.scan(&n, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%S.put(%' AND wait_event_type = 'Lock'"))
		return n
	}
	require.Eventually(t, func() bool { return waiting() == 1 }, time.Minute, 10*time.Millisecond)
	giveUp()
	require.ErrorIs(t, <-given, context.Canceled)
	require.Never(t, func() bool { return waiting() != 1 }, 200*time.Millisecond, 10*time.Millisecond, "it was cancelled")
	require.NoError(t, tx.Rollback(t.Context()))
	follow(t, store, "app/").awaitValue("app/document", "second")
	rejected(t, store, "app/document", first)
}

func TestAWriteThatWaitsForAStandbyIsShownToNobody(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	store := open(t, s.config())
	put(t, store, "app/first", "first", 0)
	s.exec("ALTER SYSTEM SET synchronous_standby_names = 'missing'")
	s.exec("SELECT pg_reload_conf()")
	require.Eventually(t, func() bool {
		var names string
		return s.scan(&names, "SHOW synchronous_standby_names") == nil && names == "missing"
	}, time.Minute, 10*time.Millisecond)
	f := follow(t, store, "app/")
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := store.Put(ctx, "app/second", []byte("second"), 0)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.Equal(t, map[string]string{"app/first": "first"}, f.picture())
	require.Equal(t, map[string]string{"app/first": "first"}, follow(t, store, "app/").picture())
	s.exec("ALTER SYSTEM RESET synchronous_standby_names; ")
	s.exec("SELECT pg_reload_conf()")
	f.awaitValue("app/second", "second")
	rejected(t, store, "app/second", 0)
}

// A client that is frozen or cut off in the middle of a message, at whatever byte,
// keeps nobody waiting.
func TestHalfAWriteHoldsNothing(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	others := open(t, s.config())
	at := put(t, others, "app/document", "first", 0)
	for _, missing := range []int{1, 5, 10, 100} {
		n := newNarrows(t, s.addr)
		store := open(t, s.at(n.addr()))
		put(t, store, fmt.Sprintf("app/%d", missing), "connected", 0)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		passed := n.holdBack(missing)
		wg.Go(func() { _, _ = store.Put(ctx, "app/document", []byte("half"), at) })
		<-passed
		for range 10 {
			at = put(t, others, "app/document", "whole", at)
		}
		cancel()
		wg.Wait()
	}
	require.Equal(t, "whole", follow(t, others, "app/").picture()["app/document"])
}

func TestAFeedThatWasCutGoesOnWithoutAGap(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	l := s.link()
	store, writer := open(t, s.at(l.Addr())), open(t, s.config())
	f := follow(t, store, "app/")
	gone := put(t, writer, "app/gone", "gone", 0)
	f.awaitValue("app/gone", "gone")
	for i := range 30 {
		key := fmt.Sprintf("app/%d", i)
		l.Cut()
		if i == 3 {
			require.NoError(t, writer.Delete(t.Context(), "app/gone", gone))
		}
		put(t, writer, key, "value", 0)
		f.awaitValue(key, "value")
	}
	require.Len(t, f.picture(), 30)
	require.Less(t, f.listings(), 10, "the server's history has what it knew") // one, unless the machine is too slow
}

func TestAFeedNoticesThatItsConnectionHasGoneSilent(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	l := s.link()
	store, writer := open(t, s.at(l.Addr())), open(t, s.config())
	f := follow(t, store, "app/")
	l.Silence()
	at := put(t, writer, "app/document", "unheard", 0)
	f.awaitValue("app/document", "unheard")
	put(t, writer, "app/document", "heard", at)
	f.awaitValue("app/document", "heard")
}

func TestNothingConfirmedIsLostWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	store := open(t, s.config())
	s.exec("ALTER ROLE postgres SET synchronous_commit = off") // as somebody may have done, who knows nothing of this
	f := follow(t, store, "app/")
	for round := range 3 {
		var confirmed atomic.Int64
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					if _, err := store.Put(context.Background(), fmt.Sprintf("app/%d/%d/%d", round, w, i), []byte("confirmed"), 0); err != nil {
						return
					}
					confirmed.Add(1)
				}
			})
		}
		for confirmed.Load() < 50 {
			time.Sleep(time.Millisecond)
		}
		s.stop(syscall.SIGKILL)
		wg.Wait()
		s.start()
		var there int64
		require.NoError(t, s.scan(&there, "SELECT count(*) FROM S.document WHERE starts_with(key, $1)", fmt.Sprintf("app/%d/", round)))
		require.GreaterOrEqual(t, there, confirmed.Load())
		putInTime(t, store, fmt.Sprintf("app/%d", round), "after")
		f.awaitValue(fmt.Sprintf("app/%d", round), "after")
	}
	var total int
	require.NoError(t, s.scan(&total, "SELECT count(*) FROM S.document"))
	require.Len(t, f.picture(), total)
}

// A standby that was promoted without the last changes has another history from there
// on, which has the same revisions and may be longer by now.
func TestAFeedListsAnewWhenAFailoverHasLostItsPosition(t *testing.T) {
	t.Parallel()
	for _, further := range []int{0, 1, 20} {
		t.Run(fmt.Sprint(further), func(t *testing.T) {
			t.Parallel()
			primary := newServer(t)
			standby, replication := primary.standby()
			way := standby.link() // which is closed until the standby has gone on for some time
			way.Refuse()
			store := open(t, primary.at(primary.addr+","+way.Addr()))
			f := follow(t, store, "app/")
			at := put(t, store, "app/kept", "kept", 0)
			require.Eventually(t, func() bool { return standby.holds("app/kept", at) }, time.Minute, 10*time.Millisecond)
			replication.Refuse()
			at = put(t, store, "app/kept", "lost", at)
			lost := put(t, store, "app/lost", "lost", 0)
			for range 3 {
				at = put(t, store, "app/kept", "lost", at)
			}
			f.awaitValue("app/lost", "lost")
			require.Eventually(t, func() bool { return f.position() == at }, time.Minute, time.Millisecond)
			listings := f.listings()
			primary.stop(syscall.SIGKILL)
			standby.promote()
			writer := open(t, standby.config())
			for i := range further {
				put(t, writer, fmt.Sprintf("app/%d", i), "new", 0)
			}
			way.Heal()
			putInTime(t, store, "app/new", "new")
			f.awaitValue("app/new", "new")
			f.await(func() bool { return f.there["app/lost"] == "" && f.there["app/kept"] == "kept" })
			require.Greater(t, f.listings(), listings)
			rejected(t, store, "app/lost", lost)
		})
	}
}

// holds reports whether the server has the document at a revision.
func (s *server) holds(key string, rev int64) bool {
	var at int64
	return s.scan(&at, "SELECT rev FROM S.document WHERE key = $1", key) == nil && at == rev
}

func TestAStandbyIsNoStore(t *testing.T) {
	t.Parallel()
	primary := newServer(t)
	put(t, open(t, primary.config()), "app/document", "value", 0)
	standby, _ := primary.standby()
	_, err := postgres.OpenStore(standby.config())(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.ErrorContains(t, err, "read only")
	both := fmt.Sprintf("postgres://postgres@%s,%s/postgres?sslmode=disable", standby.addr, primary.addr)
	rejected(t, open(t, postgres.Config{URL: both}), "app/document", 0)
}

// Behind a pooler in session mode a feed is told at once; in transaction mode it looks,
// and what the pooler mixes into answers does not make it wait for more.
func TestFeedsBehindAPooler(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	writer := open(t, s.config())
	for _, mode := range []string{"session", "transaction"} {
		addr, _ := s.bouncer(mode)
		store := open(t, s.at(addr))
		var feeds []*feed
		for range 2 {
			feeds = append(feeds, follow(t, store, mode+"/"))
		}
		at := int64(0)
		for i := range 100 {
			at = put(t, writer, mode+"/document", fmt.Sprint(i), at)
			at = put(t, store, mode+"/document", fmt.Sprint(i, " more"), at)
			for _, f := range feeds {
				f.awaitValue(mode+"/document", fmt.Sprint(i, " more"))
			}
		}
	}
}

func TestIsolationIsTheStoresOwn(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	config := s.config()
	config.URL += "&default_transaction_isolation=serializable"
	var wg sync.WaitGroup
	var failed atomic.Int64
	for w := range 4 {
		store := open(t, config)
		wg.Go(func() {
			for i := range 50 {
				if _, err := store.Put(context.Background(), fmt.Sprintf("app/%d/%d", w, i), []byte("value"), 0); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
}

// What is deleted leaves a row for some time, not for ever.
func TestRowsOfDeletedDocumentsAreCollected(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	store := open(t, s.config())
	batches := store.(distributed.BatchStore)
	f := follow(t, store, "app/")
	for round := range 20 {
		writes := make([]distributed.Write, 100)
		for i := range writes {
			writes[i] = distributed.Write{Key: fmt.Sprintf("app/%d/%d", round, i), Value: []byte("value")}
		}
		for i, r := range batches.PutAll(t.Context(), writes) {
			require.NoError(t, r.Err)
			writes[i].Value, writes[i].Revision = nil, r.Revision
		}
		for _, r := range batches.PutAll(t.Context(), writes) {
			require.NoError(t, r.Err)
		}
	}
	put(t, store, "app/last", "last", 0)
	f.awaitValue("app/last", "last")
	require.Len(t, f.picture(), 1)
	var rows int
	require.NoError(t, s.scan(&rows, "SELECT count(*) FROM S.document"))
	require.Less(t, rows, 1100)
}

func TestNotificationsOfOthersDoNoHarm(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	here, there := open(t, s.config()), open(t, postgres.Config{URL: s.url(), Schema: s.schema + "_elsewhere"})
	f := follow(t, here, "app/")
	at := int64(0)
	for i := range 20 {
		put(t, there, fmt.Sprintf("app/%d", i), "elsewhere", 0)
		for _, payload := range []string{"", "x", "9\n9\n9\napp/9\n=forged", fmt.Sprintf("%d\n\n\napp/9\n=forged", f.position()+1), strings.Repeat("\n", 10)} {
			s.exec("SELECT pg_notify('S.document', $1)", payload)
		}
		at = put(t, here, "app/document", fmt.Sprint(i), at)
		f.awaitValue("app/document", fmt.Sprint(i))
	}
	require.Equal(t, map[string]string{"app/document": "19"}, f.picture())
}

// An observer of an app that rests takes a feed which says nothing for one that hangs,
// however much others write.
func TestAQuietFeedShowsThatItIsAlive(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	store := open(t, s.config())
	quiet, busy := follow(t, store, "quiet/"), follow(t, store, "busy/")
	at := int64(0)
	for steps, i := 0, 0; steps < 3; i++ {
		at = put(t, store, "busy/document", fmt.Sprint(i), at)
		busy.awaitValue("busy/document", fmt.Sprint(i))
		steps = quiet.told()
	}
	rests := quiet.told()
	quiet.await(func() bool { return quiet.steps >= rests+2 })
}

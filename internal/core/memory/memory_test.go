package memory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/core"
	"github.com/b2552be4/distributed/internal/core/memory"
	"github.com/b2552be4/distributed/internal/core/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHubConforms(t *testing.T) {
	storetest.Run(t, space, storetest.Within(synctest.Test))
}

func space(*testing.T) storetest.Space {
	hub := new(memory.Hub)
	names := map[core.Store]string{}
	return storetest.Space{
		Open: func() core.Store {
			name := fmt.Sprint(len(names))
			s := hub.Open(name)
			names[s] = name
			return s
		},
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s core.Store) func() { return hub.HoldRequests(names[s]) },
		HoldReplies:  func(s core.Store) func() { return hub.HoldReplies(names[s]) },
		Compact:      hub.Compact,
	}
}

// follower is a Follow under way.
type follower struct {
	steps []core.Step
	err   error
	ended bool
}

func follow(t *testing.T, s core.Store, after int64) *follower {
	f := new(follower)
	go func() {
		f.err = s.Follow(t.Context(), "", after, func(step core.Step) { f.steps = append(f.steps, step) })
		f.ended = true
	}()
	synctest.Wait()
	return f
}

func TestTheZeroHubIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub memory.Hub
		f := follow(t, hub.Open("a"), 0)
		require.Equal(t, []core.Step{{Revision: 1, Whole: true}}, f.steps)
		documents, rev := hub.Documents("")
		require.Empty(t, documents)
		require.Equal(t, int64(1), rev)
	})
}

func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub memory.Hub
		a, b := hub.Open("a"), hub.Open("b")
		following, other := follow(t, a, 0), follow(t, b, 0)
		cause := errors.New("no")
		hub.Refuse("a", cause)
		synctest.Wait()
		require.ErrorIs(t, following.err, cause)
		require.False(t, other.ended)
		_, err := a.Put(t.Context(), "x", []byte("a"), 0)
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, a.Delete(t.Context(), "x", 0), cause)
		require.ErrorIs(t, follow(t, a, 0).err, cause)
		rev, err := b.Put(t.Context(), "x", []byte("b"), 0)
		require.NoError(t, err)
		hub.Refuse("", cause)
		_, err = b.Put(t.Context(), "x", []byte("b"), rev)
		require.ErrorIs(t, err, cause)
		hub.Refuse("", nil)
		hub.Refuse("a", nil)
		_, err = a.Put(t.Context(), "x", []byte("a"), rev)
		require.NoError(t, err)
		require.Equal(t, 5, hub.Writes(), "those refused count")
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub memory.Hub
		a := hub.Open("a")
		hub.SetDelay(time.Second)
		began := time.Now()
		rev, err := a.Put(t.Context(), "x", []byte("a"), 0)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err = a.Put(ctx, "x", []byte("late"), rev)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second+time.Second/2, time.Since(began))
		go func() {
			time.Sleep(time.Second / 2)
			_ = a.Close()
		}()
		_, err = a.Put(t.Context(), "x", []byte("closed"), rev)
		require.ErrorIs(t, err, memory.ErrClosed)
		require.Equal(t, 2*time.Second, time.Since(began))
		hub.SetDelay(-time.Second)
		_, err = hub.Open("b").Put(t.Context(), "x", []byte("b"), rev)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

func TestCutEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub memory.Hub
		a, b := hub.Open("a"), hub.Open("b")
		cut, other := follow(t, a, 0), follow(t, b, 0)
		release := hub.HoldRequests("a")
		var err error
		go func() { _, err = a.Put(t.Context(), "x", []byte("a"), 0) }()
		synctest.Wait()
		require.NoError(t, err)
		hub.Cut("a")
		synctest.Wait()
		require.ErrorIs(t, err, memory.ErrCut)
		require.ErrorIs(t, cut.err, memory.ErrCut)
		require.False(t, other.ended)
		release() // what was on its way arrives
		documents, rev := hub.Documents("")
		require.Equal(t, []core.Document{{Key: "x", Value: []byte("a"), Revision: rev}}, documents)
		_, err = a.Put(t.Context(), "x", []byte("again"), rev)
		require.NoError(t, err)
	})
}

// Silence is not an end: that is what a network does which swallows everything.
func TestHeldRepliesAreSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub memory.Hub
		a, b := hub.Open("a"), hub.Open("b")
		f := follow(t, a, 0)
		release, again := hub.HoldReplies("a"), hub.HoldReplies("a")
		rev, err := b.Put(t.Context(), "x", []byte("b"), 0)
		require.NoError(t, err)
		release()
		synctest.Wait()
		require.Len(t, f.steps, 1)
		require.False(t, f.ended)
		again()
		synctest.Wait()
		require.Len(t, f.steps, 2)
		require.Equal(t, rev, f.steps[1].Revision)
	})
}

func TestWhoIsFarBehindGetsAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub memory.Hub
		a := hub.Open("a")
		first := int64(0)
		rev := int64(0)
		for i := range 5000 {
			var err error
			rev, err = a.Put(t.Context(), "x", fmt.Append(nil, i), rev)
			require.NoError(t, err)
			if first == 0 {
				first = rev
			}
		}
		require.True(t, follow(t, a, first).steps[0].Whole)
		require.False(t, follow(t, a, rev-1000).steps[0].Whole)
		require.True(t, follow(t, a, rev+1).steps[0].Whole, "of another hub's history")
	})
}

func TestValuesOfMoreThanAMebibyteAreRefused(t *testing.T) {
	var hub memory.Hub
	_, err := hub.Open("a").Put(t.Context(), "x", []byte(strings.Repeat("x", 1<<20+1)), 0)
	require.ErrorIs(t, err, memory.ErrTooLarge)
}

package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/storetest"
)

func TestMemoryStoreConforms(t *testing.T) {
	storetest.Run(t, memorySpace, storetest.Within(synctest.Test))
}

func memorySpace(*testing.T) storetest.Space {
	hub := new(distributed.MemoryHub)
	names := map[distributed.Store]string{}
	return storetest.Space{
		Open: func() distributed.Store {
			name := fmt.Sprint(len(names))
			s := hub.Open(name)
			names[s] = name
			return s
		},
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s distributed.Store) func() { return hub.HoldRequests(names[s]) },
		HoldReplies:  func(s distributed.Store) func() { return hub.HoldReplies(names[s]) },
		Compact:      hub.Compact,
	}
}

// following is a call of Follow under way.
type following struct {
	steps []distributed.Step
	err   error
	ended bool
}

func followHub(t *testing.T, s distributed.Store) *following {
	f := new(following)
	go func() {
		f.err = s.Follow(t.Context(), "", func(step distributed.Step) { f.steps = append(f.steps, step) })
		f.ended = true
	}()
	synctest.Wait()
	return f
}

func TestMemoryStoreOnAZeroHubIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub distributed.MemoryHub
		f := followHub(t, hub.Open("a"))
		require.Equal(t, []distributed.Step{{Revision: 1, Whole: true}}, f.steps)
		documents, rev := hub.Documents("")
		require.Empty(t, documents)
		require.Equal(t, int64(1), rev)
	})
}

func TestMemoryStoreIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub distributed.MemoryHub
		a, b := hub.Open("a"), hub.Open("b")
		told, other := followHub(t, a), followHub(t, b)
		cause := errors.New("no")
		hub.Refuse("a", cause)
		synctest.Wait()
		require.ErrorIs(t, told.err, cause)
		require.False(t, other.ended)
		_, err := a.Put(t.Context(), "x", []byte("a"), 0)
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, a.Delete(t.Context(), "x", 0), cause)
		require.ErrorIs(t, followHub(t, a).err, cause)
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

func TestMemoryStoreIsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub distributed.MemoryHub
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
		require.ErrorIs(t, err, distributed.ErrClosed)
		require.Equal(t, 2*time.Second, time.Since(began))
		hub.SetDelay(-time.Second)
		_, err = hub.Open("b").Put(t.Context(), "x", []byte("b"), rev)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

func TestMemoryStoreThatIsCutOffEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub distributed.MemoryHub
		a, b := hub.Open("a"), hub.Open("b")
		cut, other := followHub(t, a), followHub(t, b)
		release := hub.HoldRequests("a")
		var err error
		go func() { _, err = a.Put(t.Context(), "x", []byte("a"), 0) }()
		synctest.Wait()
		require.NoError(t, err)
		hub.Cut("a")
		synctest.Wait()
		require.ErrorIs(t, err, distributed.ErrCut)
		require.ErrorIs(t, cut.err, distributed.ErrCut)
		require.False(t, other.ended)
		release() // what was on its way arrives
		documents, rev := hub.Documents("")
		require.Equal(t, []distributed.Document{{Key: "x", Value: []byte("a"), Revision: rev}}, documents)
		_, err = a.Put(t.Context(), "x", []byte("again"), rev)
		require.NoError(t, err)
	})
}

// Silence is not an end: that is what a network does which swallows everything.
func TestMemoryStoreIsSilentWhileRepliesAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub distributed.MemoryHub
		a, b := hub.Open("a"), hub.Open("b")
		f := followHub(t, a)
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

func TestMemoryStoreListsForWhoIsFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub distributed.MemoryHub
		a, b := hub.Open("a"), hub.Open("b")
		f := followHub(t, a)
		release := hub.HoldReplies("a")
		rev := int64(0)
		for i := range 5000 {
			var err error
			rev, err = b.Put(t.Context(), "x", fmt.Append(nil, i), rev)
			require.NoError(t, err)
		}
		release()
		synctest.Wait()
		require.Equal(t, distributed.Step{Revision: rev, Whole: true, Documents: []distributed.Document{{Key: "x", Value: []byte("4999"), Revision: rev}}}, f.steps[len(f.steps)-1])
		require.Len(t, f.steps, 2)
	})
}

func TestMemoryStoreRefusesValuesOfMoreThanAMebibyte(t *testing.T) {
	var hub distributed.MemoryHub
	_, err := hub.Open("a").Put(t.Context(), "x", []byte(strings.Repeat("x", 1<<20+1)), 0)
	require.ErrorIs(t, err, distributed.ErrTooLarge)
}

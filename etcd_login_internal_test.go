package distributed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

func newTestConnection() *connection {
	c := &connection{members: 1, wires: newWires(new(refusers))}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

func TestAllCallsWaitForOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetched atomic.Int64
		l := &login{fetch: func(ctx context.Context, _ *connection, _ *grpc.ClientConn) (string, error) {
			return "token", errors.Join(sleep(ctx, time.Second+time.Duration(fetched.Add(1))))
		}}
		c := newTestConnection()
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := l.get(impatient, c, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				token, err := l.get(t.Context(), c, nil)
				require.NoError(t, err)
				require.Equal(t, "token", token)
				l.prove(token)
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, fetched.Load(), "it does not end with who began it")
		for range 50 {
			wg.Go(func() { l.forget("token", errors.New("invalid auth token")) })
		}
		wg.Wait()
		_, err = l.get(t.Context(), c, nil)
		require.NoError(t, err)
		require.EqualValues(t, 2, fetched.Load())
		require.NoError(t, c.close())
	})
}

// A login that fails is not tried again at once, whoever asks, and one that ends
// with its connection is begun anew by the next.
func TestFailedLoginsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetched atomic.Int64
		wrong := errors.New("authentication failed")
		l := &login{fetch: func(context.Context, *connection, *grpc.ClientConn) (string, error) {
			fetched.Add(1)
			return "", wrong
		}}
		c := newTestConnection()
		for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(10 * time.Millisecond) {
			_, err := l.get(t.Context(), c, nil)
			require.ErrorIs(t, err, wrong)
		}
		require.Less(t, fetched.Load(), int64(31), "pauses of 2.5 s at least, in the end")
		require.NoError(t, c.close())

		l.fetch = func(ctx context.Context, _ *connection, _ *grpc.ClientConn) (string, error) {
			return "token", sleep(ctx, time.Second)
		}
		time.Sleep(time.Minute)
		first, second := newTestConnection(), newTestConnection()
		var wg sync.WaitGroup
		wg.Go(func() { _, err := l.get(t.Context(), first, nil); require.Error(t, err) })
		synctest.Wait()
		wg.Go(func() { _, err := l.get(t.Context(), second, nil); require.NoError(t, err) })
		synctest.Wait()
		require.NoError(t, first.close())
		wg.Wait()
		require.NoError(t, second.close())
		_, err := (&login{fetch: l.fetch}).get(t.Context(), second, nil)
		require.Error(t, err, "nothing begins after close")
	})
}

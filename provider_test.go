package distributed

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var errDenied = fmt.Errorf("%w: permission denied", ErrRefused)

func TestARefusalIsFinalAfterSeveralAttemptsOverTenSeconds(t *testing.T) {
	for _, c := range []struct {
		name  string
		every time.Duration
		times int
		final int // the attempt that is, from 1; 0 for none
	}{
		{"every three seconds", 3 * time.Second, 6, 5},
		{"often, but not for long", time.Second, 8, 0},
		{"long, but not often", time.Minute, 3, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var a admission
			final := 0
			for i := range c.times {
				err := a.judge(slog.New(slog.DiscardHandler), errDenied)
				require.ErrorIs(t, err, ErrRefused)
				if errors.Is(err, ErrPermanent) && final == 0 {
					final = i + 1
				}
				time.Sleep(c.every)
			}
			require.Equal(t, c.final, final, c.name)
		})
	}
}

// What is no refusal proves nothing, neither for nor against.
func TestOnlyRefusalsAreFinal(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			var a admission
			var since time.Time
			refusals := 0
			for range rapid.IntRange(1, 50).Draw(rt, "attempts") {
				time.Sleep(time.Duration(rapid.Int64Range(0, int64(8*time.Second)).Draw(rt, "pause")))
				if rapid.Bool().Draw(rt, "away") {
					require.NotErrorIs(t, a.judge(nil, errors.New("away")), ErrPermanent)
					continue
				}
				if refusals++; refusals == 1 {
					since = time.Now()
				}
				final := errors.Is(a.judge(nil, errDenied), ErrPermanent)
				require.Equal(t, refusals >= refusedTimes && time.Since(since) >= refusedFor, final)
			}
		})
	})
}

func TestWhoWasAdmittedOnceIsNotRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, nil))
		var a admission
		refuse := func() (final, told int) {
			log.Reset()
			for range 20 {
				if errors.Is(a.judge(logger, errDenied), ErrPermanent) {
					final++
				}
				time.Sleep(time.Second)
			}
			return final, strings.Count(log.String(), "level=WARN")
		}
		final, told := refuse()
		require.Equal(t, 10, final)
		require.Zero(t, told)
		for range 2 {
			require.NoError(t, a.judge(logger, nil))
			final, told = refuse()
			require.Zero(t, final)
			require.Equal(t, 1, told, "once until it is admitted again")
		}
	})
}

package distributed

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAVerdictTakesSeveralAttemptsOverTenSecondsOnTwoMembers(t *testing.T) {
	for _, c := range []struct {
		name    string
		by      [][]string // of each attempt
		every   time.Duration
		members int
		final   int // the attempt that is, from 1; 0 for none
	}{
		{"one member of one", [][]string{{"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}}, 3 * time.Second, 1, 5},
		{"often, but not for long", [][]string{{"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}}, time.Second, 1, 0},
		{"long, but not often", [][]string{{"a"}, {"a"}, {"a"}}, time.Minute, 1, 0},
		{"one member of three", [][]string{{"b"}, {"b"}, {"b"}, {"b"}, {"b"}, {"b"}, {"b"}, {"b"}}, 3 * time.Second, 3, 0},
		{"two members of three", [][]string{{"b"}, {"b"}, {"b"}, {"b"}, {"b"}, {"b"}, {"a"}}, 3 * time.Second, 3, 7},
		{"two members in one attempt", [][]string{{"a", "b"}, {"a"}, {"a"}, {"a"}, {"a"}}, 3 * time.Second, 3, 5},
		{"members that nobody knows", [][]string{nil, nil, nil, nil, nil}, 3 * time.Second, 3, 5},
		{"members that cannot be told", [][]string{{""}, {"a"}, {"a"}, {"a"}, {"a"}}, 3 * time.Second, 3, 5},
	} {
		var v verdict
		final := 0
		now := time.Now()
		for i, by := range c.by {
			if v.refused(now.Add(time.Duration(i)*c.every), by, c.members) && final == 0 {
				final = i + 1
			}
		}
		require.Equal(t, c.final, final, c.name)
	}
}

// Whatever comes, there is no verdict within ten seconds of an admission.
func TestAnAdmissionUndoesWhatCameBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v verdict
		now := time.Now()
		admitted := now
		for range rapid.IntRange(1, 100).Draw(t, "attempts") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(8*time.Second)).Draw(t, "pause")))
			if rapid.Bool().Draw(t, "admitted") {
				v.admitted()
				admitted = now
				continue
			}
			if v.refused(now, []string{rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "by")}, 3) {
				require.GreaterOrEqual(t, now.Sub(admitted), verdictTime)
			}
		}
	})
}

func TestWhoWasAdmittedOnceIsNotRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a admission
		cause := errors.New("permission denied")
		refuse := func() (final, told int) {
			for range 20 {
				err, tell := a.refused(cause, nil, 1)
				require.ErrorIs(t, err, cause)
				if errors.Is(err, ErrPermanent) {
					final++
				}
				if tell {
					told++
				}
				time.Sleep(time.Second)
			}
			return final, told
		}
		final, told := refuse()
		require.Equal(t, 10, final)
		require.Zero(t, told)

		a.succeed(true)
		for range 2 {
			final, told = refuse()
			require.Zero(t, final)
			require.Equal(t, 1, told, "once until it is admitted again")
			a.succeed(false)
		}
	})
}

func TestAnAttemptSaysSoonWhyItReachesNobodyAndThenHasMoreTime(t *testing.T) {
	var a admission
	var patience []time.Duration
	for range 5 {
		patience = append(patience, a.patience())
		a.unreached()
	}
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}, patience)
	a.succeed(false)
	require.Equal(t, time.Second, a.patience())
}

func TestAConnectionIsDroppedAfterTwoAttemptsIntoSilence(t *testing.T) {
	type attempt struct{ sent, now, heard time.Duration }
	for _, c := range []struct {
		name     string
		attempts []attempt
		dead     []bool
	}{
		{"two into silence", []attempt{{10, 20, 5}, {25, 35, 5}}, []bool{false, true}},
		{"something was heard meanwhile", []attempt{{10, 20, 15}, {25, 35, 30}, {40, 50, 45}}, []bool{false, false, false}},
		{"something was heard between them", []attempt{{10, 20, 5}, {25, 35, 22}, {40, 50, 22}}, []bool{false, false, true}},
		{"overlapping attempts are one", []attempt{{10, 20, 5}, {11, 21, 5}, {19, 29, 5}, {30, 40, 5}}, []bool{false, false, false, true}},
	} {
		var q quiet
		for i, a := range c.attempts {
			require.Equal(t, c.dead[i], q.missed(a.sent, a.now, a.heard), "%s: %d", c.name, i)
		}
	}
}

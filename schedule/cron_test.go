package schedule_test

import (
	"context"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/schedule"
)

// The changes of the clock in the year in which virtual time begins.
func TestCronThroughTheChangesOfTheClock(t *testing.T) {
	for name, test := range map[string]struct {
		spec, from, until string
		want              []string // in UTC
	}{
		"UTC": {
			"0 3 * * *", "2000-03-25T12:00:00Z", "2000-03-27T12:00:00Z",
			[]string{"03-26 03:00", "03-27 03:00"},
		},
		"a zone": {
			"CRON_TZ=Asia/Kolkata 0 3 * * *", "2000-03-25T12:00:00Z", "2000-03-26T12:00:00Z",
			[]string{"03-25 21:30"},
		},
		"a day with 23 hours": {
			"TZ=Europe/Berlin 0 4 * * *", "2000-03-24T12:00:00Z", "2000-03-26T12:00:00Z",
			[]string{"03-25 03:00", "03-26 02:00"},
		},
		"a time that does not exist": {
			"TZ=Europe/Berlin 30 2 * * *", "2000-03-24T12:00:00Z", "2000-03-27T12:00:00Z",
			[]string{"03-25 01:30", "03-26 01:00", "03-27 00:30"},
		},
		"two that do not exist, and one that comes at once": {
			"TZ=Europe/Berlin 0,30 2-3 26 3 *", "2000-03-25T12:00:00Z", "2000-03-26T12:00:00Z",
			[]string{"03-26 01:00", "03-26 01:30"},
		},
		"a midnight that does not exist": {
			"TZ=America/Sao_Paulo 0 0 * * *", "2000-10-07T00:00:00Z", "2000-10-09T12:00:00Z",
			[]string{"10-07 03:00", "10-08 03:00", "10-09 02:00"},
		},
		"a time that comes twice": {
			"TZ=Europe/Berlin 30 2 * * *", "2000-10-27T12:00:00Z", "2000-10-30T12:00:00Z",
			[]string{"10-28 00:30", "10-29 00:30", "10-30 01:30"},
		},
		"the hour after that": {
			"TZ=Europe/Berlin 0 3 * * *", "2000-10-28T12:00:00Z", "2000-10-29T12:00:00Z",
			[]string{"10-29 02:00"},
		},
		"begun in an hour that comes again": {
			"TZ=Europe/Berlin 30 2 * * *", "2000-10-29T01:10:00Z", "2000-10-30T12:00:00Z",
			[]string{"10-30 01:30"},
		},
		"every hour, one of which comes twice": {
			"TZ=Europe/Berlin 30 * * * *", "2000-10-28T23:00:00Z", "2000-10-29T03:00:00Z",
			[]string{"10-28 23:30", "10-29 00:30", "10-29 01:30", "10-29 02:30"},
		},
		"every hour, one of which does not exist": {
			"TZ=Europe/Berlin 30 * * * *", "2000-03-25T23:00:00Z", "2000-03-26T03:00:00Z",
			[]string{"03-25 23:30", "03-26 00:30", "03-26 01:30", "03-26 02:30"},
		},
		"half an hour that comes twice": {
			"TZ=Australia/Lord_Howe */20 * 26 3 *", "2000-03-25T14:00:00Z", "2000-03-25T16:01:00Z",
			[]string{"03-25 14:00", "03-25 14:20", "03-25 14:40", "03-25 15:10", "03-25 15:30", "03-25 15:50"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				sleepBefore(t, test.from)
				var got []string
				stop := s.start("a", func(f function) (func(context.Context) error, error) { return schedule.Cron(test.spec, f) },
					func(_ context.Context, at time.Time) error {
						require.WithinDuration(t, at, time.Now(), time.Second)
						got = append(got, at.Format("01-02 15:04"))
						return nil
					})
				sleepBefore(t, test.until)
				require.NoError(t, stop())
				require.Equal(t, test.want, got)
			})
		})
	}
}

// sleepBefore sleeps until a second before a time.
func sleepBefore(t *testing.T, clock string) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, clock)
	require.NoError(t, err)
	time.Sleep(time.Until(at.Add(-time.Second)))
}

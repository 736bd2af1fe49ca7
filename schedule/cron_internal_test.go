package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
)

// The search must find what a look at each minute finds, around any change of a clock.
func TestNextIsWhatALookAtEachMinuteFinds(t *testing.T) {
	zones := []string{"Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "America/New_York", "Africa/Casablanca", "UTC"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		zone := zones[random.IntN(len(zones))]
		spec := fmt.Sprintf("TZ=%s %s %s %s * *", zone,
			pick(random, "*/7", "0", "0,30", "59"), pick(random, "*", "0", "1-3", "*/2", "0,23"), pick(random, "*", "*", "1-7", "*/2"))
		c, err := parse(spec)
		require.NoError(t, err)
		from := someChange(c.zone, random).Add(-time.Duration(random.IntN(1500)) * time.Minute)
		until := from.Add(72 * time.Hour)
		var got []string
		for at := c.next(from); at.Before(until); at = c.next(at) {
			got = append(got, at.Format(time.RFC3339))
		}
		require.Equal(t, look(c, from, until), got, "%s from %v", spec, from)
	}
}

func pick(random *rand.Rand, of ...string) string { return of[random.IntN(len(of))] }

// someChange returns when the clock of a zone is changed, or any time if it is not.
func someChange(zone *time.Location, random *rand.Rand) time.Time {
	at := time.Date(2000+random.IntN(20), time.Month(1+random.IntN(12)), 1, 0, 0, 0, 0, zone)
	if _, end := at.ZoneBounds(); !end.IsZero() {
		at = end
	}
	return at.UTC()
}

// look returns the times after from and before until.
func look(c calendar, from, until time.Time) (all []string) {
	latest := time.Time{} // that the clock has shown
	for t := from.Add(-48 * time.Hour); t.Before(until); t = t.Add(time.Minute) {
		face := face(t.In(c.zone))
		shown := []time.Time{face}
		if !c.hourly && !latest.IsZero() {
			shown = nil
			for m := latest.Add(time.Minute); !m.After(face); m = m.Add(time.Minute) {
				shown = append(shown, m) // several, if the clock was put forward, or none
			}
		}
		if face.After(latest) {
			latest = face
		}
		for _, m := range shown {
			if matches(c.clock.(*cron.SpecSchedule), m) {
				if t.After(from) {
					all = append(all, t.Format(time.RFC3339))
				}
				break
			}
		}
	}
	return all
}

func matches(s *cron.SpecSchedule, t time.Time) bool {
	day := s.Dom>>t.Day()&1 == 1
	return s.Minute>>t.Minute()&1 == 1 && s.Hour>>t.Hour()&1 == 1 && day
}

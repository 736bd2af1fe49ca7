package schedule

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/b2552be4/distributed"
)

// Cron returns a Work that calls f at the times of spec, like [Every]. spec is what
// [cron.ParseStandard] takes: minute, hour, day of the month, month, day of the week; or
// @hourly, @daily, @weekly, @monthly, @yearly; but not @every. Times are in UTC, unless
// spec begins with a time zone, as in "CRON_TZ=Europe/Berlin 0 3 * * *". That is looked
// up on each node; to be independent of what is installed there, import time/tzdata.
//
// It returns what wraps [distributed.ErrInvalidConfig] if spec is wrong, its zone is not
// known, it has no time in the next five years, or f or an option is nil.
func Cron(spec string, f func(ctx context.Context, at time.Time) error, opts ...Option) (func(ctx context.Context) error, error) {
	t, err := parse(spec)
	if err != nil {
		return nil, fmt.Errorf("%w: Cron(%q): %w", distributed.ErrInvalidConfig, spec, err)
	}
	if t.next(now()).Equal(never) {
		return nil, fmt.Errorf("%w: Cron(%q): has no time in the next five years", distributed.ErrInvalidConfig, spec)
	}
	return newWork(t, f, opts)
}

// calendar has the times of a spec. The parser's own search for them leaves out what the
// clock skips, and days whose midnight does that; so it is asked about a clock in UTC
// that is never changed, and the changes are seen to here.
type calendar struct {
	clock  cron.Schedule
	zone   *time.Location
	hourly bool // it has times in every hour, which are not to be thinned out
}

const everyHour = 1<<24 - 1

func parse(spec string) (calendar, error) {
	zoned := strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=")
	switch {
	case !zoned:
		spec = "TZ=UTC " + spec // by default the parser takes that of the machine
	case !strings.Contains(spec, " "):
		return calendar{}, fmt.Errorf("a zone, and no times")
	}
	parsed, err := cron.ParseStandard(spec)
	if err != nil {
		return calendar{}, err
	}
	s, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return calendar{}, fmt.Errorf("use Every instead of @every")
	}
	zone := s.Location
	s.Location = time.UTC
	return calendar{clock: s, zone: zone, hourly: s.Hour&everyHour == everyHour}, nil
}

// never means no time in the next five years.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// next goes from one change of the clock to the next. shown is what the clock has shown
// so far: when it has been put back, the times until then have been.
func (c calendar) next(after time.Time) time.Time {
	t := after.In(c.zone)
	shown := face(t)
	for {
		start, end := t.ZoneBounds()
		if before := face(start.Add(-1)); !c.hourly && !start.IsZero() && before.After(shown) {
			shown = before
		}
		due := c.clock.Next(shown)
		if due.IsZero() {
			return never
		}
		at := t.Add(due.Sub(face(t)))
		switch {
		case end.IsZero() || at.Before(end):
			return at.UTC()
		case !c.hourly && due.Before(face(end)): // the clock skips it
			return end.UTC()
		}
		t, shown = end, face(end).Add(-1)
	}
}

// face is what the clock shows, as a time in UTC.
func face(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

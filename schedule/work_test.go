package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/schedule"
)

var errBroken = errors.New("broken")

func hourly(opts ...schedule.Option) func(function) (func(context.Context) error, error) {
	return func(f function) (func(context.Context) error, error) { return schedule.Every(time.Hour, f, opts...) }
}

// in runs a test in virtual time.
func in(t *testing.T, f func(t *testing.T, s *service)) {
	synctest.Test(t, func(t *testing.T) { f(t, &service{t: t}) })
}

// restarts runs two nodes for 24 h, of which each 40 min one is restarted, in turn.
func restarts(s *service, do function, stop func(node string, stop func() error)) {
	nodes := []string{"a", "b"}
	var stops []func() error
	for _, node := range nodes {
		stops = append(stops, s.start(node, hourly(), do))
	}
	for i := range 36 {
		time.Sleep(40 * time.Minute)
		n := i % 2
		stop(nodes[n], stops[n])
		stops[n] = s.start(nodes[n], hourly(), do)
	}
	time.Sleep(30 * time.Minute)
	for _, stop := range stops {
		require.NoError(s.t, stop())
	}
}

func everyHourOfTheDay() (all []string) {
	for h := 1; h <= 24; h++ {
		all = append(all, fmt.Sprintf("%02d:00", h%24))
	}
	return all
}

func TestAnHourlyJobRunsOnceForEachHourWhileItsNodesRestart(t *testing.T) {
	for name, crash := range map[string]bool{"they are stopped": false, "they crash": true} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				restarts(s, nil, func(node string, stop func() error) {
					if crash {
						s.hub.Refuse(node, errAway)
					}
					_ = stop() // of one that has crashed, nobody knows
					s.hub.Refuse(node, nil)
				})
				s.requireTimes(everyHourOfTheDay()...)
			})
		})
	}
}

func TestRunsThatAreCutOffByRestartsAreDoneAgain(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		var finished []string
		running := false
		do := func(ctx context.Context, at time.Time) error {
			require.False(t, running)
			running = true
			defer func() { running = false }()
			select {
			case <-time.After(25 * time.Minute):
				finished = append(finished, at.Format("15:04"))
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		restarts(s, do, func(_ string, stop func() error) { require.NoError(t, stop()) })
		require.Equal(t, everyHourOfTheDay(), finished)
		require.Greater(t, len(s.take()), len(finished)) // some were cut off
	})
}

func TestNothingIsMissedBeforeTheFirstStart(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		sleepUntil(t, "02:30")
		stop := s.start("a", hourly(schedule.WithMissed(schedule.All)), nil)
		sleepUntil(t, "02:59")
		require.Empty(t, s.take())
		sleepUntil(t, "03:00")
		require.NoError(t, stop())
		require.Equal(t, []call{{"a", "03:00", "03:00"}}, s.take())
	})
}

func TestWhatIsDoneAboutMissedTimes(t *testing.T) {
	for missed, want := range map[schedule.Missed][]call{
		schedule.Once: {{"b", "03:00", "03:30"}, {"b", "04:00", "04:00"}},
		schedule.Skip: {{"b", "04:00", "04:00"}},
		schedule.All:  {{"b", "01:00", "03:30"}, {"b", "02:00", "03:30"}, {"b", "03:00", "03:30"}, {"b", "04:00", "04:00"}},
	} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				for _, node := range []struct{ name, from, until string }{{"a", "00:10", "00:30"}, {"b", "03:30", "04:30"}} {
					sleepUntil(t, node.from)
					stop := s.start(node.name, hourly(schedule.WithMissed(missed)), nil)
					sleepUntil(t, node.until)
					require.NoError(t, stop())
				}
				require.Equal(t, want, s.take())
			})
		})
	}
}

func TestATimeIsNotMissedByWhoBeginsToLeadJustThen(t *testing.T) {
	for _, missed := range []schedule.Missed{schedule.Once, schedule.Skip} {
		in(t, func(t *testing.T, s *service) {
			l := s.lead("a")
			require.NoError(t, l.Save(t.Context(), []byte(`{"time":"2000-01-01T00:00:00Z"}`)))
			time.Sleep(time.Until(time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC)))
			work, err := hourly(schedule.WithMissed(missed))(func(_ context.Context, at time.Time) error {
				s.note("a", at)
				return l.Resign(t.Context())
			})
			require.NoError(t, err)
			require.NoError(t, work(l.Context()))
			require.Equal(t, []call{{"a", "02:00", "02:00"}}, s.take())
		})
	}
}

func TestTimesThatComeWhileTheFunctionRunsAreMissed(t *testing.T) {
	for missed, want := range map[schedule.Missed][]call{
		schedule.Once: {{"a", "01:00", "01:00"}, {"a", "03:00", "03:10"}, {"a", "05:00", "05:20"}},
		schedule.Skip: {{"a", "01:00", "01:00"}, {"a", "04:00", "04:00"}},
		schedule.All:  {{"a", "01:00", "01:00"}, {"a", "02:00", "03:10"}, {"a", "03:00", "05:20"}},
	} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				stop := s.start("a", hourly(schedule.WithMissed(missed)), func(context.Context, time.Time) error {
					time.Sleep(130 * time.Minute)
					return nil
				})
				sleepUntil(t, "05:30")
				require.NoError(t, stop())
				require.Equal(t, want, s.take())
			})
		})
	}
}

func TestAnErrorIsRetriedWithinItsSlot(t *testing.T) {
	for name, fail := range map[string]func() error{
		"an error": func() error { return errBroken },
		"a panic":  func() error { panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				failures := 3
				do := func(context.Context, time.Time) error {
					if failures--; failures >= 0 {
						return fail()
					}
					return nil
				}
				stopA, stopB := s.start("a", hourly(), do), s.start("b", hourly(), do)
				sleepUntil(t, "02:30")
				require.NoError(t, stopA())
				require.NoError(t, stopB())
				s.requireTimes("01:00", "01:00", "01:00", "01:00", "02:00")
			})
		})
	}
}

// What fails on one node may not on another: the next try is there, as with any job.
func TestAnErrorIsRetriedOnAnotherNode(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		stopA := s.start("a", hourly(), func(context.Context, time.Time) error { return errBroken })
		sleepUntil(t, "00:01")
		stopB := s.start("b", hourly(), nil)
		sleepUntil(t, "01:30")
		require.NoError(t, stopA())
		require.NoError(t, stopB())
		require.Equal(t, []call{{"a", "01:00", "01:00"}, {"b", "01:00", "01:00"}}, s.take())
	})
}

func TestARetryEndsWithTheSlot(t *testing.T) {
	for missed, until := range map[schedule.Missed]string{schedule.Once: "01:59", schedule.Skip: "01:59", schedule.All: "02:29"} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				stop := s.start("a", hourly(schedule.WithMissed(missed)), func(_ context.Context, at time.Time) error {
					if at.Hour() == 1 && time.Now().Before(at.Add(90*time.Minute)) {
						return errBroken
					}
					return nil
				})
				sleepUntil(t, "03:30")
				require.NoError(t, stop())
				tries := make(map[string][]call)
				for _, c := range s.take() {
					tries[c.at] = append(tries[c.at], c)
				}
				first := tries["01:00"]
				if missed == schedule.All { // the last one succeeds
					first = first[:len(first)-1]
				}
				require.Greater(t, len(first), 50) // the pause is a minute at most
				require.Equal(t, until, first[len(first)-1].came)
				require.LessOrEqual(t, len(tries["02:00"]), 1) // with Skip, the pause may end after it has come
				require.Equal(t, []call{{"a", "03:00", "03:00"}}, tries["03:00"])
			})
		})
	}
}

func TestTheLeaderChangesInTheMiddleOfARun(t *testing.T) {
	returned := func(ctx context.Context, _ time.Time) error { <-ctx.Done(); return nil }
	cut := func(ctx context.Context, _ time.Time) error { <-ctx.Done(); return ctx.Err() }
	for name, test := range map[string]struct {
		do    function
		crash bool
		want  []call
	}{
		"which returns nil":        {do: returned, want: []call{{"a", "01:00", "01:00"}, {"b", "02:00", "02:00"}}},
		"which returns its error":  {do: cut, want: []call{{"a", "01:00", "01:00"}, {"b", "01:00", "01:30"}, {"b", "02:00", "02:00"}}},
		"as its node loses it":     {do: cut, crash: true, want: []call{{"a", "01:00", "01:00"}, {"b", "02:00", "02:00"}}},
		"which is over, by a loss": {do: nil, crash: true, want: []call{{"a", "01:00", "01:00"}, {"b", "02:00", "02:00"}}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, s *service) {
				stopA := s.start("a", hourly(), test.do)
				sleepUntil(t, "00:01")
				stopB := s.start("b", hourly(), nil)
				sleepUntil(t, "01:29")
				time.Sleep(59 * time.Second)
				if test.crash {
					s.hub.Refuse("a", errAway)
					sleepUntil(t, "01:40")
				}
				_ = stopA()
				s.hub.Refuse("a", nil)
				sleepUntil(t, "02:30")
				require.NoError(t, stopB())
				require.Equal(t, test.want, s.take())
			})
		})
	}
}

// A stop that comes while the beginning is being saved must not cost the run.
func TestATimeIsNotLostIfTheNodeStopsAsItComes(t *testing.T) {
	for _, away := range []time.Duration{200 * time.Millisecond, 3 * time.Second} {
		in(t, func(t *testing.T, s *service) {
			stopA := s.start("a", hourly(), nil)
			sleepUntil(t, "00:01")
			stopB := s.start("b", hourly(), nil)
			sleepUntil(t, "00:59")
			time.Sleep(58900 * time.Millisecond)
			release := s.hub.HoldRequests("a")
			time.Sleep(150 * time.Millisecond)
			time.AfterFunc(away, release)
			require.NoError(t, stopA())
			sleepUntil(t, "01:30")
			require.NoError(t, stopB())
			require.Equal(t, []call{{"b", "01:00", "01:00"}}, s.take())
		})
	}
}

// What a begins is under way when its lease ends, b takes over, and begins the same.
func TestAStaleLeaderBeginsNothing(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		stopA := s.start("a", hourly(), nil)
		sleepUntil(t, "00:01")
		stopB := s.start("b", hourly(), nil)
		sleepUntil(t, "00:59")
		time.Sleep(58 * time.Second)
		release := s.hub.HoldRequests("a")
		sleepUntil(t, "01:30")
		s.requireTimes("01:00")
		release()
		sleepUntil(t, "01:45")
		require.Empty(t, s.take())
		require.NoError(t, stopB())
		require.NoError(t, stopA())
	})
}

// Its clock stands still, so it takes itself for the leader: only the store knows better.
func TestALeaderThatTakesItselfForValidBeginsNothing(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		l := s.lead("a")
		work, err := hourly()(func(_ context.Context, at time.Time) error { s.note("a", at); return nil })
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- work(l.Context()) }()
		sleepUntil(t, "00:30")

		later := &service{t: t} // where more has been written, so tokens are greater
		b := later.lead("b")
		for b.Token() <= l.Token() {
			require.NoError(t, b.Resign(t.Context()))
			b = later.lead(fmt.Sprint("b", b.Token()))
		}
		require.NoError(t, b.Save(t.Context(), []byte(`{"time":"2000-01-01T00:00:00Z"}`)))
		theirs, _ := later.hub.Documents("app/saved/")
		ours, _ := s.hub.Documents("app/saved/")
		store := s.hub.Open("b")
		defer store.Close()
		_, err = store.Put(t.Context(), ours[0].Key, theirs[0].Value, ours[0].Revision)
		require.NoError(t, err)

		sleepUntil(t, "01:30")
		require.Empty(t, s.take())
		require.True(t, l.Valid())
		require.ErrorIs(t, <-ended, distributed.ErrLeadershipLost)
	})
}

func TestAScheduleCanBeDone(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		stop := s.start("a", hourly(), func(_ context.Context, at time.Time) error {
			if at.Hour() == 2 {
				return distributed.ErrDone
			}
			return nil
		})
		sleepUntil(t, "05:30")
		require.NoError(t, stop())
		s.requireTimes("01:00", "02:00")
	})
}

// Another node has a clock that is ahead, and has begun a time already.
func TestATimeThatWasBegunEarlyIsNotBegunAgain(t *testing.T) {
	in(t, func(t *testing.T, s *service) {
		l := s.lead("ahead")
		require.NoError(t, l.Save(t.Context(), []byte(`{"time":"2000-01-01T03:00:00Z"}`)))
		require.NoError(t, l.Resign(t.Context()))
		stop := s.start("a", hourly(), nil)
		sleepUntil(t, "04:30")
		require.NoError(t, stop())
		s.requireTimes("04:00")
	})
}

func TestWhatIsNotSavedByAScheduleIsNotTakenForIt(t *testing.T) {
	for _, data := range []string{"checkpoint", "{}", "null", `"03:00"`} {
		in(t, func(t *testing.T, s *service) {
			l := s.lead("a")
			require.NoError(t, l.Save(t.Context(), []byte(data)))
			work, err := hourly()(func(context.Context, time.Time) error { return nil })
			require.NoError(t, err)
			require.ErrorContains(t, work(l.Context()), `schedule: what "job" has saved is not the time of a schedule`)
		})
	}
}

func TestAScheduleNeedsALeadership(t *testing.T) {
	work, err := hourly()(func(context.Context, time.Time) error { return nil })
	require.NoError(t, err)
	require.ErrorIs(t, work(t.Context()), distributed.ErrInvalidConfig)
}

func TestAScheduleThatCannotWorkIsRefused(t *testing.T) {
	f := func(context.Context, time.Time) error { return nil }
	every := func(d time.Duration, f function, opts ...schedule.Option) error {
		_, err := schedule.Every(d, f, opts...)
		return err
	}
	cron := func(spec string) error { _, err := schedule.Cron(spec, f); return err }
	for want, err := range map[string]error{
		"Every(0s): must be at least 1s":            every(0, f),
		"Every(-1h0m0s): must be at least 1s":       every(-time.Hour, f),
		"Every(999ms): must be at least 1s":         every(999*time.Millisecond, f),
		"the function of a schedule is nil":         every(time.Hour, nil),
		"an option is nil":                          every(time.Hour, f, nil),
		"WithMissed(3): must be Once, Skip or All":  every(time.Hour, f, schedule.WithMissed(3)),
		"WithMissed(-1): must be Once, Skip or All": every(time.Hour, f, schedule.WithMissed(-1)),
		`Cron(""): `:            cron(""),
		`Cron("0 3 * *"): `:     cron("0 3 * *"),
		`Cron("60 3 * * *"): `:  cron("60 3 * * *"),
		`Cron("0 0 3 * * *"): `: cron("0 0 3 * * *"),
		`Cron("@every 1h"): use Every instead of @every`:               cron("@every 1h"),
		`Cron("TZ=Europe/Berlin"): a zone, and no times`:               cron("TZ=Europe/Berlin"),
		`Cron("CRON_TZ=Mars/Phobos 0 3 * * *"): `:                      cron("CRON_TZ=Mars/Phobos 0 3 * * *"),
		`Cron("0 0 30 2 *"): has no time in the next five years`:       cron("0 0 30 2 *"),
		`Cron("TZ=UTC 0 0 31 4 *"): has no time in the next five year`: cron("TZ=UTC 0 0 31 4 *"),
	} {
		require.ErrorIs(t, err, distributed.ErrInvalidConfig, want)
		require.ErrorContains(t, err, want)
	}
}

package verify_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/verify"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.jsonl")
	var wg sync.WaitGroup
	for _, node := range []string{"a", "b"} {
		wg.Go(func() {
			w, err := verify.Open(path, node)
			require.NoError(t, err)
			for i := range int64(100) {
				r := w.Begin(node, i+1)
				r.Tick()
				r.Stopping()
				r.Tick()
				r.End()
			}
			w.Begin(node, 101).Tick() // and then it died
			require.NoError(t, w.Close())
		})
	}
	wg.Wait()
	records, err := verify.ReadFiles(path)
	require.NoError(t, err)
	require.Len(t, records, 2*(100*5+2))
	runs, err := verify.Runs(records)
	require.NoError(t, err)
	report := verify.Check(runs, verify.Rules{})
	require.Empty(t, report.Violations)
	require.Equal(t, 202, report.Runs)
	require.Equal(t, 2, report.Jobs)
	for _, r := range runs {
		require.Equal(t, r.Token <= 100, r.Ended)
		require.Equal(t, r.Ended, r.Told)
		require.LessOrEqual(t, r.Start, r.End)
	}
}

func TestALineCutOffAtTheEndIsIgnored(t *testing.T) {
	records, err := verify.Read(strings.NewReader(`{"job":"j","node":"a","process":"p","run":1,"token":1,"event":"start","wall":1}` + "\n\n" + `{"job":"j","no`))
	require.NoError(t, err)
	require.Len(t, records, 1)
}

func TestALineThatIsNoRecordIsAnErrorWithItsNumber(t *testing.T) {
	for line, want := range map[string]string{
		`nonsense`: "line 2: invalid character",
		`{"job":"","process":"p","event":"start"}`:  "line 2: job is empty",
		`{"job":"j","process":"","event":"start"}`:  "line 2: process is empty",
		`{"job":"j","process":"p","event":"begin"}`: `line 2: event is "begin"`,
	} {
		_, err := verify.Read(strings.NewReader("\n" + line + "\n"))
		require.ErrorContains(t, err, want)
	}
	_, err := verify.ReadFiles(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestRecordsThatContradictEachOtherAreAnError(t *testing.T) {
	rec := func(e verify.Event, at int64) verify.Record {
		return verify.Record{Job: "j", Node: "a", Process: "p", Run: 1, Token: 1, Event: e, Wall: at}
	}
	other := rec(verify.Tick, 2)
	other.Token = 9
	for want, records := range map[string][]verify.Record{
		"tick without a start": {rec(verify.Tick, 1)},
		"a second start":       {rec(verify.Start, 1), rec(verify.Start, 2)},
		"tick after its end":   {rec(verify.Start, 1), rec(verify.End, 2), rec(verify.Tick, 3)},
		"with token 9":         {rec(verify.Start, 1), other},
	} {
		_, err := verify.Runs(records)
		require.ErrorContains(t, err, want)
	}
}

func TestRecordsOfOneBootAreComparedByTheMonotonicClock(t *testing.T) {
	rec := func(e verify.Event, boot string, mono, wall int64) verify.Record {
		return verify.Record{Job: "j", Node: "a", Process: "p", Run: 1, Token: 1, Event: e, Boot: boot, Mono: mono, Wall: wall}
	}
	length := func(records ...verify.Record) time.Duration {
		runs, err := verify.Runs(records)
		require.NoError(t, err)
		return runs[0].End - runs[0].Start
	}
	require.EqualValues(t, 7, length(rec(verify.Start, "x", 1, 100), rec(verify.End, "x", 8, 900)))
	require.EqualValues(t, 7, length(rec(verify.Start, "x", 1, 900), rec(verify.End, "x", 8, 100)), "the wall clock does not matter")
	require.EqualValues(t, 800, length(rec(verify.Start, "x", 1, 100), rec(verify.End, "y", 8, 900)))
	require.EqualValues(t, 800, length(rec(verify.Start, "", 0, 100), rec(verify.End, "", 0, 900)))
	require.EqualValues(t, 0, length(rec(verify.Start, "x", 1, 900), rec(verify.End, "y", 8, 100)), "a wall clock that steps back")
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestARecordThatCannotBeWrittenIsReported(t *testing.T) {
	w := verify.NewWriter(full{}, "a")
	require.NoError(t, w.Err())
	w.Begin("j", 1).End()
	require.ErrorIs(t, w.Err(), errFull)
	require.ErrorIs(t, w.Close(), errFull)
}

// A service that ticks from a goroutine of its own need not wait for it.
func TestNothingIsRecordedAfterTheEnd(t *testing.T) {
	var log strings.Builder
	w := verify.NewWriter(&log, "a")
	for range 100 {
		run := w.Begin("j", 1)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				run.Tick()
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		run.End()
		run.End()
		run.Stopping()
		close(stop)
		<-stopped
	}
	require.NoError(t, w.Err())
	records, err := verify.Read(strings.NewReader(log.String()))
	require.NoError(t, err)
	runs, err := verify.Runs(records)
	require.NoError(t, err)
	require.Len(t, runs, 100)
}

func TestASecondCloseReturnsTheSame(t *testing.T) {
	w, err := verify.Open(filepath.Join(t.TempDir(), "runs.jsonl"), "a")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	w.Begin("j", 1)
	require.ErrorIs(t, w.Err(), os.ErrClosed)
}

func Example() {
	var log strings.Builder
	a, b := verify.NewWriter(&log, "a"), verify.NewWriter(&log, "b")

	first := a.Begin("mail", 17) // in Work, with the token of the leadership
	first.Tick()
	second := b.Begin("mail", 23) // which must not happen yet
	first.End()
	second.End()

	records, err := verify.Read(strings.NewReader(log.String()))
	if err != nil {
		panic(err)
	}
	runs, err := verify.Runs(records)
	if err != nil {
		panic(err)
	}
	for _, v := range verify.Check(runs, verify.Rules{}).Violations {
		fmt.Printf("%s of job %q: %s and %s\n", v.Kind, v.Job, v.First.Node, v.Second.Node)
	}
	// Output: overlap of job "mail": a and b
}

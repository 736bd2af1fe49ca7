package verify_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/b2552be4/distributed/verify"
)

const ms = time.Millisecond

// run makes a run of job j in a process named like its node, with the times of
// its start, ticks and end.
func run(node string, token int64, times ...time.Duration) verify.Run {
	last := len(times) - 1
	return verify.Run{
		Job: "j", Node: node, Process: node + "-1", Token: token,
		Start: times[0], Ticks: times[1:last], End: times[last], Ended: true,
	}
}

func found(runs []verify.Run, rules verify.Rules) []string {
	var out []string
	for _, v := range verify.Check(runs, rules).Violations {
		out = append(out, v.String())
	}
	return out
}

func TestWhatMustBeFound(t *testing.T) {
	twice := func(length string) string {
		return `overlap: job "j" ran twice at once for ` + length + `: a (process a-1) ran with token 1 and b (process b-1) ran with token 2`
	}
	for name, c := range map[string]struct {
		runs  []verify.Run
		rules verify.Rules
		want  []string
	}{
		"nothing at all":            {},
		"one after the other":       {runs: []verify.Run{run("a", 1, 0, 5*ms), run("b", 2, 6*ms, 9*ms)}},
		"at the very same moment":   {runs: []verify.Run{run("a", 1, 0, 5*ms), run("b", 2, 5*ms, 9*ms)}},
		"a little at once":          {runs: []verify.Run{run("a", 1, 0, 5*ms), run("b", 2, 5*ms-1, 9*ms)}, want: []string{twice("1ns")}},
		"one inside another":        {runs: []verify.Run{run("a", 1, 0, 9*ms), run("b", 2, 2*ms, 4*ms)}, want: []string{twice("2ms")}},
		"one moment inside another": {runs: []verify.Run{run("a", 1, 0, 9*ms), run("b", 2, 2*ms, 2*ms)}, want: []string{twice("0s")}},
		"in no particular order":    {runs: []verify.Run{run("b", 2, 2*ms, 4*ms), run("a", 1, 0, 9*ms)}, want: []string{twice("2ms")}},
		"not with the last, but one before": {
			runs: []verify.Run{run("a", 1, 0, 9*ms), run("b", 2, ms, 2*ms), run("b", 3, 3*ms, 4*ms)},
			want: []string{twice("1ms"), `overlap: job "j" ran twice at once for 1ms: a (process a-1) ran with token 1 and b (process b-1) ran with token 3`}},
		"twice in one process": {
			runs: []verify.Run{run("a", 1, 0, 5*ms), run("a", 1, 4*ms, 6*ms)},
			want: []string{`overlap: job "j" ran twice at once for 1ms: a (process a-1) ran with token 1 and a (process a-1) ran with token 1`}},
		"a token that falls": {
			runs: []verify.Run{run("a", 5, 0, ms), run("b", 7, 2*ms, 3*ms), run("a", 6, 4*ms, 5*ms)},
			want: []string{`token order: job "j": b (process b-1) ran with token 7, and later a (process a-1) ran with token 6`}},
		"a token of two processes": {
			runs: []verify.Run{run("a", 5, 0, ms), run("b", 5, 2*ms, 3*ms)},
			want: []string{`token reuse: job "j": a (process a-1) ran with token 5, and so did b (process b-1) ran with token 5`}},
		"a leadership that runs twice": {runs: []verify.Run{run("a", 5, 0, ms), run("a", 5, 2*ms, 3*ms)}},
		"a gap within the limit":       {runs: []verify.Run{run("a", 1, 0, ms), run("b", 2, 3*ms, 4*ms)}, rules: verify.Rules{MaxGap: 2 * ms}},
		"a gap beyond the limit": {
			runs: []verify.Run{run("a", 1, 0, ms), run("b", 2, 3*ms+1, 4*ms)}, rules: verify.Rules{MaxGap: 2 * ms},
			want: []string{`gap: job "j" ran nowhere for 2.000001ms: between a (process a-1) ran with token 1 and b (process b-1) ran with token 2`}},
		"silence counts as running without a rule": {
			runs: []verify.Run{run("a", 1, 0, ms, 20*ms), run("b", 2, 5*ms, 9*ms)}, want: []string{twice("4ms")}},
		"a frozen process is not running": {
			runs: []verify.Run{run("a", 1, 0, ms, 20*ms), run("b", 2, 5*ms, 9*ms)}, rules: verify.Rules{Silence: 10 * ms}},
		"a short silence is running": {
			runs: []verify.Run{run("a", 1, 0, ms, 11*ms), run("b", 2, 5*ms, 9*ms)}, rules: verify.Rules{Silence: 10 * ms}, want: []string{twice("4ms")}},
		"a frozen process that goes on": {
			runs: []verify.Run{run("a", 1, 0, ms, 20*ms, 23*ms), run("b", 2, 5*ms, 6*ms, 15*ms, 24*ms)}, rules: verify.Rules{Silence: 10 * ms}, want: []string{twice("3ms")}},
		"a frozen process that goes on as it may": {
			runs: []verify.Run{run("a", 1, 0, ms, 20*ms, 23*ms), run("b", 2, 5*ms, 6*ms, 15*ms, 24*ms)}, rules: verify.Rules{Silence: 10 * ms, Wake: 4 * ms}},
		"a frozen process that goes on for longer": {
			runs: []verify.Run{run("a", 1, 0, ms, 20*ms, 23*ms), run("b", 2, 5*ms, 6*ms, 15*ms, 24*ms)}, rules: verify.Rules{Silence: 10 * ms, Wake: 2 * ms}, want: []string{twice("1ms")}},
		"clocks that are not good enough to tell": {
			runs: []verify.Run{run("a", 2, 0, 5*ms), run("b", 1, 4*ms, 9*ms)}, rules: verify.Rules{Skew: 5 * ms}},
		"clocks that are good enough to tell": {
			runs: []verify.Run{run("a", 1, 0, 5*ms), run("b", 2, 1*ms, 9*ms)}, rules: verify.Rules{Skew: 3 * ms}, want: []string{twice("4ms")}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, found(c.runs, c.rules)) })
	}
}

func TestEachJobIsJudgedByItself(t *testing.T) {
	other := run("b", 1, 0, 9*ms)
	other.Job = "k"
	report := verify.Check([]verify.Run{run("a", 1, 0, 3*ms), other, run("c", 2, 4*ms, 9*ms)}, verify.Rules{})
	require.Empty(t, report.Violations)
	require.Equal(t, 3, report.Runs)
	require.Equal(t, 2, report.Jobs)
	require.Len(t, report.Gaps, 1)
	require.Equal(t, ms, report.Gaps[0].Length())
	require.Equal(t, "a", report.Gaps[0].Before.Node)
	require.Equal(t, "c", report.Gaps[0].After.Node)
}

func TestGapsAreWhereNobodyRuns(t *testing.T) {
	report := verify.Check([]verify.Run{
		run("a", 1, 0, 9*ms), run("b", 2, ms, 2*ms), run("c", 3, 10*ms, 11*ms), run("d", 4, 30*ms, 30*ms),
	}, verify.Rules{})
	var lengths []time.Duration
	for _, g := range report.Gaps {
		lengths = append(lengths, g.Length())
	}
	require.Equal(t, []time.Duration{ms, 19 * ms}, lengths)
}

// The naive oracle looks at every instant on a grid so fine that nothing fits in
// between: times are whole numbers, the grid has halves.
type naive struct {
	runs  []verify.Run
	rules verify.Rules
}

const unit = 2 * time.Nanosecond // so that a half is a whole number as well

func (n naive) executing(r verify.Run, t time.Duration) bool {
	points := append(append([]time.Duration{r.Start}, r.Ticks...), r.End)
	since := points[0] // of this stint
	mayGoOn := since
	for i, p := range points {
		if i > 0 && n.rules.Silence > 0 && p-points[i-1] > n.rules.Silence {
			since = p
			mayGoOn = since + n.rules.Wake
		}
		next := p
		if i+1 < len(points) && (n.rules.Silence == 0 || points[i+1]-p <= n.rules.Silence) {
			next = points[i+1]
		}
		if p <= t && t <= next && t >= mayGoOn {
			return true
		}
	}
	return false
}

func (n naive) overlap(a, b verify.Run) (length time.Duration, found bool) {
	const half = unit / 2
	for t := half; t < 100*unit; t += unit {
		if n.executing(a, t) && n.executing(b, t) {
			length, found = length+unit, true
		}
	}
	inside := func(a, b verify.Run, t time.Duration) bool {
		moment := n.executing(a, t) && !n.executing(a, t-half) && !n.executing(a, t+half)
		return moment && n.executing(b, t-half) && n.executing(b, t+half)
	}
	for t := time.Duration(0); t <= 100*unit; t += unit {
		found = found || inside(a, b, t) || inside(b, a, t)
	}
	return length, found
}

func TestCheckFindsWhatTheNaiveOracleFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) verify.Run {
			times := []time.Duration{unit * time.Duration(rapid.IntRange(0, 40).Draw(t, "start"))}
			for range rapid.IntRange(1, 6).Draw(t, "points") {
				times = append(times, times[len(times)-1]+unit*time.Duration(rapid.IntRange(0, 9).Draw(t, "step")))
			}
			return run(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node"), rapid.Int64Range(1, 5).Draw(t, "token"), times...)
		}), 1, 6).Draw(t, "runs")
		rules := verify.Rules{
			Silence: unit * time.Duration(rapid.IntRange(0, 9).Draw(t, "silence")),
			Wake:    unit * time.Duration(rapid.IntRange(0, 5).Draw(t, "wake")),
		}
		want, n := map[time.Duration]int{}, naive{runs, rules}
		for i, a := range runs {
			for _, b := range runs[:i] {
				if length, found := n.overlap(a, b); found {
					want[length]++
				}
			}
		}
		got, disorder := map[time.Duration]int{}, false
		for _, v := range verify.Check(runs, rules).Violations {
			if v.Kind == verify.Overlap {
				got[v.Length]++
			} else {
				disorder = true
			}
		}
		require.Equal(t, want, got, "overlaps by length")
		require.Equal(t, anyDisorder(runs), disorder, "order of tokens")
	})
}

// anyDisorder compares every two runs.
func anyDisorder(runs []verify.Run) bool {
	for _, a := range runs {
		for _, b := range runs {
			sameToken := a.Token == b.Token && a.Process != b.Process
			if sameToken || (a.Start < b.Start && a.Token > b.Token) {
				return true
			}
		}
	}
	return false
}

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

func TestOverlaps(t *testing.T) {
	a := func(start, end time.Duration) run { return run{job: "j", node: "a", token: 1, start: start, end: end} }
	b := func(start, end time.Duration) run { return run{job: "j", node: "b", token: 2, start: start, end: end} }
	for name, c := range map[string]struct {
		runs []run
		want []string
	}{
		"none":                    {nil, nil},
		"one after the other":     {[]run{a(0, 5*ms), b(6*ms, 9*ms)}, nil},
		"at the very same moment": {[]run{a(0, 5*ms), b(5*ms, 9*ms)}, nil},
		"a little": {[]run{a(0, 5*ms), b(5*ms-1, 9*ms)},
			[]string{"j ran twice at once for 1ns: on a (token 1) and on b (token 2)"}},
		"one inside another": {[]run{a(0, 9*ms), b(2*ms, 4*ms)},
			[]string{"j ran twice at once for 2ms: on a (token 1) and on b (token 2)"}},
		"not with the last but with an earlier one": {[]run{a(0, 9*ms), b(1*ms, 2*ms), b(3*ms, 4*ms)}, []string{
			"j ran twice at once for 1ms: on a (token 1) and on b (token 2)",
			"j ran twice at once for 1ms: on a (token 1) and on b (token 2)"}},
		"with itself on one node": {[]run{a(0, 5*ms), a(4*ms, 6*ms)},
			[]string{"j ran twice at once for 1ms: on a (token 1) and on a (token 1)"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, overlaps(c.runs)) })
	}
}

func TestTokens(t *testing.T) {
	runs := func(tokens ...int64) (runs []run) {
		for i, token := range tokens {
			runs = append(runs, run{job: "j", node: string(rune('a' + i)), token: token, start: time.Duration(i)})
		}
		return runs
	}
	require.Empty(t, tokens(nil))
	require.Empty(t, tokens(runs(3, 5, 9)))
	require.Equal(t, []string{"j got token 3 on b after token 3 on a"}, tokens(runs(3, 3, 4)), "a token used twice")
	require.Equal(t, []string{"j got token 2 on c after token 5 on b"}, tokens(runs(3, 5, 2, 3)), "a token that falls")
}

func TestSteps(t *testing.T) {
	runs := []run{{node: "a", token: 3}, {node: "b", token: 7}}
	a := func(n int64) step { return step{node: "a", number: n, token: 3} }
	b := func(n int64) step { return step{node: "b", number: n, token: 7} }
	maybe := func(s step) step { s.uncertain = true; return s }
	for name, c := range map[string]struct {
		made   []step
		stored counterValue
		want   []string
	}{
		"no steps":      {nil, counterValue{}, nil},
		"a handover":    {[]step{a(1), a(2), b(3)}, counterValue{3, 7}, nil},
		"in any order":  {[]step{b(3), a(2), a(1)}, counterValue{3, 7}, nil},
		"one repeated":  {[]step{a(1), a(2), b(2), b(3)}, counterValue{3, 7}, []string{"j made step 2 twice: on a (token 3) and on b (token 7)"}},
		"one lost":      {[]step{a(1), b(3)}, counterValue{3, 7}, []string{"j has step 2 in the store, which nobody made"}},
		"the last lost": {[]step{a(1), a(2)}, counterValue{1, 3}, []string{"j made step 2 on a, but the store holds 1"}},
		"all lost":      {[]step{a(1)}, counterValue{}, []string{"j made step 1 on a, but the store holds 0"}},
		"by a stale leader": {[]step{a(1), b(2), a(3), b(4)}, counterValue{4, 7},
			[]string{"j made step 3 on a with token 3 after a step with token 7"}},
		"outside of any run": {[]step{a(1), {node: "c", number: 2, token: 9}}, counterValue{2, 9},
			[]string{"j made step 2 on c with token 9 outside of any run"}},
		"with the token of another node": {[]step{{node: "b", number: 1, token: 3}}, counterValue{1, 3},
			[]string{"j made step 1 on b with token 3 outside of any run"}},
		"overwritten by somebody unknown": {[]step{a(1)}, counterValue{1, 99},
			[]string{"j has token 99 in the store, but step 1 was made with token 3"}},
		"cut off, but it arrived":    {[]step{a(1), maybe(a(2)), b(3)}, counterValue{3, 7}, nil},
		"cut off as the last":        {[]step{a(1), maybe(a(2))}, counterValue{2, 3}, nil},
		"cut off, and made by b":     {[]step{a(1), maybe(a(2)), b(2)}, counterValue{2, 7}, nil},
		"cut off, and never arrived": {[]step{a(1), maybe(a(2))}, counterValue{1, 3}, nil},
		"cut off, and another is lost": {[]step{maybe(a(1)), b(3)}, counterValue{3, 7},
			[]string{"j has step 2 in the store, which nobody made"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, steps("j", c.made, runs, c.stored)) })
	}
}

func TestHistoryJudgesEachJobByItself(t *testing.T) {
	h := history{
		jobs: []string{"x", "y", "z"},
		runs: []run{
			{job: "x", node: "b", token: 5, start: 4 * ms, end: 9 * ms}, // in no particular order
			{job: "x", node: "a", token: 1, start: 0, end: 3 * ms},
			{job: "y", node: "b", token: 2, start: 0, end: 9 * ms},
		},
		steps: []step{
			{job: "x", node: "a", number: 1, token: 1},
			{job: "y", node: "b", number: 1, token: 2},
		},
		stored: map[string]counterValue{"x": {1, 1}, "y": {1, 2}},
	}
	require.Empty(t, h.violations())
	require.Equal(t, []string{"z"}, h.idle())
	require.Equal(t, []gap{{"x", ms}}, h.gaps())

	h.stored["y"] = counterValue{2, 2}
	h.runs[1].end = 5 * ms
	require.Equal(t, []string{
		"x ran twice at once for 1ms: on a (token 1) and on b (token 5)",
		"y has step 2 in the store, which nobody made",
	}, h.violations())

	h.stored = nil
	require.Len(t, h.violations(), 1, "steps cannot be judged without knowing the store")
}

func TestGaps(t *testing.T) {
	runs := []run{{job: "j", start: 0, end: 2 * ms}, {job: "j", start: 5 * ms, end: 6 * ms}, {job: "j", start: 5 * ms, end: 7 * ms}}
	require.Equal(t, []gap{{"j", 3 * ms}, {"j", 0}}, gapsBetween(runs), "an overlap is no gap")
	require.Empty(t, gapsBetween(runs[:1]))

	all := []gap{{"a", 2 * ms}, {"b", 9 * ms}, {"a", 5 * ms}, {"c", 5 * ms}}
	require.Equal(t, []gap{{"b", 9 * ms}, {"a", 5 * ms}, {"c", 5 * ms}}, longest(all))
	require.Equal(t, 5*ms, median(all))
	require.Equal(t, 2*ms, median(all[:1]))
	require.Zero(t, median(nil))
}

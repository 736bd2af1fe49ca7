package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/verify"
)

const ms = time.Millisecond

func TestVerdict(t *testing.T) {
	run := func(job, node string, token int64, start, end time.Duration) verify.Run {
		return verify.Run{Job: job, Node: node, Process: node, Token: token, Start: start, End: end, Ended: true}
	}
	good := []verify.Run{run("x", "a", 1, 0, 3*ms), run("y", "b", 2, 0, 9*ms), run("x", "b", 5, 4*ms, 9*ms)}
	counted := map[string]steps{"x": {made: map[int64]int{1: 1, 2: 1}}, "y": {made: map[int64]int{1: 1}}}
	stored := map[string]int64{"x": 2, "y": 1}

	for name, c := range map[string]struct {
		runs  []verify.Run
		spoil func(*verdict)
		ok    bool
		says  string
	}{
		"all is well": {good, func(*verdict) {}, true,
			"Between two runs a job ran nowhere for 1.0 ms (median of 1), 1.0 ms at most.\n" +
				"OK  no job ran twice at once: 3 runs of 2 jobs, with rising tokens\n" +
				"OK  no step was lost or repeated: 3 steps, as many as etcd holds\n"},
		"twice at once": {append(good, run("x", "c", 6, 8*ms, 9*ms)), func(*verdict) {}, false,
			`job "x" ran twice at once for 1ms: b (process b) ran with token 5 and c (process c) ran with token 6`},
		"tokens that fall": {append(good, run("x", "c", 4, 10*ms, 11*ms)), func(*verdict) {}, false,
			`token order: job "x"`},
		"a job that never ran":     {good[:2], func(v *verdict) { v.jobs = append(v.jobs, "z") }, false, "1 job never ran"},
		"no time for a job to run": {good, func(v *verdict) { v.jobs, v.interrupted = append(v.jobs, "z"), true }, true, "3 runs of 2 jobs"},
		"a step too few":           {good, func(v *verdict) { v.stored = map[string]int64{"x": 2} }, false, "y: step 1 was made, and etcd holds no more than 0"},
		"a step from nowhere":      {good, func(v *verdict) { v.steps = map[string]steps{"x": counted["x"]} }, false, "y: etcd holds step 1, which nobody made"},
		"what etcd holds is unknown": {good, func(v *verdict) { v.stored, v.trouble = nil, errors.New("no answer") }, false,
			"    no answer\nFAILED, for the reasons above (1)\n"},
		"a node that failed": {nil, func(v *verdict) { v.trouble = errors.New("node-1: the disk is full") }, false, "node-1: the disk is full\nFAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			v := verdict{jobs: []string{"x", "y"}, report: verify.Check(c.runs, verify.Rules{}), steps: counted, stored: stored}
			c.spoil(&v)
			var out strings.Builder
			require.Equal(t, c.ok, v.print(&out))
			require.Contains(t, out.String(), c.says)
		})
	}
}

func TestSteps(t *testing.T) {
	for name, c := range map[string]struct {
		steps steps
		last  int64
		want  []string
	}{
		"none":                      {steps{}, 0, nil},
		"each once":                 {steps{made: map[int64]int{1: 1, 2: 1, 3: 1}}, 3, nil},
		"one repeated":              {steps{made: map[int64]int{1: 1, 2: 2, 3: 1}}, 3, []string{"step 2 was made 2 times"}},
		"one lost":                  {steps{made: map[int64]int{1: 1, 3: 1}}, 3, []string{"etcd holds step 2, which nobody made"}},
		"the last lost":             {steps{made: map[int64]int{1: 1, 2: 1}}, 1, []string{"step 2 was made, and etcd holds no more than 1"}},
		"no answer, but it arrived": {steps{map[int64]int{1: 1, 3: 1}, map[int64]bool{2: true}}, 3, nil},
		"no answer, and made again": {steps{map[int64]int{1: 1, 2: 1}, map[int64]bool{2: true}}, 2, nil},
		"no answer, never arrived":  {steps{map[int64]int{1: 1}, map[int64]bool{2: true}}, 1, nil},
		"no answer, another lost":   {steps{map[int64]int{3: 1}, map[int64]bool{1: true}}, 3, []string{"etcd holds step 2, which nobody made"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, c.steps.compare(c.last)) })
	}
}

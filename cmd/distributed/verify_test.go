package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func records(t *testing.T, lines ...string) string {
	path := filepath.Join(t.TempDir(), "runs.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
	return path
}

// ran returns the records of a run from start to end, in milliseconds.
func ran(node string, token, start, end int) string {
	line := func(event string, at int) string {
		return fmt.Sprintf(`{"job":"mail","node":%q,"process":"%s-1","run":%d,"token":%d,"event":%q,"mono":%d,"boot":"x","wall":0}`+"\n", node, node, token, token, event, at*1_000_000)
	}
	return line("start", start) + line("end", end)
}

func TestVerify(t *testing.T) {
	good := records(t, ran("a", 1, 0, 10), ran("b", 2, 15, 20), ran("a", 3, 22, 30))
	bad := records(t, ran("a", 2, 0, 10), ran("b", 1, 8, 20))
	for name, c := range map[string]struct {
		args []string
		exit int
		out  string
		errs string
	}{
		"no violation":   {[]string{good}, 0, "longest gap of job \"mail\": 5ms, from a to b\nruns: 3, jobs: 1, no violation\n", ""},
		"quiet":          {[]string{"-q", good}, 0, "runs: 3, jobs: 1, no violation\n", ""},
		"gap too long":   {[]string{"-q", "-max-gap", "4ms", good}, 1, "gap: job \"mail\" ran nowhere for 5ms: between a (process a-1) ran with token 1 and b (process b-1) ran with token 2\nruns: 3, jobs: 1, overlaps: 0, tokens out of order: 0, gaps too long: 1\n", ""},
		"violations":     {[]string{"-q", bad}, 1, "overlap: job \"mail\" ran twice at once for 2ms: a (process a-1) ran with token 2 and b (process b-1) ran with token 1\ntoken order: job \"mail\": a (process a-1) ran with token 2, and later b (process b-1) ran with token 1\nruns: 2, jobs: 1, overlaps: 1, tokens out of order: 1, gaps too long: 0\n", ""},
		"clocks apart":   {[]string{"-q", "-skew", "10ms", bad}, 0, "runs: 2, jobs: 1, no violation\n", ""},
		"no file":        {nil, 2, "", "distributed: there are no files to read\n"},
		"no such file":   {[]string{good + "x"}, 2, "", "no such file"},
		"no records":     {[]string{records(t)}, 2, "", "there are no records"},
		"no such flag":   {[]string{"-x", good}, 2, "", "unknown shorthand flag"},
		"wake by itself": {[]string{"-wake", "1s", good}, 2, "", "--wake needs --silence"},
		"negative":       {[]string{"-skew", "-1s", good}, 2, "", "must not be negative"},
		"not a record":   {[]string{records(t, "nonsense\n")}, 2, "", "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			require.Equal(t, c.exit, run(t.Context(), append([]string{"verify"}, c.args...), strings.NewReader(""), &out, &errs), errs.String())
			require.Equal(t, c.out, out.String())
			require.Contains(t, errs.String(), c.errs)
		})
	}
}

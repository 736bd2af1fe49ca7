//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/examples/internal/demo/demotest"
)

func TestMain(m *testing.M) { demotest.Main(m) }

func TestBothAppsSpreadAndSurviveAllButtons(t *testing.T) {
	t.Parallel()
	run := demotest.Start(t, loadBalancing(), "-pause", "100ms")
	run.PressAll("balanced")
	run.AwaitAll("timeouts")
	require.Contains(t, run.Get(""), "Voluntary timeouts")
	run.AwaitEven("balanced", "node-1", "node-2", "node-3", "node-4") // whatever a late heartbeat has moved meanwhile
	code, out := run.Interrupt()
	require.Zero(t, code, out)
	require.Contains(t, out, "Load balancing has evened its jobs out.")
	require.Regexp(t, `Voluntary timeouts: most − least = \d+ − \d+ = \d+ in the end; \d+ moves`, out)
	require.Regexp(t, `Load balancing: most − least = 8 − 7 = 1 in the end; \d+ moves`, out)
	require.Equal(t, 2, strings.Count(out, "OK  no job ran twice at once"), out)
}

func TestEndsByItself(t *testing.T) {
	t.Parallel()
	code, out := demotest.Start(t, loadBalancing(), "-pause", "100ms", "-for", "4s").End()
	require.Zero(t, code, out)
	require.Contains(t, out, "node-1 starts.")
	require.NotContains(t, out, "Interrupted")
}

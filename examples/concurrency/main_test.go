package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheLeadIsHandedOverLostAndWonAgain(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var out strings.Builder
	require.NoError(t, run(t.Context(), cluster.Endpoints(), &out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 5, out.String())
	require.Regexp(t, `^node-1 leads, with token \d+$`, lines[0])
	require.Regexp(t, `^node-1 has resigned: node-2 leads \d+\.\d ms later, with token \d+$`, lines[1])
	require.Regexp(t, `^node-2 has lost the lead: distributed: leadership lost: .*; valid: false$`, lines[2])
	require.Equal(t, "node-2 may not campaign before it has resigned what it lost", lines[3])
	require.Regexp(t, `^node-2 leads again, with token \d+$`, lines[4])

	last := 0
	for _, found := range regexp.MustCompile(`token (\d+)`).FindAllStringSubmatch(out.String(), -1) {
		token, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		require.Greater(t, token, last)
		last = token
	}
}

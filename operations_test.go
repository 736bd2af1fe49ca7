package distributed

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The table of docs/operations.md is arithmetic, and this is it.
func TestTheTableOfTTLsIsRight(t *testing.T) {
	guide, err := os.ReadFile("docs/operations.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| ([\d.]+) s \|.*$`).FindAllStringSubmatch(string(guide), -1)
	require.Len(t, rows, 6)
	for _, row := range rows {
		ttl, err := time.ParseDuration(row[1] + "s")
		require.NoError(t, err)
		own := newTiming(ttl)
		told := own.validity() - own.grace
		most := own.validity() - own.period() - own.attempt()
		require.NoError(t, timing{ttl: ttl, drift: defaultDrift, grace: most}.validate())
		require.Error(t, timing{ttl: ttl, drift: defaultDrift, grace: most + 1}.validate())
		require.Equal(t, fmt.Sprintf("| %s s | %.2f s | %.2f s | %.2f s | %.2f s | %.2f/s |", row[1], told.Seconds(),
			(told-own.period()).Seconds(), silence(ttl, defaultDrift).Seconds(), most.Seconds(), 1/own.period().Seconds()), row[0])
	}
}

// Options may differ between nodes while they are being changed, as the guide says:
// what counts is the TTL of the node that was lost, and the greater drift.
func TestNodesWaitForTheTTLOfTheOtherAndTheGreaterDrift(t *testing.T) {
	for _, c := range []struct {
		ttl   time.Duration
		drift float64
		wait  time.Duration
	}{
		{ttl: 10 * time.Second, drift: 0.02, wait: 10200 * time.Millisecond},
		{ttl: 3 * time.Second, drift: 0.02, wait: 3060 * time.Millisecond},
		{ttl: 30 * time.Second, drift: 0.02, wait: 30600 * time.Millisecond},
		{ttl: 10 * time.Second, drift: 0.05, wait: 10500 * time.Millisecond},
		{ttl: 10 * time.Second, drift: 0, wait: 10200 * time.Millisecond},
	} {
		m := newMirror(testKeys, "b", newTiming(10*time.Second), memory{})
		b, err := testKeys.encode(testKeys.node("a"), &nodeValue{Instance: "a", Beat: 1, TTL: c.ttl.Milliseconds(), Drift: inMillionths(c.drift)})
		require.NoError(t, err)
		epoch, err := testKeys.encode(testKeys.epoch(), &epochValue{"e"})
		require.NoError(t, err)
		m.step(Step{Revision: 1, Whole: true, Documents: []Document{{testKeys.epoch(), epoch, 1}, {testKeys.node("a"), b, 1}}}, 0)
		m.step(Step{Revision: 2, Documents: []Document{{Key: testKeys.node("a"), Revision: 2}}}, 0)
		m.expire(c.wait - 1)
		require.True(t, m.waits(), "%+v", c)
		m.expire(c.wait)
		require.False(t, m.waits(), "%+v", c)
	}
}

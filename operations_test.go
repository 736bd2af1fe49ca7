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
	rows := regexp.MustCompile(`(?m)^\| (\d+) s \|.*$`).FindAllStringSubmatch(string(guide), -1)
	require.Len(t, rows, 4)
	for _, row := range rows {
		ttl, err := time.ParseDuration(row[1] + "s")
		require.NoError(t, err)
		own := timing{ttl: ttl, drift: defaultDrift}.granted(ttl)
		told := own.validity() - own.grace
		most := own.validity() - own.period() - own.attempt()
		require.NoError(t, timing{ttl: ttl, drift: defaultDrift, grace: most}.validate())
		require.Error(t, timing{ttl: ttl, drift: defaultDrift, grace: most + 1}.validate())
		require.Equal(t, fmt.Sprintf("| %d s | %.1f s | %.1f s | %.1f s | %.1f s | %.2f/s |", int(ttl.Seconds()), told.Seconds(),
			(told-own.period()).Seconds(), silence(ttl, defaultDrift).Seconds(), most.Seconds(), 1/own.period().Seconds()), row[0])
	}
}

// Options may differ between nodes while they are being changed, as the guide says:
// what counts is the TTL of the node that was lost, and the greater drift.
func TestNodesWaitForTheTTLOfTheOtherAndTheGreaterDrift(t *testing.T) {
	for _, c := range []struct {
		ttl   int64
		drift float64
		wait  time.Duration
	}{
		{ttl: 10, drift: 0.02, wait: 10200 * time.Millisecond},
		{ttl: 3, drift: 0.02, wait: 3060 * time.Millisecond},
		{ttl: 30, drift: 0.02, wait: 30600 * time.Millisecond},
		{ttl: 10, drift: 0.05, wait: 10500 * time.Millisecond},
		{ttl: 10, drift: 0, wait: 10200 * time.Millisecond},
	} {
		h := newHistory("b") // which has a TTL of 10 s and a drift of 0.02
		h.revision(h.put(h.keys.node("a"), nodeValue{Instance: "a", Beat: 1, TTL: c.ttl, Drift: c.drift}), h.put(h.keys.alive("a"), aliveValue{}))
		h.stand("a", "x")
		h.join("b")
		h.stand("b", "x")
		h.revision(h.del(h.keys.candidate("x", "a")), h.del(h.keys.alive("a")))
		h.expire(c.wait - 1)
		require.False(t, h.leads("x"), "%+v", c)
		h.expire(c.wait)
		require.True(t, h.leads("x"), "%+v", c)
	}
}

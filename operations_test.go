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

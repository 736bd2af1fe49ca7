package distributed

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// formatExamples are the documents of docs/format.md: an app with one node, which
// leads two jobs.
func formatExamples(t *testing.T) map[string]string {
	k, id := keys{"shop/"}, "k7yq2m5xw3ndahgt"
	told, err := k.announcement(id, NodeInfo{
		Version: "v1.4.0", Started: time.UnixMilli(1_790_000_000_000), Labels: map[string]string{"zone": "eu-1"},
		Metadata: map[string]string{"address": "10.0.0.7:8080"}, Capacity: 20,
		Jobs: []JobInfo{{Name: "invoices", Weight: 1}, {Name: "newsletter", Weight: 3, Prefer: []string{"zone=eu-1"}}},
	})
	require.NoError(t, err)
	examples := map[string]string{k.info(id): string(told.info)}
	for key, value := range told.lists {
		examples[key] = string(value)
	}
	for key, v := range map[string]value{
		k.epoch():             &epochValue{"q2kdmv7wrx5thb3e"},
		k.node(id):            &nodeValue{Instance: "shop-1", TTL: 10_000, Drift: 20_000, Beat: 4711, Documents: 1, Made: 103},
		k.claims(id, 0):       (&claimsValue{TTL: 10_000, Drift: 20_000, Seq: 3, Made: 103, Guard: 106}).claim(positions{{"invoices", 106}, {"newsletter", 106}}),
		k.saved("invoices"):   &savedValue{106, []byte(`{"last":4711}`)},
		k.state("newsletter"): &stateValue{Token: 92, Instance: "shop-2", At: 1_790_000_000_000, Failures: 3, Pause: 3412, Error: "smtp: connection refused"},
	} {
		b, err := k.encode(key, v)
		require.NoError(t, err)
		examples[key] = string(b)
	}
	return examples
}

func TestTheExamplesOfTheFormatAreWhatIsWritten(t *testing.T) {
	guide, err := os.ReadFile("docs/format.md")
	require.NoError(t, err)
	shown := map[string]string{}
	key := ""
	for lines := bufio.NewScanner(bytes.NewReader(guide)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if key != "" && strings.HasPrefix(line, "{") {
			shown[key] = line
		}
		key = ""
		if strings.HasPrefix(line, "shop/") {
			key = line
		}
	}
	require.Equal(t, formatExamples(t), shown)
}

func TestTheLimitsInTheFormatAreThoseOfTheCode(t *testing.T) {
	guide, err := os.ReadFile("docs/format.md")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(string(guide)), " ")
	for _, limit := range []string{
		fmt.Sprintf("%d jobs and %d KiB of names", maxClaims, maxNames>>10),
		fmt.Sprintf("above %d KiB", maxDocument>>10),
		fmt.Sprintf("%d jobs on average, and is cut when it comes to %d KiB", pieceJobs, pieceBytes>>10),
		fmt.Sprintf("in order, %d at most", maxLists),
		fmt.Sprintf("from 0 to %d", maxClaimDocuments-1),
		fmt.Sprintf("%d minutes", int(garbageAge.Minutes())),
	} {
		require.Contains(t, text, limit)
	}
}

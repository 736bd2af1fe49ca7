package main

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheLateTransactionIsRejected(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var out strings.Builder
	require.NoError(t, run(t.Context(), cluster.Endpoints(), &out))
	require.Regexp(t, `^node-1 leads, with token \d+, and has issued bill 1
node-1 leads \(true\) and is about to issue a bill, when it freezes
node-2 leads, with token \d+, and has issued bill 2
node-1 wakes and issues a bill: rejected, as a later leader has written
2 bills have been issued
$`, out.String())
}

// Leaders of all tokens write at once, in any order, each with a connection of its
// own. The numbers of the bills are the order in which they were accepted.
func TestNoTransactionIsAcceptedAfterALaterLeaders(t *testing.T) {
	const leaders, writes = 10, 10
	path := filepath.Join(t.TempDir(), "bills.db")
	var wg sync.WaitGroup
	for token := int64(1); token <= leaders; token++ {
		bills, err := openLedger(t.Context(), path)
		require.NoError(t, err)
		wg.Go(func() {
			defer bills.db.Close()
			var err error
			for i := 0; i < writes && err == nil; i++ {
				_, err = bills.issue(t.Context(), token, "somebody")
			}
			if !errors.Is(err, errStale) {
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	bills, err := openLedger(t.Context(), path)
	require.NoError(t, err)
	defer bills.db.Close()
	_, err = bills.issue(t.Context(), leaders-1, "somebody")
	require.ErrorIs(t, err, errStale)

	rows, err := bills.db.QueryContext(t.Context(), `SELECT number, token FROM bills ORDER BY number`)
	require.NoError(t, err)
	defer rows.Close()
	var number, token, latest, accepted int64
	for accepted = 0; rows.Next(); accepted++ {
		require.NoError(t, rows.Scan(&number, &token))
		require.Equal(t, accepted+1, number, "no number is left out or given twice")
		require.GreaterOrEqual(t, token, latest, "bill %d", number)
		latest = token
	}
	require.NoError(t, rows.Err())
	require.EqualValues(t, leaders, latest)
	require.GreaterOrEqual(t, accepted, int64(writes), "all of the last leader")
}

//go:build unix

package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/verify"
)

// The harness must be able to fail: what is usually written on etcd's own
// Session and Election runs a job twice in a partition, and the oracles see it. On a
// machine that stands still, etcd may be so late that it does not overlap: so there are
// three attempts.
func TestTheUsualLoopOnSessionAndElectionOverlaps(t *testing.T) {
	t.Parallel()
	for range 3 {
		if overlap, stale := runNaively(t); overlap && stale {
			return
		}
	}
	require.Fail(t, "no overlap that the register has seen as well")
}

// runNaively reports whether jobs overlapped, and whether the register has seen stale
// writes.
func runNaively(t *testing.T) (overlap, stale bool) {
	w := newWorld(t, newCluster(t, 3, nil), options{naive: true})
	w.startAll()
	for range 3 {
		before := w.holders()
		n := w.holder()
		n.each(func(l *link.Link) { l.HoldUp(); l.HoldDown() })
		w.awaitTaken(before)
		time.Sleep(w.ttl)
		n.each((*link.Link).Heal)
		w.awaitRunning()
		time.Sleep(w.ttl)
	}
	v := w.judge()
	var overlaps []time.Duration
	for _, x := range v.report.Violations {
		if x.Kind == verify.Overlap {
			overlaps = append(overlaps, x.Length.Round(time.Millisecond))
		}
	}
	t.Logf("3 partitions: overlaps of %v, %d stale writes", overlaps, len(v.stale))
	return len(overlaps) > 0, len(v.stale) > 0
}

//go:build unix

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
)

// The program starts itself as its children, and here it is the test.
func TestMain(m *testing.M) {
	if isChild, err := runChild(os.Args[1:]); isChild {
		exitOn(err)
		return
	}
	goleak.VerifyTestMain(m, etcdleak.Options()...)
}

func TestEverythingIsMeasuredAndPrinted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 15 s")
	}
	o := options{
		rounds: 1, handovers: 20, idle: 200 * time.Millisecond,
		plans:     []fleetPlan{{3, []int{1, 5}}},
		crashJobs: []int{2}, crashTTLs: []time.Duration{time.Second}, crowd: fleetPlan{3, []int{5}},
		svg: t.TempDir() + "/growth.svg",
	}
	var out strings.Builder
	require.NoError(t, run(t.Context(), o, &out))
	for _, line := range []string{
		"BenchmarkHandover/by=limit-", "BenchmarkHandover/by=concurrency-", "BenchmarkHandover/by=ours-",
		"BenchmarkStart/jobs=5/nodes=3/by=limit-", "BenchmarkJoin/jobs=5/nodes=3/by=concurrency-", "BenchmarkIdle/jobs=5/nodes=3/by=ours-",
		"BenchmarkPerWaitingJob/jobs=5/nodes=3/by=ours-", "BenchmarkDrain/jobs=5/nodes=3/by=limit-", "BenchmarkRestart/jobs=5/nodes=3/by=ours-",
		"BenchmarkCrowd/jobs=5/nodes=3/by=ours-",
		"BenchmarkCrash/jobs=2/ttl=2s/by=concurrency-", "BenchmarkCrash/jobs=2/ttl=1s/by=ours-", "BenchmarkCall/of=Valid-",
		"| handover, p50, times the limit's |", "| 3 | 5 | ours |",
	} {
		require.Contains(t, out.String(), "\n"+line)
	}
	require.FileExists(t, o.svg)
}

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		values []int
		p      float64
		want   int
	}{
		{[]int{7}, 0, 7}, {[]int{7}, .5, 7}, {[]int{7}, 1, 7},
		{[]int{3, 1, 2}, .5, 2}, {[]int{4, 3, 2, 1}, .5, 2}, {[]int{4, 3, 2, 1}, 1, 4},
		{[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, .9, 9}, {[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, .99, 10},
	} {
		require.Equal(t, c.want, percentile(c.values, c.p), "%v of %v", c.p, c.values)
	}
}

func TestALineIsReadAsItWasWritten(t *testing.T) {
	name, n, values, err := parseLine(formatLine("Drain/jobs=10/nodes=3/by=ours", 10, []value{{"ns/op", 123456789}, {"commits/job", .0625}}))
	require.NoError(t, err)
	require.Equal(t, "Drain/jobs=10/nodes=3/by=ours", name)
	require.Equal(t, 10, n)
	require.Equal(t, []value{{"ns/op", 123456789}, {"commits/job", .0625}}, values)

	_, _, _, err = parseLine("panic: no")
	require.ErrorContains(t, err, "not a benchmark")
}

func TestBarsAreRatiosOfMedians(t *testing.T) {
	b := newBook(io.Discard)
	for _, ms := range []float64{3, 1, 2} {
		b.add("Handover/by=limit", 1, value{"ns/op", ms * 1e6}, value{"p99-ns", ms * 1e6})
	}
	b.add("Handover/by=ours", 1, value{"ns/op", 2.5e6}, value{"p99-ns", 4.1e6})
	b.add("Idle/jobs=5/nodes=3/by=ours", 1, value{"excess-commits", 0}, value{"watchers", 3})
	var out strings.Builder
	printBars(&out, b)
	require.Contains(t, out.String(), "| handover, p50, times the limit's | 1.25 | 1.3 | met |")
	require.Contains(t, out.String(), "| handover, p99, times the limit's | 2.05 | 1.5 | **missed** |")
	require.Contains(t, out.String(), "| watches a node | 1 | 1 | met |")
	require.NotContains(t, out.String(), "10,000", "what was not measured is not judged")
}

func TestTablesHaveARowForEachMeasurement(t *testing.T) {
	b := newBook(io.Discard)
	b.add("Handover/by=limit", 1, value{"ns/op", 512_345}, value{"p99-ns", 4_312_345})
	b.add("Handover/by=ours", 1, value{"ns/op", 731}, value{"p99-ns", 1_234_567_890})
	var out strings.Builder
	printTables(&out, b)
	require.Contains(t, out.String(), "| by | p50 | p99 |\n|---:|---:|---:|\n| limit | 512µs | 4.31ms |\n| ours | 731 ns | 1.23s |\n")
}

func TestTheDrawingIsWellFormed(t *testing.T) {
	b := newBook(io.Discard)
	for _, name := range []string{"Start/jobs=100/nodes=3/by=ours", "Start/jobs=10000/nodes=3/by=ours", "Start/jobs=100/nodes=10/by=ours"} {
		b.add(name, 1, value{"ns/op", 5e6})
	}
	drawing := drawGrowth(b)
	require.Equal(t, 2, strings.Count(drawing, `<circle class="ours"`), "only three nodes are drawn")
	decoder := xml.NewDecoder(strings.NewReader(drawing))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
}

func TestAxisIsLogarithmic(t *testing.T) {
	a := axis{1, 1000}
	require.InDelta(t, 0, a.place(1, 300), 1e-9)
	require.InDelta(t, 100, a.place(10, 300), 1e-9)
	require.InDelta(t, 300, a.place(1000, 300), 1e-9)
	require.InDeltaSlice(t, []float64{1, 10, 100, 1000}, a.decades(), 1e-9)
	require.InDeltaSlice(t, []float64{100, 1000, 10_000}, axis{100, 20_000}.decades(), 1e-9)
}

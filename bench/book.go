//go:build unix

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// book holds what was measured, by the name of the measurement, such as
// "Drain/jobs=1000/nodes=3/by=ours", and unit: one value a round.
type book struct {
	out     io.Writer // hears of everything at once, in Go's benchmark format
	names   []string
	samples map[string]map[string][]float64
}

// value is one result of a measurement.
type value struct {
	unit string
	v    float64
}

func ns(unit string, d time.Duration) value { return value{unit, float64(d)} }

func newBook(out io.Writer) *book {
	return &book{out: out, samples: map[string]map[string][]float64{}}
}

// add enters the results of one round.
func (b *book) add(name string, n int, values ...value) {
	fmt.Fprintln(b.out, formatLine(name, n, values))
	if b.samples[name] == nil {
		b.names = append(b.names, name)
		b.samples[name] = map[string][]float64{}
	}
	for _, v := range values {
		b.samples[name][v.unit] = append(b.samples[name][v.unit], v.v)
	}
}

// median returns the median of all rounds, if there was any.
func (b *book) median(name, unit string) (float64, bool) {
	samples := b.samples[name][unit]
	if len(samples) == 0 {
		return 0, false
	}
	return percentile(samples, .5), true
}

// ratio divides two medians.
func (b *book) ratio(name, unit, otherName, otherUnit string) (float64, bool) {
	x, ok := b.median(name, unit)
	y, okay := b.median(otherName, otherUnit)
	return x / y, ok && okay && y != 0
}

// formatLine and parseLine speak the format that go test -bench prints and
// benchstat reads.
func formatLine(name string, n int, values []value) string {
	var s strings.Builder
	fmt.Fprintf(&s, "Benchmark%s-%d\t%8d", name, runtime.GOMAXPROCS(0), n)
	for _, v := range values {
		fmt.Fprintf(&s, "\t%s %s", formatNumber(v.v), v.unit)
	}
	return s.String()
}

// formatNumber keeps four digits, and all that stand before the point.
func formatNumber(v float64) string {
	if math.Abs(v) >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

var lineFormat = regexp.MustCompile(`^Benchmark(\S+)-\d+\s+(\d+)\s+(.*)$`)

func parseLine(line string) (name string, n int, values []value, err error) {
	m := lineFormat.FindStringSubmatch(line)
	if m == nil {
		return "", 0, nil, fmt.Errorf("not a benchmark: %q", line)
	}
	n, err = strconv.Atoi(m[2])
	fields := strings.Fields(m[3])
	for len(fields) >= 2 && err == nil {
		var v float64
		v, err = strconv.ParseFloat(fields[0], 64)
		values = append(values, value{fields[1], v})
		fields = fields[2:]
	}
	return m[1], n, values, err
}

// percentile returns the smallest of values that is not below a share p of them.
func percentile[T cmp.Ordered](values []T, p float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(p*float64(len(sorted))))-1, 0)]
}

//go:build unix

package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// panel is a plot on two logarithmic axes; x is the number of jobs.
type panel struct {
	title string // with the unit of y
	lines []line
}

type line struct {
	by     string
	points []point
}

type point struct{ x, y float64 }

// drawGrowth draws how cost grows with the number of jobs on three nodes.
func drawGrowth(b *book) string {
	of := func(title, what, unit string, scale float64) panel {
		return panel{title, growth(b, what, scale, unit)}
	}
	return draw([]panel{
		of("start on one node: all run after … ms", "Start", "ns/op", 1e-6),
		of("drain of that node: all run again after … ms", "Drain", "ns/op", 1e-6),
		of("drain: commits a job", "Drain", "commits/job", 1),
		{"heap and stack of a waiting job and node, KiB", growth(b, "PerWaitingJob", 1./1024, "heap-B", "stack-B")},
	})
}

// growth returns a line for each subject: the sum of units, over jobs, from
// 100 jobs on.
func growth(b *book, what string, scale float64, units ...string) (lines []line) {
	for _, by := range []string{byLimit, byConcurrency, byOurs} {
		var points []point
		for _, name := range b.names {
			k := parseName(name)
			jobs := number(k["jobs"])
			if k["what"] != what || k["by"] != by || k["nodes"] != "3" || jobs < 100 {
				continue
			}
			sum := 0.0
			for _, unit := range units {
				v, _ := b.median(name, unit)
				sum += v * scale
			}
			if sum > 0 {
				points = append(points, point{jobs, sum})
			}
		}
		if len(points) > 0 {
			lines = append(lines, line{by, points})
		}
	}
	return lines
}

const style = `<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .h { font-weight: 600; } .d { fill: #59636e; } .e { text-anchor: end; } .m { text-anchor: middle; }
  .card { fill: #ffffff; stroke: #d0d7de; } .grid { stroke: #d0d7de; }
  polyline { fill: none; stroke-width: 2.5; }
  .ours { stroke: #0a6ebd; } .concurrency { stroke: #9a5b00; } .limit { stroke: #6e7781; stroke-dasharray: 5 4; }
  circle { stroke-width: 2.5; fill: #ffffff; } circle.limit { stroke-dasharray: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .d { fill: #9aa4ae; } .card { fill: #0d1117; stroke: #3d444d; } .grid { stroke: #3d444d; }
    .ours { stroke: #4c9bea; } .concurrency { stroke: #d99a3c; } .limit { stroke: #8c959f; } circle { fill: #0d1117; }
  }
</style>`

// Sizes of the picture, and of a panel's plot within its cell.
const (
	cellWidth, cellHeight = 400, 246
	plotLeft, plotTop     = 64, 46
	plotWidth, plotHeight = 316, 164
	legendHeight          = 44
)

// draw returns an SVG with two panels a row, and one legend.
func draw(panels []panel) string {
	width, height := 2*cellWidth, legendHeight+(len(panels)+1)/2*cellHeight
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title">`+"\n",
		width, height, width, height)
	s.WriteString(`<title id="title">How cost grows with the number of jobs, on three nodes; both axes are logarithmic</title>` + "\n" + style + "\n")
	fmt.Fprintf(&s, `<rect class="card" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>`+"\n", width-1, height-1)
	for i, by := range []string{byOurs, byConcurrency, byLimit} {
		x := plotLeft - 40 + 190*i
		fmt.Fprintf(&s, `<polyline class="%s" points="%d,32 %d,32"/><text x="%d" y="36">%s</text>`+"\n", by, x, x+34, x+42, legend[by])
	}
	for i, p := range panels {
		fmt.Fprintf(&s, `<g transform="translate(%d %d)">`+"\n%s</g>\n", i%2*cellWidth, legendHeight+i/2*cellHeight, p.draw())
	}
	s.WriteString("</svg>\n")
	return s.String()
}

var legend = map[string]string{byOurs: "this library", byConcurrency: "etcd's concurrency", byLimit: "limit: etcd alone"}

func (p panel) draw() string {
	var s strings.Builder
	xs, ys := p.axes()
	fmt.Fprintf(&s, `<text class="h" x="%d" y="26">%s</text>`+"\n", plotLeft-40, html.EscapeString(p.title))
	for _, y := range ys.decades() {
		at := plotTop + plotHeight - ys.place(y, plotHeight)
		fmt.Fprintf(&s, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="d e" x="%d" y="%.1f">%s</text>`+"\n",
			plotLeft, plotLeft+plotWidth, at, at, plotLeft-8, at+4, tick(y))
	}
	for i, x := range xs.decades() {
		at, label := plotLeft+xs.place(x, plotWidth), tick(x)
		if i == 0 {
			label += " jobs"
		}
		fmt.Fprintf(&s, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="d m" x="%.1f" y="%d">%s</text>`+"\n",
			at, at, plotTop, plotTop+plotHeight, at, plotTop+plotHeight+18, label)
	}
	for _, l := range p.lines {
		var points, dots strings.Builder
		for _, pt := range l.points {
			x, y := plotLeft+xs.place(pt.x, plotWidth), plotTop+plotHeight-ys.place(pt.y, plotHeight)
			fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
			fmt.Fprintf(&dots, `<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, l.by, x, y)
		}
		fmt.Fprintf(&s, `<polyline class="%s" points="%s"/>%s`+"\n", l.by, strings.TrimSpace(points.String()), dots.String())
	}
	return s.String()
}

// axes returns axes that hold all points: jobs from the first to the last, and
// whole decades upwards.
func (p panel) axes() (xs, ys axis) {
	var x, y []float64
	for _, l := range p.lines {
		for _, pt := range l.points {
			x, y = append(x, pt.x), append(y, pt.y)
		}
	}
	if len(x) == 0 {
		return axis{100, 1000}, axis{1, 10}
	}
	low, high := math.Floor(math.Log10(slices.Min(y))), math.Ceil(math.Log10(slices.Max(y)))
	return axis{slices.Min(x), slices.Max(x)}, axis{math.Pow(10, low), math.Pow(10, max(high, low+1))}
}

// axis is logarithmic.
type axis struct{ low, high float64 }

// place returns where v is on an axis of that length.
func (a axis) place(v, length float64) float64 {
	if a.high <= a.low {
		return 0
	}
	return length * math.Log(v/a.low) / math.Log(a.high/a.low)
}

// decades returns the powers of ten on the axis.
func (a axis) decades() (ticks []float64) {
	for e := math.Ceil(math.Log10(a.low) - 1e-9); e <= math.Log10(a.high)+1e-9; e++ {
		ticks = append(ticks, math.Pow(10, e))
	}
	return ticks
}

func tick(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f,000", v/1000)
	}
	return fmt.Sprintf("%.12g", v)
}

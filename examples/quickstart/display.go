package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed/examples/internal/play"
)

const (
	showAtMost = 36                    // jobs, so that a line fits on 80 columns
	showEvery  = 50 * time.Millisecond // changes that come closer share a line
)

// display prints a line whenever something has changed: one column a job, with
// the digit of the node that runs it.
type display struct {
	out    io.Writer
	colour bool
	board  *board
	jobs   []string
	digits map[string]byte // of the nodes

	mu   sync.Mutex
	last string // the columns of the last line
}

func newDisplay(out io.Writer, b *board, jobs []string, ns nodes) *display {
	d := &display{out: out, colour: isTerminal(out), board: b, jobs: jobs, digits: map[string]byte{}}
	for i, n := range ns {
		d.digits[n.name] = byte('1' + i)
	}
	fmt.Fprintf(out, "   time  %-*s  steps\n", d.columns(), d.title())
	return d
}

func (d *display) columns() int { return max(min(len(d.jobs), showAtMost), len(d.title())) }

func (d *display) title() string {
	if len(d.jobs) > showAtMost {
		return fmt.Sprintf("jobs 1 to %d of %d", showAtMost, len(d.jobs))
	}
	return "jobs"
}

// follow prints the changes until ctx is done.
func (d *display) follow(ctx context.Context) {
	for {
		select {
		case <-d.board.changed:
		case <-ctx.Done():
			return
		}
		d.print("")
		if !play.Sleep(ctx, showEvery) {
			return
		}
	}
}

// say prints a line that tells what is about to happen.
func (d *display) say(format string, args ...any) { d.print(fmt.Sprintf(format, args...)) }

func (d *display) print(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	columns := d.render()
	if event == "" && columns == d.last {
		return
	}
	d.last = columns
	line := fmt.Sprintf("%5.1f s  %s%s  %5d  %s", time.Since(d.board.began).Seconds(), d.paint(columns),
		strings.Repeat(" ", d.columns()-len(columns)), d.board.certain(), event)
	fmt.Fprintln(d.out, strings.TrimRight(line, " "))
}

// render returns a character a job: the digit of its node, "." when it runs
// nowhere, and "!" for what must never be seen, two nodes.
func (d *display) render() string {
	var b strings.Builder
	for _, job := range d.jobs[:min(len(d.jobs), showAtMost)] {
		switch on := d.board.nodesOf(job); len(on) {
		case 0:
			b.WriteByte('.')
		case 1:
			b.WriteByte(d.digits[on[0]])
		default:
			b.WriteByte('!')
		}
	}
	return b.String()
}

// paint gives each node a colour, on a terminal.
func (d *display) paint(columns string) string {
	if !d.colour {
		return columns
	}
	var b strings.Builder
	for _, c := range columns {
		switch {
		case c == '!':
			fmt.Fprintf(&b, "\x1b[41m%c\x1b[0m", c)
		case c == '.':
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "\x1b[%dm%c\x1b[0m", 31+(c-'0')%6, c)
		}
	}
	return b.String()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

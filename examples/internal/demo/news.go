//go:build unix

package demo

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// news tells what happens, and wakes who follows. It is safe for concurrent use.
type news struct {
	out   io.Writer
	began time.Time

	mu      sync.Mutex
	last    string
	changed chan struct{} // closed, and replaced, when something has changed
}

func newNews(out io.Writer) *news {
	return &news{out: out, began: time.Now(), changed: make(chan struct{})}
}

func (n *news) say(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.printLocked(line)
	n.last = line
	n.signal()
}

// print tells the terminal only.
func (n *news) print(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.printLocked(line)
}

func (n *news) printLocked(line string) {
	fmt.Fprintf(n.out, "%6.1f s  %s\n", time.Since(n.began).Seconds(), line)
}

// wake says that something has changed that is no news.
func (n *news) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signal()
}

func (n *news) signal() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// latest returns the last line, and what is closed when something has changed.
func (n *news) latest() (line string, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.changed
}

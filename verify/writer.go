package verify

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Writer writes the records of a process, one at a time. It is safe for concurrent use.
// The caller must close it.
//
// A record that cannot be written must not stop the service, so Begin and the methods
// of Active return no error: see Err. They block for one write.
type Writer struct {
	out     io.Writer
	close   func() error // may be called again
	node    string
	process string
	runs    atomic.Int64

	mu  sync.Mutex // held while out is written, which need not be safe for concurrent use
	err error
}

// Open returns a Writer for the instance called node that appends to the file at path,
// and creates it if need be. Several processes may write to the same file. It returns
// an error that wraps that of [os.OpenFile]. The caller must close the Writer, which
// closes the file.
func Open(path, node string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	w := NewWriter(f, node)
	w.close = sync.OnceValue(f.Close)
	return w, nil
}

// NewWriter returns a Writer for the instance called node that writes each
// record to out in one call. The caller closes out, if need be, after the last
// run has ended: Close leaves it open. Writers may share out if it is safe for
// concurrent use.
func NewWriter(out io.Writer, node string) *Writer {
	return &Writer{
		out: out, close: func() error { return nil }, node: node,
		process: fmt.Sprintf("%s-%d-%s", node, os.Getpid(), rand.Text()[:8]),
	}
}

// Begin records that Work of job begins, under the leadership with the given
// fencing token. Call it first thing in Work, and End last. job must not be
// empty, or else the records cannot be read.
func (w *Writer) Begin(job string, token int64) *Active {
	a := &Active{writer: w, job: job, token: token, number: w.runs.Add(1)}
	a.record(Start)
	return a
}

// Process returns the name of the process in the records: two Writers never have
// the same, even if they are of one node.
func (w *Writer) Process() string { return w.process }

// Err returns why the first record that could not be written was not, or nil. It
// wraps the error of the write.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close closes what Open opened, and returns Err if there is one, or else the
// error of closing. Call it when the last run has ended: what comes later to a
// file is lost, which Err reports. It may be called again.
func (w *Writer) Close() error {
	if w.out == nil {
		return errNotMade
	}
	err := w.close()
	if first := w.Err(); first != nil {
		return first
	}
	return err
}

// Active is a run under way. It is safe for concurrent use. Each method blocks
// for one write. Once End has been called nothing more is recorded: a goroutine
// that ticks beside Work need not have stopped by then.
type Active struct {
	writer *Writer
	job    string
	token  int64
	number int64
	ended  bool // guarded by writer.mu
}

// Tick records that Work is still running. It costs one write. How often to call
// it is up to the service: after a crash the run is taken to have ended with its
// last tick, and only between ticks can it be seen that a process was frozen.
func (a *Active) Tick() { a.record(Tick) }

// Stopping records that Work has been told to stop: its context is done. It
// counts as a tick as well.
func (a *Active) Stopping() { a.record(Stop) }

// End records that Work returns. A second call does nothing.
func (a *Active) End() { a.record(End) }

// record looks at the clock in the order in which it writes, so that no record of
// a run is later than its end.
func (a *Active) record(e Event) {
	w := a.writer
	if w == nil {
		return // not made by Begin
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out == nil {
		w.err = errNotMade
	}
	if a.ended || w.out == nil {
		return
	}
	a.ended = e == End
	mono, boot := monotonic()
	line, err := json.Marshal(Record{
		Job: a.job, Node: w.node, Process: w.process, Run: a.number, Token: a.token,
		Event: e, Mono: mono, Boot: boot, Wall: time.Now().UnixNano(),
	})
	if err == nil {
		_, err = w.out.Write(append(line, '\n'))
	}
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("verify: %w", err)
	}
}

var errNotMade = errors.New("verify: this Writer was not made by Open or NewWriter")

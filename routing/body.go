package routing

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// body is that of a request, which may have to be sent again, or served here after it
// was sent. It is read only when somebody asks for it, and what has been read is kept,
// up to a limit, to be given again.
type body struct {
	from  io.ReadCloser
	sent  int   // how often it was sent and the connection broke
	broke error // how, the last time

	reading sync.Mutex // held while from is read

	mu    sync.Mutex
	kept  []byte // grows only while reading is held
	ended error  // what from has ended with: io.EOF, or why it broke
	turn  int    // counts; only the last reader gets anything
}

// maxRepeated is how much of a body is kept to be sent again. One byte more is kept to
// tell that there is more.
const maxRepeated = 1 << 20

// none reports whether there is no body at all.
func (b *body) none() bool { return b.from == nil || b.from == http.NoBody }

// unread reports whether the end has not been read yet.
func (b *body) unread() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.none() && b.ended == nil
}

// again returns the body from its start. Whoever had it before gets no more. It may be
// called again as long as stop returns nil.
func (b *body) again() io.ReadCloser {
	if b.none() {
		return http.NoBody
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	return &reader{body: b, turn: b.turn}
}

// getAgain is for a transport that sends a request again by itself.
func (b *body) getAgain() (io.ReadCloser, error) {
	if err := b.stop(); err != nil {
		return nil, err
	}
	return b.again(), nil
}

// stop keeps whoever has the body from reading on, and returns why it cannot be had
// from its start again, or nil.
func (b *body) stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	switch {
	case b.ended != nil && !errors.Is(b.ended, io.EOF):
		return b.ended
	case len(b.kept) > maxRepeated:
		return errTooLong
	}
	return nil
}

var (
	errStopped = errors.New("routing: it is read elsewhere now")
	errTooLong = errors.New("its body is too long to be sent again")
)

// reader reads a body from its start. A transport may go on reading for a while after it
// has failed: what that gets is kept, for the next reader.
type reader struct {
	*body
	turn int
	at   int // in kept
}

func (r *reader) Read(p []byte) (int, error) {
	if n, err := r.repeat(p); n > 0 || err != nil {
		return n, err
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	if n, err := r.repeat(p); n > 0 || err != nil { // another one has read it by now
		return n, err
	}
	return r.readOn(p)
}

// repeat gives what is kept, and the end of the body if there is no more.
func (r *reader) repeat(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.turn != r.body.turn:
		return 0, errStopped
	case r.at == len(r.kept):
		return 0, r.ended
	}
	n := copy(p, r.kept[r.at:])
	r.at += n
	return n, nil
}

// readOn is called with reading held.
func (r *reader) readOn(p []byte) (int, error) {
	keep := len(r.kept) <= maxRepeated
	if keep {
		p = p[:min(len(p), maxRepeated+1-len(r.kept))]
	}
	n, err := r.from.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if keep {
		r.kept = append(r.kept, p[:n]...)
		r.at = len(r.kept)
	}
	r.ended = err
	return n, err
}

// Close ends the reading, not the body, which is the server's.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn == r.body.turn {
		r.body.turn++
	}
	return nil
}

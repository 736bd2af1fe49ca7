package statuspage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	maxStreams  = 64               // at once; more are told to come back later
	lookEvery   = pace * 5 / 4     // for what has changed; each time at another picture
	beatEvery   = time.Second      // so that the browser knows that it is still there
	writeWithin = 10 * time.Second // to a browser that does not read; then the stream ends
)

// serveEvents writes one picture, and from then on what changes, as fast as the
// browser takes it: what changes while a write is under way goes with the next.
// All that a slow browser holds here is the picture that it was sent last.
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	if p.done.Err() != nil {
		http.Error(w, "closed", http.StatusServiceUnavailable)
		return
	}
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many streams", http.StatusServiceUnavailable)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return
	}
	s := stream{page: p, out: w, control: http.NewResponseController(w)}
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for s.next() == nil {
		select {
		case <-ticks.C:
		case <-r.Context().Done():
			return
		case <-p.done.Done():
			return
		}
	}
}

// stream is a browser that looks on.
type stream struct {
	page    *Page
	out     http.ResponseWriter
	control *http.ResponseController
	sent    *picture  // last
	beaten  time.Time // when there was a beat, or a picture
}

// next writes what is due. Its errors mean that the browser has gone.
func (s *stream) next() error {
	pic, now := s.page.picture(), time.Now()
	var due []byte
	if pic != s.sent {
		due = s.page.frames.between(s.sent, pic)
		s.sent = pic
	}
	if now.Sub(s.beaten) >= beatEvery {
		due = append(slices.Clip(due), frame("beat", beatOf(pic))...)
		s.beaten = now
	}
	if len(due) == 0 {
		return nil
	}
	// A server, or what it is wrapped in, may know no deadlines.
	if err := s.control.SetWriteDeadline(now.Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.out.Write(due); err != nil {
		return err
	}
	return s.control.Flush()
}

// beat is what changes all the time.
type beat struct {
	At      time.Time        `json:"at"`
	Store   store            `json:"store"`
	Silence map[string]int64 `json:"silence_ms"` // by node
}

func beatOf(pic *picture) beat {
	b := beat{At: pic.At, Store: pic.Store, Silence: map[string]int64{}}
	for i := range pic.Nodes {
		if !pic.Nodes[i].Gone {
			b.Silence[pic.Nodes[i].ID] = pic.Nodes[i].Silence
		}
	}
	return b
}

// frames remembers the frames to the last picture: streams need the same, from the one
// before as a rule.
type frames struct {
	mu   sync.Mutex
	to   *picture
	from map[*picture][]byte
}

// between returns the frame that takes a browser from one picture to another,
// from none at first, and nil if they look the same.
func (f *frames) between(from, to *picture) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to != to {
		f.to, f.from = to, map[*picture][]byte{}
	}
	b, ok := f.from[from]
	if ok {
		return b
	}
	if from == nil {
		b = append([]byte("retry: 1000\n"), frame("picture", to)...)
	} else if c, ok := changes(from, to); ok {
		b = frame("change", c)
	}
	f.from[from] = b
	return b
}

// frame encodes an event. JSON has no line breaks, which would end it early.
func frame(event string, data any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\ndata: ", event)
	if err := json.NewEncoder(&b).Encode(data); err != nil {
		panic(fmt.Sprintf("statuspage: encode %s: %v", event, err)) // only plain data goes in
	}
	b.WriteByte('\n')
	return b.Bytes()
}

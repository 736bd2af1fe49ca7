package statuspage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	maxStreams  = 256              // at once; more are told to come back later
	lookEvery   = pace * 5 / 4     // for what has changed, all at once; each time at another picture
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
	s := stream{page: p, out: w, control: http.NewResponseController(w), beats: -1}
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for s.next() == nil {
		timer.Reset(p.untilLook())
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		case <-p.done.Done():
			return
		}
	}
}

// untilLook returns for how long streams wait for their next look. They all look at the
// same moments: then they are sent the same, which is made once.
func (p *Page) untilLook() time.Duration { return lookEvery - time.Since(p.began)%lookEvery }

// stream is a browser that looks on.
type stream struct {
	page    *Page
	out     http.ResponseWriter
	control *http.ResponseController
	sent    *picture      // last; nil at first
	beats   time.Duration // in units of beatEvery, until when it was told that the service is there; -1 at first
}

// next writes what is due. Its errors mean that the browser has gone.
func (s *stream) next() error {
	pic := s.page.picture()
	change := s.page.frames.between(s.sent, pic)
	var beat []byte
	if beats := time.Since(s.page.began) / beatEvery; beats != s.beats {
		s.beats, beat = beats, s.page.frames.beat(pic)
	}
	s.sent = pic
	if len(change)+len(beat) == 0 {
		return nil
	}
	// A server, or what it is wrapped in, may know no deadlines.
	if err := s.control.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	for _, frame := range [][]byte{change, beat} {
		if _, err := s.out.Write(frame); err != nil {
			return err
		}
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

// frames remembers what streams are sent of the last picture. It is the same for all, as a
// rule: what they were sent before is the same as well.
type frames struct {
	mu    sync.Mutex
	to    *picture
	from  map[*picture][]byte
	beats []byte
}

// between returns the frame that takes a browser from one picture to another,
// from none at first, and nil if they look the same.
func (f *frames) between(from, to *picture) []byte {
	if from == to {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(to)
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

// beat returns the frame that tells what always changes.
func (f *frames) beat(pic *picture) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(pic)
	if f.beats == nil {
		f.beats = frame("beat", beatOf(pic))
	}
	return f.beats
}

// turn forgets the frames of another picture.
func (f *frames) turn(to *picture) {
	if f.to != to {
		f.to, f.from, f.beats = to, map[*picture][]byte{}, nil
	}
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

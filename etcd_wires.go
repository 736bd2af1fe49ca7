package distributed

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// maxUnanswered is how many attempts, one after the other, may stay without an
// answer on a connection through which nothing else comes either, before it is
// dropped, so that the client dials anew.
const maxUnanswered = 2

// wires are the network connections below a client. gRPC notices that one has gone
// silent, as behind a balancer that forgot it, after 13 s, which is longer than a
// lease lives.
type wires struct {
	start time.Time // what times are counted from

	refusers *refusers // the provider's

	mu   sync.Mutex
	open map[*wire]bool
	last error // why the last call failed or member could not be reached
}

func newWires(r *refusers) *wires {
	return &wires{start: time.Now(), refusers: r, open: map[*wire]bool{}}
}

// refusers are the members that have turned this process away since one has let it
// in: a connection, of which there may be one an attempt, asks one of them at first.
// The zero refusers are none.
type refusers struct {
	mu sync.Mutex
	by map[string]bool // addresses, "" if it is not known
}

func (r *refusers) add(address net.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]bool{}
	}
	by := ""
	if address != nil {
		by = address.String()
	}
	r.by[by] = true
}

// clear takes in that one has let us in.
func (r *refusers) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.by)
}

// suffice reports whether what they say counts, in a cluster of so many members:
// it takes two, for one of them may be wrong.
func (r *refusers) suffice(members int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.by) == 0 || r.by[""] || len(r.by) >= min(2, members)
}

// wire is one of them, with what it has to say for itself.
type wire struct {
	net.Conn
	wires *wires
	heard atomic.Int64 // when something came through it last

	quiet quiet // guarded by mu of wires
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.heard.Store(int64(time.Since(w.wires.start)))
	}
	return n, err
}

func (w *wire) Close() error {
	w.wires.mu.Lock()
	delete(w.wires.open, w)
	w.wires.mu.Unlock()
	return w.Conn.Close()
}

func (w *wire) carries(p *peer.Peer) bool {
	return p.Addr != nil && p.LocalAddr != nil &&
		w.RemoteAddr().String() == p.Addr.String() && w.LocalAddr().String() == p.LocalAddr.String()
}

// quiet counts the attempts on a wire that have not been answered. Attempts that
// overlap count once, for they may have met the same moment.
type quiet struct {
	unanswered int
	until      time.Duration // when the last that counted was given up
}

// missed takes in that an attempt sent at sent was given up at now, and nothing was
// heard on the wire since heard; it reports whether that was once too often.
func (q *quiet) missed(sent, now, heard time.Duration) bool {
	if heard >= q.until {
		q.unanswered = 0
	}
	if heard >= sent || sent < q.until {
		return false
	}
	q.unanswered, q.until = q.unanswered+1, now
	return q.unanswered >= maxUnanswered
}

// note takes in how a call that was sent at sent has ended.
func (ws *wires) note(to *peer.Peer, sent time.Time, err error) {
	if err == nil {
		ws.refusers.clear()
		return
	}
	var dead []*wire
	ws.mu.Lock()
	ws.last = err
	switch {
	case isRefusal(err):
		ws.refusers.add(to.Addr)
	case status.Code(err) == codes.DeadlineExceeded:
		now := time.Since(ws.start)
		for w := range ws.open {
			if w.carries(to) && w.quiet.missed(sent.Sub(ws.start), now, time.Duration(w.heard.Load())) {
				dead = append(dead, w)
			}
		}
	}
	ws.mu.Unlock()
	for _, w := range dead {
		_ = w.Close() // nobody is left to be told; the client dials anew
	}
}

// trouble returns why the last call or handshake failed.
func (ws *wires) trouble() error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.last
}

// wireCredentials see each network connection as it is made.
type wireCredentials struct {
	credentials.TransportCredentials
	wires *wires
}

func (c wireCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ws := c.wires
	w := &wire{Conn: conn, wires: ws}
	made, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, w)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err == nil {
		ws.open[w] = true
		return made, info, nil
	}
	ws.last = err
	if isRefusal(err) {
		ws.refusers.add(conn.RemoteAddr())
	}
	return nil, nil, err
}

func (c wireCredentials) Clone() credentials.TransportCredentials {
	return wireCredentials{c.TransportCredentials.Clone(), c.wires}
}

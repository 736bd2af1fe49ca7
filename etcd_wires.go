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

// answerTime is how long an attempt that its caller gives up must have waited, at least,
// to count: in less there may be no answer.
const answerTime = 100 * time.Millisecond

// wires are the network connections below a client. gRPC notices that one has gone
// silent, as behind a balancer that forgot it, after 13 s, which is longer than a
// lease lives.
type wires struct {
	start time.Time // what times are counted from

	refusers *refusers

	mu   sync.Mutex
	open map[*wire]bool
	last error // why the last call failed or member could not be reached
}

func newWires(r *refusers) *wires {
	return &wires{start: time.Now(), refusers: r, open: map[*wire]bool{}}
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

// note takes in how a call that was sent at sent has ended. A member that has taken
// a write does not refuse us.
func (ws *wires) note(to *peer.Peer, sent time.Time, wrote bool, err error) {
	if err == nil {
		if wrote {
			ws.refusers.remove(to.Addr)
		}
		return
	}
	if isRefusal(err) {
		ws.refusers.add(to.Addr)
	}
	ws.mu.Lock()
	ws.last = err
	ws.mu.Unlock()
	ws.ended(to, sent, false, err)
}

// ended takes in how a call or a stream that was sent at sent has ended, and drops its
// connection if it was given up there once too often. A stream waits since something
// was heard last: what it was told before does not count.
func (ws *wires) ended(to *peer.Peer, sent time.Time, stream bool, err error) {
	code := status.Code(err)
	if code != codes.DeadlineExceeded && code != codes.Canceled {
		return
	}
	var dead []*wire
	now := time.Since(ws.start)
	ws.mu.Lock()
	for w := range ws.open {
		since, heard := sent.Sub(ws.start), time.Duration(w.heard.Load())
		if stream {
			since = max(since, heard+1)
		}
		if w.carries(to) && (code == codes.DeadlineExceeded || now-since >= answerTime) && w.quiet.missed(since, now, heard) {
			dead = append(dead, w)
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
	type secured struct {
		conn net.Conn
		info credentials.AuthInfo
	}
	made, err := await(ctx, ask("a function of Config.TLS", func() (secured, error) {
		made, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, w)
		return secured{made, info}, err
	}))
	if isRefusal(err) {
		ws.refusers.add(conn.RemoteAddr())
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err != nil {
		ws.last = err
		return nil, nil, err
	}
	ws.open[w] = true
	return made.conn, made.info, nil
}

func (c wireCredentials) Clone() credentials.TransportCredentials {
	return wireCredentials{c.TransportCredentials.Clone(), c.wires}
}

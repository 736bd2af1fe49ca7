package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/b2552be4/distributed"
)

const (
	silence        = 2 * time.Second  // after which a feed looks whether it has missed something
	lookTimeout    = time.Second      // for the answer to that
	pictureTimeout = 10 * time.Second // for a listing
)

// Follow implements [distributed.Store]. When the connection is lost, it goes on
// if the server's history has the revision that it has told last with the same nonce.
func (s *store) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := &follower{store: s, prefix: prefix, tell: tell, nonce: "00000000-0000-0000-0000-000000000000"}
	for {
		told := f.at
		err := f.listen(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.at.Equal(told) {
			return explain(err)
		}
	}
}

// follower is a call of Follow. Its position is the revision and the nonce of a change,
// up to which it has told everything.
type follower struct {
	store  *store
	prefix string
	tell   func(distributed.Step)
	at     time.Time // of the last step

	rev   int64
	nonce string

	queue []*pgconn.Notification // heard, and not taken in yet
	live  bool                   // they come by themselves: the connection leads to one server process
}

// listen follows on one connection until that is lost. On each it lists anew, but for
// what it has told before if the server's history has that.
func (f *follower) listen(ctx context.Context) error {
	f.queue, f.live = nil, false
	conn, err := f.store.feed(ctx, func(_ *pgconn.PgConn, n *pgconn.Notification) { f.queue = append(f.queue, n) })
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if _, err := ask(ctx, conn, f.store.listen(), lookTimeout); err != nil {
		return err
	}
	if err := f.catchUp(ctx, conn); err != nil {
		return err
	}
	for {
		if err := f.next(ctx, conn); err != nil {
			return err
		}
	}
}

// next waits for a notification. Behind a pooler that gives each transaction another
// server process none comes, except as part of an answer: so until one has come by itself
// it looks often, and else to find out whether the connection is alive.
func (f *follower) next(ctx context.Context, conn *pgconn.PgConn) error {
	pause := f.store.poll
	if f.live {
		pause = silence
	}
	waiting, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	err := conn.WaitForNotification(waiting)
	switch {
	case err == nil:
		f.live = true
	case ctx.Err() != nil || waiting.Err() == nil:
		return err
	default:
		err = f.look(ctx, conn)
	}
	for err == nil && len(f.queue) > 0 {
		n := f.queue[0]
		f.queue = f.queue[1:]
		err = f.takeIn(ctx, conn, n)
	}
	return err
}

// look asks where the server is.
func (f *follower) look(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := ask(ctx, conn, f.store.look(), lookTimeout)
	if err != nil {
		return err
	}
	if number(rows[0][0]) != f.rev || string(rows[0][1]) != f.nonce {
		f.live = false // or it would have been told
		return f.catchUp(ctx, conn)
	}
	f.advance(distributed.Step{Revision: f.rev}, f.nonce)
	return nil
}

// catchUp tells what has changed, or all there is, in one step.
func (f *follower) catchUp(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := ask(ctx, conn, f.store.picture(f.prefix, f.rev, f.nonce, f.live), pictureTimeout)
	if err != nil {
		return err
	}
	step := distributed.Step{Revision: number(rows[0][0]), Whole: string(rows[0][2]) != "t"}
	for _, row := range rows {
		if row[3] == nil {
			break // nothing
		}
		step.Documents = append(step.Documents, distributed.Document{Key: string(row[3]), Value: row[5], Revision: number(row[4])})
	}
	f.advance(step, string(rows[0][1]))
	return nil
}

func (f *follower) advance(step distributed.Step, nonce string) {
	f.rev, f.nonce, f.at = step.Revision, nonce, time.Now()
	f.tell(step)
}

// takeIn tells what the function put has notified. It catches up if a change before it is
// missing, or if it is too long for a notification.
func (f *follower) takeIn(ctx context.Context, conn *pgconn.PgConn, n *pgconn.Notification) error {
	parts := strings.SplitN(n.Payload, "\n", 5)
	if n.Channel != f.store.channel() || len(parts) < 5 {
		return nil
	}
	rev, before, nonce, key := number([]byte(parts[0])), parts[1], parts[2], parts[3]
	mine := strings.HasPrefix(key, f.prefix)
	value, complete := strings.CutPrefix(parts[4], "=")
	step := distributed.Step{Revision: rev}
	switch {
	case rev <= f.rev:
		return nil
	case rev > f.rev+1, before != f.nonce, mine && parts[4] == "?":
		return f.catchUp(ctx, conn)
	case mine && complete:
		step.Documents = []distributed.Document{{Key: key, Value: []byte(value), Revision: rev}}
	case mine:
		step.Documents = []distributed.Document{{Key: key, Revision: rev}}
	case time.Since(f.at) < silence:
		f.rev, f.nonce = rev, nonce
		return nil
	}
	f.advance(step, nonce)
	return nil
}

// ask sends a message whose last answer has one row at least.
func ask(ctx context.Context, conn *pgconn.PgConn, sql string, within time.Duration) ([][][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	rows := results[len(results)-1].Rows
	if len(rows) == 0 {
		return nil, errors.New("the table counter has no row")
	}
	return rows, nil
}

// number reads a bigint that is not null.
func number(text []byte) int64 {
	n, _ := strconv.ParseInt(string(text), 10, 64) // nothing else comes from such a column
	return n
}

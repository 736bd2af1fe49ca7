package postgres

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/b2552be4/distributed"
)

// connections are those of a store: some that write, and one for each feed.
type connections struct {
	config *pgx.ConnConfig
	pool   *pgxpool.Pool // goes on to make a connection when the call that wanted one has given up
	life   context.Context
	end    context.CancelFunc
}

func newConnections(config *pgxpool.Config) (*connections, error) {
	life, end := context.WithCancel(context.Background())
	pool, err := pgxpool.NewWithConfig(life, config.Copy())
	if err != nil {
		end()
		return nil, err
	}
	return &connections{config.ConnConfig, pool, life, end}, nil
}

// configure makes the connections what this package needs.
func configure(config *pgxpool.Config) {
	c := config.ConnConfig
	c.ConnectTimeout = 3 * time.Second
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {} // a pooler may mix in what others listen for
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	config.MinConns, config.MinIdleConns = 0, 0
	config.MaxConns = 4 // more would only wait for one another: changes take effect one by one
	config.MaxConnIdleTime = 2 * time.Minute
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		harden(&c.Config)
		return nil
	}
	config.BeforeClose = func(c *pgx.Conn) { cut(c.PgConn()) }
}

var errNoCancel = errors.New("statements are not cancelled")

// harden keeps pgconn from asking the server, on another connection, to cancel a
// statement whose context is done, for which it has no option: a statement that waits
// for a standby would take effect without it then, and be undone by a failover.
func harden(config *pgconn.Config) {
	var connected atomic.Bool
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if connected.Load() {
			return nil, errNoCancel
		}
		return dial(ctx, network, address)
	}
	config.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		connected.Store(true)
		return nil
	}
}

// cut ends at once what pgconn would otherwise take 15 s to close.
func cut(conn *pgconn.PgConn) {
	if conn.IsClosed() {
		_ = conn.Conn().Close() // it has failed already
	}
}

// send sends a message and returns the answers. Who has not got all of them does not
// know what happened. A connection that was lost takes the others with it, as they lead
// the same way.
func (c *connections) send(ctx context.Context, sql string) (results []*pgconn.Result, err error) {
	ctx, done := c.bound(ctx)
	defer done()
	conn, err := c.pool.Acquire(ctx)
	if err == nil {
		defer conn.Release()
		results, err = conn.Conn().PgConn().Exec(ctx, sql).ReadAll()
		if conn.Conn().IsClosed() {
			c.pool.Reset()
		}
	}
	if c.life.Err() != nil {
		return nil, distributed.ErrClosed
	}
	return results, err
}

// bound ends calls that are under way when the store is closed.
func (c *connections) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(distributed.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// feed makes a connection on which hear is told of notifications.
func (c *connections) feed(ctx context.Context, hear pgconn.NotificationHandler) (*pgconn.PgConn, error) {
	config := c.config.Config.Copy()
	config.OnNotification = hear
	harden(config)
	return pgconn.ConnectConfig(ctx, config)
}

// hangUp closes a feed's connection.
func hangUp(conn *pgconn.PgConn) {
	cut(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx) // says only that it cannot say goodbye
	<-conn.CleanupDone()
}

// close ends all calls, and waits until the connections that write are closed.
func (c *connections) close() {
	c.end()
	c.pool.Close()
}

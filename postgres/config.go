package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/b2552be4/distributed"
)

// Config says where the documents are. All nodes of an app must have the same
// database and Schema.
type Config struct {
	// URL is a connection string as libpq and pgx take it: a URL, or keywords and
	// values. What it leaves out comes from the environment (PGPASSWORD and the like).
	// Give all hosts of a cluster that fails over: only one that takes writes is used.
	// Required.
	URL string

	// Schema is where the tables and the function are: 1 to 40 lower-case letters,
	// digits and _, not beginning with a digit or pg_. A node makes it if it is not
	// there; who only looks on waits for that.
	// Apps in one schema share its order of changes, so they wait for one another's
	// commits. Default: "distributed".
	Schema string

	// Poll is how often a feed looks for changes where LISTEN does not work, as behind
	// a pooler in transaction mode: 10 ms to 10 s. Default: 200 ms.
	Poll time.Duration
}

// NewLeaseProvider returns a provider of leases in a PostgreSQL database, with the
// options of all stores. It makes no call; a wrong config or option is an error of
// Campaign or Execute that wraps [distributed.ErrInvalidConfig], before anything is
// written. It is safe for concurrent use and has nothing to close: each lease has
// connections of its own.
func NewLeaseProvider(config Config, opts ...distributed.LeaseOption) distributed.LeaseProvider {
	return distributed.NewLeaseProvider(OpenStore(config), opts...)
}

// OpenStore returns what opens the store that [NewLeaseProvider] runs on, for those
// who wrap a store or test with one. It makes no call. What it returns makes one
// connection, creates the schema if it is not there and the request is that of a
// lease, and fails with [distributed.ErrRefused] on a server that does not keep what
// it has confirmed.
func OpenStore(config Config) distributed.OpenStore {
	connect, err := config.validate()
	return func(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
		if err != nil {
			return nil, err
		}
		connections, err := newConnections(connect)
		if err != nil {
			return nil, err
		}
		s := &store{statements{config.Schema}, connections, config.Poll}
		if err := s.prepare(ctx, req.Instance != ""); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	}
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// validate sets defaults.
func (c *Config) validate() (*pgxpool.Config, error) {
	if c.Schema == "" {
		c.Schema = "distributed"
	}
	if c.Poll == 0 {
		c.Poll = 200 * time.Millisecond
	}
	switch {
	case c.URL == "":
		return nil, fmt.Errorf("%w: postgres.Config.URL must not be empty", distributed.ErrInvalidConfig)
	case !schemaName.MatchString(c.Schema) || c.Schema[:min(3, len(c.Schema))] == "pg_":
		return nil, fmt.Errorf("%w: postgres.Config.Schema %q must be 1 to 40 lower-case letters, digits and _, and not begin with a digit or pg_", distributed.ErrInvalidConfig, c.Schema)
	case c.Poll < 10*time.Millisecond || c.Poll > 10*time.Second:
		return nil, fmt.Errorf("%w: postgres.Config.Poll %v must be from 10 ms to 10 s", distributed.ErrInvalidConfig, c.Poll)
	}
	connect, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: postgres.Config.URL: %w", distributed.ErrInvalidConfig, err)
	}
	configure(connect)
	return connect, nil
}

// explain marks err with ErrRefused if the server turns this process away, for what
// stays so until somebody changes it.
func explain(err error) error {
	var certificate *tls.CertificateVerificationError
	server, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case answered && (server.Code[:2] == "28" || server.Code == "42501" || server.Code == "3D000"), errors.As(err, &certificate):
		return fmt.Errorf("%w: %w", distributed.ErrRefused, err)
	}
	return err
}

//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/postgres"
)

func TestAWrongConfigIsNamedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	const url = "postgres://nobody@127.0.0.1:1/nothing"
	for name, c := range map[string]struct {
		config postgres.Config
		opts   []distributed.LeaseOption
		says   string
	}{
		"no URL":          {postgres.Config{}, nil, "postgres.Config.URL must not be empty"},
		"no such URL":     {postgres.Config{URL: "postgres://a:b@host:port/x"}, nil, "postgres.Config.URL: "},
		"no setting":      {postgres.Config{URL: url + "?sslmode=perhaps"}, nil, "postgres.Config.URL: "},
		"capitals":        {postgres.Config{URL: url, Schema: "Jobs"}, nil, `postgres.Config.Schema "Jobs" must be 1 to 40 lower-case letters`},
		"a quote":         {postgres.Config{URL: url, Schema: `a"b`}, nil, "postgres.Config.Schema"},
		"the server's":    {postgres.Config{URL: url, Schema: "pg_jobs"}, nil, "not begin with a digit or pg_"},
		"a digit":         {postgres.Config{URL: url, Schema: "1"}, nil, "postgres.Config.Schema"},
		"too long":        {postgres.Config{URL: url, Schema: "a2345678901234567890123456789012345678901"}, nil, "postgres.Config.Schema"},
		"looks too often": {postgres.Config{URL: url, Poll: time.Millisecond}, nil, "postgres.Config.Poll 1ms must be from 10 ms to 10 s"},
		"looks seldom":    {postgres.Config{URL: url, Poll: time.Minute}, nil, "postgres.Config.Poll 1m0s must be from 10 ms to 10 s"},
		"an option":       {postgres.Config{URL: url}, []distributed.LeaseOption{distributed.WithLeaseTTL(time.Millisecond)}, "WithLeaseTTL"},
	} {
		node := distributed.NewConcurrency("app", "node", postgres.NewLeaseProvider(c.config, c.opts...))
		_, err := node.Campaign(t.Context(), "job")
		require.ErrorIs(t, err, distributed.ErrInvalidConfig, name)
		require.ErrorContains(t, err, c.says, name)
		require.NoError(t, node.Close(), name)
	}
}

// refusal returns why a store cannot be opened.
func refusal(t *testing.T, config postgres.Config) error {
	t.Helper()
	s, err := postgres.OpenStore(config)(t.Context(), distributed.LeaseRequest{Instance: "test"})
	if err == nil {
		require.NoError(t, s.Close())
	}
	require.Error(t, err)
	return err
}

func TestWhatStaysAsItIsIsARefusal(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	as := func(user, database string) string {
		return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", user, s.addr, database)
	}
	for _, sql := range []string{
		"CREATE ROLE stranger LOGIN", "CREATE ROLE locked LOGIN PASSWORD 'right'", "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0",
	} {
		s.exec(sql)
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "pg_hba.conf"), []byte("host all locked all scram-sha-256\nhost all all all trust\n"), 0o600))
	s.exec("SELECT pg_reload_conf()")
	for url, says := range map[string]string{
		as("stranger", "postgres"):     "permission denied for database postgres",
		as("missing", "postgres"):      `role "missing" does not exist`,
		as("postgres", "missing"):      `database "missing" does not exist`,
		as("postgres", "latin"):        "the encoding of the database is LATIN1, and must be UTF8",
		as("locked:wrong", "postgres"): "password authentication failed",
	} {
		require.Eventually(t, func() bool { // the server reads its file a moment later
			err := refusal(t, postgres.Config{URL: url})
			return errors.Is(err, distributed.ErrRefused) && strings.Contains(err.Error(), says)
		}, time.Minute, 20*time.Millisecond, says)
	}
	forgetful := newServer(t, "fsync=off")
	err := refusal(t, forgetful.config())
	require.ErrorIs(t, err, distributed.ErrRefused)
	require.ErrorContains(t, err, "the server's fsync is off")
}

func TestAServerThatIsAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	err := refusal(t, postgres.Config{URL: "postgres://postgres@127.0.0.1:1/postgres"})
	require.NotErrorIs(t, err, distributed.ErrRefused)
	require.ErrorContains(t, err, "127.0.0.1:1")
}

// A role that may do no more than docs/stores.md says.
func TestTheLeastPermissions(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	put(t, open(t, s.config()), "app/document", "value", 0) // somebody has made it
	reader, node := s.schema+"_reader", s.schema+"_node"    // roles are the server's, and the schema is this test's
	for _, sql := range []string{
		"CREATE ROLE " + reader + " LOGIN", "CREATE ROLE " + node + " LOGIN", "GRANT USAGE ON SCHEMA " + s.schema + " TO " + reader + ", " + node,
		"GRANT SELECT ON S.document, S.counter TO " + reader,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON S.document TO " + node, "GRANT SELECT, UPDATE ON S.counter TO " + node,
	} {
		s.exec(sql)
	}
	config := s.config()
	config.URL = fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", reader, s.addr)
	f := follow(t, open(t, config), "app/")
	config.URL = fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", node, s.addr)
	store := open(t, config)
	at := put(t, store, "app/more", "more", 0)
	f.awaitValue("app/more", "more")
	require.NoError(t, store.Delete(t.Context(), "app/more", at))
	writes := make([]distributed.Write, 1000) // so that it collects
	for i := range writes {
		writes[i] = distributed.Write{Key: fmt.Sprint("app/", i), Value: []byte("value")}
	}
	for _, r := range store.(distributed.BatchStore).PutAll(t.Context(), writes) {
		require.NoError(t, r.Err)
	}
}

func TestToLookMakesNothing(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	look := postgres.OpenStore(s.config())
	_, err := look(t.Context(), distributed.LeaseRequest{})
	require.ErrorContains(t, err, "there is no schema "+s.schema+" yet")
	require.NotErrorIs(t, err, distributed.ErrRefused)
	var there bool
	require.NoError(t, s.scan(&there, "SELECT to_regnamespace($1) IS NOT NULL", s.schema))
	require.False(t, there)
	open(t, s.config())
	viewer, err := look(t.Context(), distributed.LeaseRequest{})
	require.NoError(t, err)
	require.NoError(t, viewer.Close())
}

// Nodes that start at the same time make the schema once.
func TestManyMakeTheSchemaAtOnce(t *testing.T) {
	t.Parallel()
	s := commonServer(t)
	errs := make(chan error)
	for i := range 10 {
		go func() {
			store, err := postgres.OpenStore(s.config())(context.Background(), distributed.LeaseRequest{Instance: "test"})
			if err == nil {
				_, err = store.Put(context.Background(), fmt.Sprint("app/", i), []byte("value"), 0)
				_ = store.Close()
			}
			errs <- err
		}()
	}
	for range 10 {
		require.NoError(t, <-errs)
	}
}

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/b2552be4/distributed"
)

// store keeps documents in a schema: a row a document, a transaction a change or
// several, a connection a follower.
type store struct {
	statements
	*connections
	poll time.Duration
}

// prepare looks whether the server will do. It makes the schema if it may.
func (s *store) prepare(ctx context.Context, may bool) error {
	results, err := s.send(ctx, s.check())
	if err != nil {
		return fmt.Errorf("look at the database: %w", explain(err))
	}
	row := results[0].Rows[0]
	for i, setting := range []string{"fsync", "full_page_writes"} {
		if string(row[i]) != "on" {
			return fmt.Errorf("%w: the server's %s is %s: it would lose what it has confirmed if its machine fails", distributed.ErrRefused, setting, row[i])
		}
	}
	if encoding := string(row[2]); encoding != "UTF8" {
		return fmt.Errorf("%w: the encoding of the database is %s, and must be UTF8", distributed.ErrRefused, encoding)
	}
	if string(row[3]) == "t" {
		return nil
	}
	if !may {
		return fmt.Errorf("there is no schema %s yet: the first node makes it", s.schema)
	}
	if _, err := s.send(ctx, s.create()); err != nil {
		return fmt.Errorf("create schema %s: %w", s.schema, explain(err))
	}
	return nil
}

// Put implements [distributed.Store].
func (s *store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	r := s.PutAll(ctx, []distributed.Write{{Key: key, Value: value, Revision: rev}})[0]
	return r.Revision, r.Err
}

// Delete implements [distributed.Store].
func (s *store) Delete(ctx context.Context, key string, rev int64) error {
	return s.PutAll(ctx, []distributed.Write{{Key: key, Revision: rev}})[0].Err
}

// maxWrites bounds a transaction: others wait for it.
const maxWrites = 100

// PutAll implements [distributed.BatchStore]: one commit for up to 100 changes, each
// with a revision of its own.
func (s *store) PutAll(ctx context.Context, writes []distributed.Write) (results []distributed.WriteResult) {
	for part := range slices.Chunk(writes, maxWrites) {
		results = append(results, s.commit(ctx, part)...)
	}
	return results
}

// commit makes one attempt. If it fails none of the writes took effect, or all did,
// or all still may: the server is never asked to give up, see [harden].
func (s *store) commit(ctx context.Context, writes []distributed.Write) []distributed.WriteResult {
	results := make([]distributed.WriteResult, len(writes))
	answers, err := s.send(ctx, s.put(writes))
	for i, w := range writes {
		r := &results[i]
		if r.Err = explain(err); err != nil {
			continue
		}
		r.Revision, r.Err = strconv.ParseInt(string(answers[i+1].Rows[0][0]), 10, 64) // behind that of BEGIN
		if r.Err == nil && r.Revision <= 0 {
			*r = distributed.WriteResult{Err: &distributed.ConflictError{Key: w.Key, Known: r.Revision == 0}}
		}
	}
	return results
}

// Close implements [distributed.Store].
func (s *store) Close() error {
	s.close()
	return nil
}

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite" // the driver
)

// ledger is a table of bills that only the latest leader may add to. A row of
// another table, the fence, holds the greatest token that has written.
type ledger struct{ db *sql.DB }

var errStale = errors.New("rejected, as a later leader has written")

const schema = `
CREATE TABLE IF NOT EXISTS fence (job TEXT PRIMARY KEY, token BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS bills (number BIGINT PRIMARY KEY, token BIGINT NOT NULL, issuer TEXT NOT NULL);
INSERT INTO fence (job, token) VALUES ('billing', 0) ON CONFLICT DO NOTHING;`

func openLedger(ctx context.Context, path string) (*ledger, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &ledger{db}, nil
}

func (l *ledger) close() error { return l.db.Close() }

// fenced runs change in a transaction that takes effect only if no leader with a
// greater token has written before.
//
// The UPDATE is its first statement, and both checks the token and keeps the row
// locked until the end: a transaction of another leader waits there, and then
// finds our token. With a SELECT instead, a later leader could write between the
// check and what follows it, and so could it if the check came in a transaction of
// its own. Databases with row locks (PostgreSQL, MySQL) do the same as SQLite,
// which lets one transaction write at a time; at the level SERIALIZABLE or
// REPEATABLE READ, PostgreSQL fails the one that waited: try that again.
//
// MySQL counts rows that change, and the token of a second write of a term does
// not: connect with clientFoundRows=true.
func (l *ledger) fenced(ctx context.Context, token int64, change func(*sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	result, err := tx.ExecContext(ctx, `UPDATE fence SET token = ? WHERE job = 'billing' AND token <= ?`, token, token)
	if err != nil {
		return err
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if rows == 0 {
		return errStale
	}
	if err := change(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// issue adds a bill with the next number. What it reads is read inside the
// transaction: nobody else can change it before the end.
func (l *ledger) issue(ctx context.Context, token int64, issuer string) (number int, err error) {
	err = l.fenced(ctx, token, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM bills`).Scan(&number); err != nil {
			return fmt.Errorf("next number: %w", err)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO bills (number, token, issuer) VALUES (?, ?, ?)`, number, token, issuer)
		return err
	})
	return number, err
}

func (l *ledger) count(ctx context.Context) (n int, err error) {
	err = l.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM bills`).Scan(&n)
	return n, err
}

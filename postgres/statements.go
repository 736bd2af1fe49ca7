package postgres

import (
	"fmt"
	"strings"
)

// statements are what is sent to the server: always in the simple protocol, as one
// message that holds all of a transaction. The server waits for nothing else then
// before it commits, so that no client which is frozen or cut off, at whatever byte,
// can hold the row that orders the changes. It is also what poolers understand.
type statements struct{ schema string }

// name puts the schema in place of S.
func (s statements) name(sql string) string { return strings.ReplaceAll(sql, "S.", s.schema+".") }

// quote makes a literal that reads the same whatever the server's settings are.
func quote(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// check asks for what the guarantee rests on, and whether the schema was made.
func (s statements) check() string {
	return s.name(`SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding'),
	to_regprocedure('S.put(text, text, bigint)') IS NOT NULL`)
}

// create makes the schema. Nodes that start at the same time wait for one another.
//
// There is a row a document, with the revision and a nonce of its last change, and one
// row that counts the changes. Who changes a document locks that row first and holds
// it until the commit: so revisions rise in the order in which changes take effect,
// without gaps. A document that is gone stays as a row without a value for some 1,000
// changes, so that feeds which were away learn of it; floor is the revision up to which
// such rows are gone. No index on revisions: it would make each change dearer.
//
// In put, each statement sees what was committed when it begins, and so, once it has
// the lock, all changes before. A change waits for the disk, and for the standbys if
// the server has such, whatever the session's synchronous_commit says. A refusal is
// the revision of what is there, negative, and no more than that: who does not read a
// long answer would hold the lock.
func (s statements) create() string {
	return s.name(`BEGIN;
SELECT pg_advisory_xact_lock(hashtext('S.put'));
CREATE SCHEMA IF NOT EXISTS ` + s.schema + `;
CREATE TABLE IF NOT EXISTS S.counter (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	rev bigint NOT NULL, nonce uuid NOT NULL, floor bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO S.counter VALUES (true, 1, gen_random_uuid(), 1) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS S.document (
	key text COLLATE "C" PRIMARY KEY, rev bigint NOT NULL, nonce uuid NOT NULL, value text
) WITH (fillfactor = 50);
CREATE OR REPLACE FUNCTION S.put(k text, v text, guard bigint) RETURNS bigint LANGUAGE plpgsql AS $put$
DECLARE
	c S.counter;
	held bigint;
	mark uuid := gen_random_uuid();
	news text;
BEGIN
	IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
	SELECT * INTO STRICT c FROM S.counter FOR UPDATE;
	SELECT d.rev INTO held FROM S.document d WHERE d.key = k AND d.value IS NOT NULL;
	IF coalesce(held, 0) <> guard OR (v IS NULL AND guard = 0) THEN
		RETURN -coalesce(held, 0);
	END IF;
	c.rev := c.rev + 1;
	INSERT INTO S.document VALUES (k, c.rev, mark, v)
		ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, nonce = excluded.nonce, value = excluded.value;
	news := concat_ws(E'\n', c.rev, c.nonce, mark, k, CASE WHEN v IS NULL THEN '-' ELSE '=' || v END);
	IF octet_length(news) > 7999 THEN
		news := concat_ws(E'\n', c.rev, c.nonce, mark, k, '?');
	END IF;
	PERFORM pg_notify('S.document', news);
	IF c.rev % 1000 = 0 THEN
		c.floor := greatest(c.floor, c.rev - 1000);
		DELETE FROM S.document d WHERE d.value IS NULL AND d.rev <= c.floor;
	END IF;
	UPDATE S.counter SET rev = c.rev, nonce = mark, floor = c.floor;
	RETURN c.rev;
END $put$;
COMMIT`)
}

// put is a transaction of puts.
func (s statements) put(calls []string) string {
	return "BEGIN ISOLATION LEVEL READ COMMITTED;" + strings.Join(calls, ";") + ";COMMIT"
}

// call is a change; a nil value deletes.
func (s statements) call(key string, value []byte, rev int64) string {
	v := "NULL"
	if value != nil {
		v = quote(string(value))
	}
	return fmt.Sprintf("SELECT %s.put(%s, %s, %d)", s.schema, quote(key), v, rev)
}

// channel is that of the notifications.
func (s statements) channel() string { return s.name("S.document") }

func (s statements) listen() string { return fmt.Sprintf("LISTEN %q;", s.channel()) + s.look() }

// look asks where the changes are.
func (s statements) look() string { return s.name("SELECT rev, nonce FROM S.counter") }

// picture asks for all below prefix that has changed since a position, or for all
// there is if it is not certain that the server's history holds that position: a
// server that has lost changes, or another that was promoted without them, does not
// have the nonce. sure says that this is certain. All is of one moment, as it is one
// statement.
func (s statements) picture(prefix string, rev int64, nonce string, sure bool) string {
	return s.name(fmt.Sprintf(`SELECT c.rev, c.nonce, p.known, d.key, d.rev, d.value
FROM S.counter c
CROSS JOIN LATERAL (SELECT %[1]d >= c.floor AND (%[3]t OR (c.rev, c.nonce) = (%[1]d, '%[2]s')
	OR EXISTS (SELECT FROM S.document o WHERE o.rev = %[1]d AND o.nonce = '%[2]s')) AS known) p
LEFT JOIN S.document d ON starts_with(d.key, `, rev, nonce, sure)) + quote(prefix) +
		`) AND CASE WHEN p.known THEN d.rev > ` + fmt.Sprint(rev) + ` ELSE d.value IS NOT NULL END`
}

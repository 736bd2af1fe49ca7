package postgres

import (
	_ "embed" // schema.sql
	"fmt"
	"strings"

	"github.com/b2552be4/distributed"
)

// statements are what is sent to the server: always in the simple protocol, as one
// message that holds all of a transaction. The server waits for nothing else then
// before it commits, so that no client which is frozen or cut off, at whatever byte,
// can hold the row that orders the changes. It is also what poolers understand.
type statements struct{ schema string }

// quote makes a literal that reads the same whatever the server's settings are.
func quote(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// check asks for what the guarantee rests on, and whether the schema was made.
func (s statements) check() string {
	return fmt.Sprintf(`SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding'),
	to_regprocedure('%s.put(text, text, bigint)') IS NOT NULL`, s.schema)
}

//go:embed schema.sql
var schema string

// create makes the schema.
func (s statements) create() string {
	return strings.NewReplacer("S.", s.schema+".", "EXISTS S;", "EXISTS "+s.schema+";").Replace(schema)
}

// put is a transaction; a nil value deletes.
func (s statements) put(writes []distributed.Write) string {
	var sql strings.Builder
	sql.WriteString("BEGIN ISOLATION LEVEL READ COMMITTED;")
	for _, w := range writes {
		value := "NULL"
		if w.Value != nil {
			value = quote(string(w.Value))
		}
		fmt.Fprintf(&sql, "SELECT %s.put(%s, %s, %d);", s.schema, quote(w.Key), value, w.Revision)
	}
	sql.WriteString("COMMIT")
	return sql.String()
}

// channel is that of the notifications.
func (s statements) channel() string { return s.schema + ".document" }

func (s statements) listen() string { return fmt.Sprintf("LISTEN %q;", s.channel()) + s.look() }

// look asks where the changes are.
func (s statements) look() string { return "SELECT rev, nonce FROM " + s.schema + ".counter" }

// picture asks for all below prefix that has changed since a position, or for all
// there is if it is not certain that the server's history holds that position: a
// server that has lost changes, or another that was promoted without them, does not
// have the nonce. sure says that this is certain. All is of one moment, as it is one
// statement.
func (s statements) picture(prefix string, rev int64, nonce string, sure bool) string {
	return fmt.Sprintf(`SELECT c.rev, c.nonce, p.known, d.key, d.rev, d.value
FROM %[1]s.counter c
CROSS JOIN LATERAL (SELECT %[3]d >= c.floor AND (%[5]t OR (c.rev, c.nonce) = (%[3]d, '%[4]s')
	OR EXISTS (SELECT FROM %[1]s.document o WHERE o.rev = %[3]d AND o.nonce = '%[4]s')) AS known) p
LEFT JOIN %[1]s.document d ON starts_with(d.key, %[2]s) AND CASE WHEN p.known THEN d.rev > %[3]d ELSE d.value IS NOT NULL END`,
		s.schema, quote(prefix), rev, nonce, sure)
}

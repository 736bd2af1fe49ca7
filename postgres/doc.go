// Package postgres keeps the documents of [distributed] in PostgreSQL, 13 or newer,
// for services that have that and no etcd:
//
//	provider := postgres.NewLeaseProvider(postgres.Config{URL: os.Getenv("DATABASE_URL")})
//	processor := distributed.NewLeadershipBasedJobProcessor("shop", node, provider, jobs)
//
// # What it takes
//
// The guarantee holds while there is one primary, and what it has confirmed stays. So
// a failover must fence the old primary before it promotes a standby, and promote one
// that has all that was confirmed: with synchronous replication, or in order. If a
// failover loses changes all the same, all leaderships end, as the nodes notice that.
// docs/stores.md says more, and what a role must be allowed.
//
// The store makes the schema if it is not there, and refuses to work on a server with
// fsync or full_page_writes off. It does not rely on synchronous_commit: each change
// sets that for itself.
//
// # How it works
//
// A document is a row. One more row counts the changes; who changes a document holds it
// until the commit. So revisions rise without gaps, in the order in which changes take
// effect, and all apps in a schema together make as many changes a second as the disk
// takes commits; up to 100 that are ready together take one.
//
// A change is one message of the simple protocol: from BEGIN to COMMIT the server waits
// for nothing from the client. A client that is frozen or cut off keeps nobody waiting,
// at whatever byte of it. A call whose context ends leaves its statement alone, which may
// take effect later, once; it is never cancelled, as that could confirm a change that no
// standby has.
//
// A feed listens on a connection of its own. A notification brings a change with its
// document, and the nonces of this change and of the one before. What does not join on
// makes the feed read, in one statement, what has changed since; or all there is, if the
// server's history does not have the nonce at which the feed was. Deleted documents stay
// as rows without a value for some 1,000 changes, for that. If notifications do not come,
// as behind a pooler in transaction mode, the feed looks every Config.Poll.
package postgres

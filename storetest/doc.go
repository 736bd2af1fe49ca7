// Package storetest is for those who add another store to this library. It says what a
// [distributed.Store] must keep, and checks it.
//
// # How to add a store
//
// A store keeps documents: a key, a value and a revision. Write a type with the
// methods Put, Delete, Follow and Close, and run it with
//
//	provider := distributed.NewLeaseProvider(open, distributed.WithLeaseTTL(5*time.Second))
//
// where open dials and returns the store; it is called for each lease and each
// observer. example_store_test.go in the package distributed has a whole store, on a
// map and a mutex. Then let this package check it, in a test of your own, with one
// line and what only the owner of the store can do:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Space {
//			db := openTestDatabase(t)
//			return storetest.Space{Open: func() distributed.Store { return open(db) }}
//		})
//	}
//
// A store needs no leases, no transaction over several documents, and no clock.
// Retries, batches, timeouts and everything else are up to the library: a store
// makes one attempt, and says what came of it.
//
// # What a store must keep
//
// P1, one order. Each change of a document gets a revision, above 0. Revisions
// rise in the order in which changes take effect, over all documents that a
// follower may see: a change that is asked for after another was confirmed has the
// greater one. Changes that take effect together may have the same. Revisions may
// have gaps.
//
// P2, exact pictures. After each step a follower's picture is the space below its
// prefix as of Step.Revision, exactly. Steps go forward: their revisions never
// fall, and what a step shows that is no listing is above the revision of the step
// before. The first step is a listing, also of nothing. A change must never be
// missing behind a later one: a store that keeps only the latest version of each
// document must not tell E@7 and D@9 in two steps if D was also changed at 5, as
// the picture of 7 would lack that. If a store cannot go on without a gap, it must
// list again. So it must when it has lost its connection, unless it can tell that the
// server still has the history that was told: the server may have been put back to a
// backup, and be past where it was. Client libraries that connect again by themselves
// and go on behind a revision hide just that.
//
// P3, compare and swap. A Put or Delete takes effect only if the document is at the
// revision that is named; 0 means that there is none. Of several at the same
// revision one takes effect. The revision of a deletion, or of a document that was
// deleted since, never matches. So a copy of a write that arrives late, however
// late, does nothing; only that of a creation does, if the document was deleted
// meanwhile, which is why the protocol uses names once and deletes late. A
// *ConflictError must mean that this attempt wrote nothing; if that is not known,
// the store must return another error.
//
// P4, nothing is undone. What was confirmed or shown stays, and no second store goes
// on beside this one, over crashes and failovers of its servers. How that is
// configured is for the documentation of the store to say: how many copies, what is
// written to disk before an answer, which failovers are allowed.
//
// P5, a break of P4 is noticed. The library does that, for all stores, with what it
// writes; nothing is asked of the store.
//
// Keys are 1 to 700 bytes of UTF-8 without control characters, and different ones
// are different documents, whatever a file system or a collation thinks of case,
// composition or trailing space. Prefixes have 1 byte at least. Values are 1 byte to
// 96 KiB of UTF-8 without NUL.
//
// Put, Delete and Follow must return soon after their context is done, whatever the
// network does, and so must what is under way when the store is closed. Each makes
// one attempt; who calls them tries again, on the same store for as long as the lease
// lasts: so a store connects again by itself. One that cannot costs the lease with
// each connection that it loses. Follow must not end for what it can go on from
// without a gap, and must not return nil. All methods must be safe for concurrent
// use.
//
// # What a store may do
//
//   - tell several changes as one step, each document as of its last change. It
//     should rather tell a step a revision, as soon as it can: the protocol learns
//     more from that, and hands over as fast as the feed is;
//   - list again at any time;
//   - show a change before it has answered the write that made it, or later;
//   - show a document with a new revision and the same value, if somebody else has
//     touched it;
//   - refuse a write without saying what is there. If it says so, in
//     ConflictError.There, that must be what was there when it refused;
//   - send a write several times, if it confirms what any copy of it has done;
//   - refuse values above 96 KiB, with any error but a conflict, or take them.
//
// It should also tell a proof of life: a step without documents, which says that
// nothing has changed up to its revision; that may be the revision of the step
// before. Nodes do without, as they hear heartbeats. A process that only observes
// takes a feed which says nothing for 5 s for one that hangs, reports the store as
// unavailable and begins another: so every 2 s is good, and by what the server
// says, not by a timer of the client.
//
// A store that can write several documents in one round trip may say so by
// implementing [distributed.BatchStore]. Each of the writes takes effect or fails by
// itself, and they need not be atomic. It makes the start of many jobs cheaper.
//
// Errors are reported, and most are tried again. If the server refuses this
// process for a reason that stays until somebody changes something, such as a wrong
// password, a certificate or a missing permission, wrap [distributed.ErrRefused]:
//
//	return nil, fmt.Errorf("%w: %w", distributed.ErrRefused, err)
//
// A node that has never had a lease then gives up, if several attempts over some
// 10 s agree, and Execute returns [distributed.ErrPermanent]. For options that cannot
// work, open returns an error that wraps [distributed.ErrInvalidConfig].
//
// # What this package cannot check
//
// P4 and P5, as that takes servers that crash and backups that are restored; nor that a
// follower lists again when its connection was lost, nor that a restart gives no revision a
// second time. And no case measures time: what takes effect in two moments, such as a
// listing and its revision, or a refusal and what it shows, is only found if something
// changes in between; and cases are over sooner than the first proof of life, unless the
// store tells it more often while it is tested. Whether Close frees everything is for
// goleak to show, from the TestMain of the store's tests.
//
// # Time
//
// The cases run in real time, with a real store, and in virtual time:
//
//	storetest.Run(t, newSpace, storetest.Within(synctest.Test))
//
// They wait for events, for a minute if need be, and so fail late when they fail.
// What only some stores or their owners can do, see [Space] and [distributed.BatchStore],
// is checked where it is there, and skipped where it is not: look for skipped cases.
package storetest

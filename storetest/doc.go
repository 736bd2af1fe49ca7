// Package storetest checks whether a [distributed.Store] keeps what the protocol relies
// on. Whoever brings the library to another store runs it from a test of their
// own, one line and what only the owner of the store can do:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Space {
//			db := openTestDatabase(t)
//			return storetest.Space{Open: func() distributed.Store { return open(db) }}
//		})
//	}
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
// before. The first step with after 0 is a listing, also of nothing; with another
// after it is the first change behind that, or a listing. A store may
//   - tell several changes as one step, each document as of its last change. But a
//     change must never be missing behind a later one: a store that keeps only the
//     latest version of each document must not tell E@7 and D@9 in two steps when D
//     was also changed at 5, as the picture of 7 would lack that;
//   - list again at any time, and must if it cannot go on without a gap;
//   - tell a step without documents, if nothing has changed up to its revision:
//     a proof that the feed is alive. Its revision may be that of the step before;
//   - show a change before it has answered the write that made it, or later;
//   - show a document with a new revision and the same value, if somebody else has
//     touched it.
//
// It should tell a change as soon as it can, one step a revision: the protocol
// learns more from that, and hands over as fast as the feed is.
//
// P3, compare and swap. A Put or Delete takes effect only if the document is at the
// revision that is named; 0 stands for: there is none. Of several at the same
// revision one takes effect. The revision of a deletion, or of a document that was
// deleted since, never matches. So a copy of a write that arrives late, however
// late, does nothing; only that of a creation does, if the document was deleted
// meanwhile, which is why the protocol uses names once and deletes late. The store
// may send copies of its own, as long as it confirms what one of them has done: a
// refusal is to mean that this attempt wrote nothing. A refusal may say what is
// there, and then it must be what was there when it refused.
//
// P4, nothing is undone. What was confirmed or shown stays, and no second store goes
// on beside this one, over crashes and failovers of its servers. How that is
// configured is for the documentation of the store to say.
//
// P5, a break of P4 is noticed. The library does that, for all stores, with what it
// writes; nothing is asked of the store.
//
// Keys are 1 to 700 bytes of UTF-8 without control characters, and different ones
// are different documents, whatever a file system or a collation thinks of case,
// composition or trailing space. Prefixes have 1 byte at least. Values are 1 byte to 64 KiB of UTF-8 without NUL.
// What is larger may be taken, or refused with any error but a conflict.
//
// Put, Delete and Follow return soon after their context is done, whatever the
// network does, and so does what is under way when the store is closed. Each
// makes one attempt; who calls them tries again, on a store opened anew if need
// be. Follow must not end for what it can go on from without a gap.
//
// # What it cannot check
//
// P4 and P5, as that takes servers that crash and backups that are restored. And no
// case measures time. Whether Close frees everything is for goleak to show, from
// the TestMain of the store's tests.
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

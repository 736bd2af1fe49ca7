// Package leasetest checks whether a [distributed.LeaseProvider] does what the
// interface promises: one that wraps another, or has a protocol of its own. If you only
// add a store, you need the package storetest, and may run this one on top of it. It
// takes a test, one line, and what only the owner of the store can do:
//
//	func TestConformance(t *testing.T) {
//		leasetest.Run(t, func(t *testing.T) leasetest.Store {
//			db := openTestDatabase(t)
//			return leasetest.Store{
//				Provider:        func() distributed.LeaseProvider { return NewLeaseProvider(db) },
//				TTL:             5 * time.Second,
//				Expire:          func(app, instance string) { db.deleteNode(app, instance) },
//				RemoveCandidate: func(app, election, instance string) { db.deleteClaims(app, election, instance) },
//				Candidates:      func(app, election string) int { return db.countClaims(app, election) },
//				Calls:           db.countWrites,
//			}
//		})
//	}
//
// A provider made by [distributed.NewLeaseProvider] needs its store alone, see
// [Store.OnDocuments].
//
// # What it checks
//
// Each case is a subtest and checks one sentence of the contract; when it
// fails it says which, and how it was broken. Whatever a case is about, a
// referee watches over all of its elections: nobody may lead before lost has
// been called on whoever led before, or that has resigned, and Valid must be
// false there by then.
//
// # What it cannot check
//
// That leadership stays exclusive when the store is partitioned, loses a
// majority or answers late, when clocks drift, or when a process is frozen: that
// takes faults that only tests of the store itself can cause. And no case
// measures time: that a handover happens at once is for a benchmark to show. Nor
// that a view is of one moment, which nobody can tell from outside.
//
// # Time
//
// The cases run in real time, with a real store, and in virtual time:
//
//	leasetest.Run(t, newStore, leasetest.Within(synctest.Test))
//
// They wait for events, for a minute and more if need be, and so fail late when
// they fail. With a store that works most take less than two TTLs: keep the TTL
// short, but long enough that no lease runs out on a busy machine; 5 s is good.
package leasetest

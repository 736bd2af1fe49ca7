// Package leasetest checks whether a [distributed.LeaseProvider] keeps what the
// interface promises. Whoever brings the library to another store runs it from
// a test of their own, one line and what only the owner of the store can do:
//
//	func TestConformance(t *testing.T) {
//		leasetest.Run(t, func(t *testing.T) leasetest.Store {
//			db := openTestDatabase(t)
//			return leasetest.Store{
//				Provider:        func() distributed.LeaseProvider { return NewLeaseProvider(db) },
//				TTL:             5 * time.Second,
//				Expire:          func(app, instance string) { db.revokeLease(app, instance) },
//				DeleteCandidate: func(app, election, instance string) { db.deleteKey(app, election, instance) },
//				Candidates:      func(app, election string) int { return db.countKeys(app, election) },
//				Calls:           db.countCalls,
//			}
//		})
//	}
//
// # What it checks
//
// Each case is a subtest and stands for one sentence of the contract; when it
// fails it says which, and how it was broken. Whatever a case is about, a
// referee watches over all of its elections: nobody may lead before lost has
// been called on whoever led before, or that has resigned, and Valid must be
// false there by then.
//
// What only some stores can do is checked where it is there, and skipped where it
// is not: [distributed.Roster] if the leases implement it, and
// [distributed.ViewProvider] if the provider does. So look for skipped cases once
// you have implemented one.
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
// they fail. With a store that works they take a few TTLs in all: keep the TTL
// short, but long enough that no lease runs out on a busy machine; 5 s is good.
package leasetest

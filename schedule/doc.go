// Package schedule turns a function into a Work that calls it on a schedule, never
// twice for one time. If you already have a robfig/cron, adapters/leadercron runs that
// on one node, but misses the times at which no node leads. The package is a module of
// its own, so that only its users depend on the parser for cron.
//
//	report, err := schedule.Cron("CRON_TZ=Europe/Berlin 0 3 * * *", func(ctx context.Context, at time.Time) error {
//		return writeReport(ctx, at)
//	})
//	...
//	err = processor.AddJob(distributed.Job{Name: "report", Work: report})
//
// Each node has the job, and the node that leads it waits for the next time and calls
// the function. The times do not depend on when a node has started or begun to lead.
// They are those of the leader's clock, so the clocks of the nodes should agree on the
// time of day.
//
// # Never twice for one time
//
// The leader saves with [distributed.Leadership.Save] which time it is about to run
// for, and calls the function when the store has confirmed that. The next leader goes
// on from there. The store refuses what a former leader saves, so a node that does not
// know yet that it has lost begins nothing any more, even if it was frozen or its clock
// is wrong.
//
// The price is the run that is under way when its node crashes or loses its lease:
// nobody can know how far it came, so it is not repeated. If it must be done all the
// same, let the function find out from its own data what is missing, such as from the
// day before.
//
// If the function returns an error, even because ctx is done, or panics, then its run
// is known to be over. That is saved, and the same time is tried again, by whichever
// node leads, until the next time comes (with [All]: until it succeeds). It counts as a
// failure of the job, which pauses, as [distributed.Job].Work says. So if a node is
// stopped in the middle of a run, a function that returns the error of ctx is called
// again on the next node, and one that returns nil is not.
//
// # Late and missed
//
// [WithMissed] says what to do about times that came while no node led, or while the
// function was still running for an earlier one: it is never called twice at once.
// Nothing counts as missed before the job has been led for the first time. If a
// schedule is changed, its times count from the last one that was run for.
//
// If the clock of the leader is ahead, a time comes early, and the other nodes do not
// run for it again. If it was years ahead, the job waits until then: to start again,
// delete what it has saved, the document saved/<job>.
//
// # Clock changes
//
// [Every] ignores them. [Cron] follows the clock on the wall of its zone: a time that
// does not exist because the clock is set forward comes when that happens, and of one
// that comes twice because it is set back, the first counts. A spec for every hour,
// such as "*/10 * * * *", goes on by the minute: it runs in both of the two hours.
package schedule

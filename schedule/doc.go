// Package schedule makes Works that do something at times, each time once: take it for
// what is new, and adapters/leadercron for a robfig/cron that you have already, which
// misses the times at which nobody leads. It is a module of its own, so
// that only who uses it has the parser of cron among the dependencies.
//
//	report, err := schedule.Cron("CRON_TZ=Europe/Berlin 0 3 * * *", func(ctx context.Context, at time.Time) error {
//		return writeReport(ctx, at)
//	})
//	...
//	err = processor.AddJob(distributed.Job{Name: "report", Work: report})
//
// Each node has the job, and the one that leads it waits for the next time and calls the
// function. Times do not depend on when a node has started or begun to lead. The time of
// day counts here, so the clocks of the nodes should agree: a time comes when it comes by
// the clock of the leader.
//
// # Never twice for one time
//
// The leader saves, with [distributed.Leadership.Save], which time it begins, and calls
// the function when the store has confirmed that. Whoever leads next goes on from there.
// A former leader that does not know that it is one is refused by the store, so it
// begins nothing any more, also if it was frozen or its clock is wrong.
//
// That costs the run that is under way if its node crashes or loses its lease: nobody
// can know how far it came, so it is not begun again. If it must be done all the same,
// let the function see from its own data what is missing, such as from the day before.
//
// If the function returns an error, also because ctx is done, or panics, then its run is
// known to be over. That is saved, and the same time is tried again, by whichever node
// leads, until the next time comes (with [All]: until it succeeds). It is a failure of
// the job, so it is seen, and pauses, as [distributed.Job].Work says. So when a node is stopped in the middle of a run,
// a function that returns the error of ctx is called again on the next node, and one
// that returns nil is not.
//
// # Late and missed
//
// [WithMissed] says what becomes of times that came while no node led, or while the
// function still ran for an earlier one. It is never called twice at once. Nothing is
// missed before the job has been led for the first time, and if a schedule is changed,
// its times count from the last one that was begun.
//
// Whose clock is ahead begins a time early, and the others do not begin it again. If it
// was years ahead, the job waits until then: delete what it has saved, the document
// saved/<job>, to begin anew.
//
// # Clock changes
//
// [Every] is not concerned by them. [Cron] goes by the clock on the wall of its zone:
// a time that does not exist, as the clock is put forward, comes when that happens, and
// one that comes twice, as it is put back, counts the first time. A spec for every hour,
// such as "*/10 * * * *", goes on by the minute: it runs in both of the two hours.
package schedule

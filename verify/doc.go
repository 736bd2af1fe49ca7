// Package verify records when jobs ran, and checks from the records that no job ran
// twice at once. A service writes the records in production; to check them afterwards,
// run the verb verify of the command cmd/distributed, or call [Check]. The package does
// not depend on the store, or on how the jobs got their leadership.
//
// # Use
//
// A process opens a file when it starts, and records in each Work when it runs:
//
//	runs, err := verify.Open("/var/lib/shop/node-1.jsonl", "node-1")
//	...
//	func sendInvoices(ctx context.Context) error {
//		leadership, _ := distributed.LeadershipFromContext(ctx)
//		run := runs.Begin("invoices", leadership.Token())
//		defer run.End()
//		... // with run.Tick() now and then
//	}
//
// Later, with the files of all nodes (the flag -h explains more):
//
//	go run github.com/b2552be4/distributed/cmd/distributed verify node-1.jsonl node-2.jsonl
//
// # Format
//
// A file has one JSON object a line, a [Record]:
//
//	{"job":"mail","node":"a","process":"a-4711-9f3c","run":1,"token":42,"event":"start","mono":81234567,"boot":"0b6c…","wall":1767225600000000000}
//
// where event is one of
//
//	start  Work begins
//	tick   Work is still running
//	stop   Work has been told to stop, and is still running
//	end    Work has returned
//
// Each record is written by one write to a file opened for appending, so that
// many processes may share a file, and nothing a process has written is lost
// when that process is killed. A last line without its end was cut off, and is
// ignored.
//
// # Clocks
//
// mono is CLOCK_MONOTONIC, which all processes share from one boot of a machine
// to the next; boot tells the boots apart. When all records are of one boot they
// are compared by mono, and the verdict is exact. Otherwise they are compared by
// wall, Unix nanoseconds, and are only as good as the machines' wall clocks: set
// [Rules].Skew to how far these may be apart.
//
// # What is checked
//
//   - overlap: two runs of a job were executing at the same time;
//   - token order: a run began with a smaller fencing token than a run that
//     began before it;
//   - token reuse: two processes ran a job with the same token.
//
// Gaps, times at which a job ran nowhere, are reported too. They are violations
// only if there is a limit for them.
//
// The package can only judge what is recorded, and not what a Work does before Begin or
// after End.
//
// # Concurrent use
//
// [Writer] and [Active] are safe for concurrent use. Everything else is plain data, and
// functions that keep no state: they may run at the same time, even on the same data.
// They block only while they read files.
package verify

// Package distributed runs the background jobs of a service, each on one node at a
// time. The nodes elect a leader for each job through a store that they share: etcd, or
// any other that follows the rules of [Store]. [LeadershipBasedJobProcessor] runs jobs;
// [Concurrency] is for programs that control leadership themselves.
//
// # Where to begin
//
// A program that runs jobs needs a [LeaseProvider], which [NewETCDLeaseProvider]
// returns; a list of [Job]; and [NewLeadershipBasedJobProcessor], whose Execute runs
// them. Inside a Work, [LeadershipFromContext] returns its [Leadership]: the fencing
// token, and what the last leader saved. To see who runs what, call [Observe]; to give
// orders, call [NewOperator]. [WithLogger], [WithHooks] and Status report what happens.
//
// To use another store, implement [Store]. [LeaseProvider], [Lease], [Election],
// [Viewer] and [LeaseEvents] are only for those who wrap a provider or have a protocol
// of their own; nobody else has to read them.
//
// An app is a service, whose nodes share its jobs. A node is a process that takes part;
// to be exact, a process with one lease: with each lease it gets a new ID. Its instance
// is the name by which people know it. [Concurrency] calls the name of a job just a
// name. To lead a job is to be the one node that may run it. A node campaigns for a
// job, waits in its queue, leads it, and resigns it or loses it. The directory docs has
// guides, and an index.
//
// # Guarantee
//
// No two nodes execute the Work of the same job at the same time. This holds under
// network partitions, lost or delayed replies, and restarts and leader changes of the
// store. It holds if somebody deletes documents of this library, and if your own code
// misbehaves: a log handler, a hook or a callback that blocks, is slow, panics or ends
// its goroutine.
//
// There are three conditions. The clocks of the nodes run within 2 % of true time
// ([WithClockDrift]); the time of day does not matter. The process is not frozen. And
// if leadership was lost, Work returns within the grace period after its context is
// done ([WithLeaseGrace], a fifth of the TTL by default). If leadership ends in any
// other way, the job stays with the node until Work returns.
//
// Each leadership has a fencing token ([Leadership.Token]) that is greater than those
// of all earlier leaderships of that job.
//
// # What is not guaranteed
//
// A frozen process (SIGSTOP, a paused virtual machine) cannot be stopped by anybody,
// and the others go on without it. When it wakes, [Leadership.Valid] is false at once
// and its contexts are done within milliseconds. But what it had sent before is still
// on its way, and only a database that checks the fencing token rejects that. If its
// clock stood still too, not even Valid is right: that may happen on a paused virtual
// machine, and on a suspended host unless it runs Linux.
//
// A Work that ignores its context after its leadership was lost runs beside its
// successor. It is reported ([Hooks].Stuck), but a goroutine cannot be ended from
// outside. The same can happen if clocks run slower or faster than allowed.
//
// A process that starts knows only what it finds in the store. So if somebody deletes
// all documents of a node, or of the app, a process that starts within T·(1+ρ) of that
// finds nothing to wait for (T is the TTL of the lost node's lease, ρ the clock drift).
// The same is true if the store has lost its data or was restored from a backup. Nodes
// that were running at the time notice it, and wait.
//
// If somebody puts an old version of a document back by hand, unchanged, the nodes that
// have seen a newer one notice. A process that starts afterwards does not. And a forged
// document with a correct checksum looks like a true one: if somebody marks a node as
// buried while it works, others take over at once.
//
// If the store loses its data, tokens start again from small numbers; if it goes on
// from a backup, they repeat. docs/operations.md says how to raise them.
//
// # How it works
//
// All that nodes know of one another is in a few JSON documents in the store, below
// <namespace><app>/. docs/format.md shows each of them. A node makes up a random ID,
// which is used for one lease and never again, and writes
//
//	nodes/<id>       its heartbeat: a number that rises, four times a TTL
//	claims/<id>/<k>  which jobs it leads or waits for, up to 64 in each document
//	info/<id>        what it tells of itself; lists/<hash>: the list of its jobs
//	state/<job>      that a job has failed, or is done; saved/<job>: what it has saved
//
// The first node of the app also writes the document epoch, a random value, once.
// Each write names the revision that it replaces, and does nothing if the document is
// at another one. So it takes effect once, however often it was sent. Each node
// follows all documents of the app, in the order in which they change, and keeps a
// picture of them. It decides by that picture and by its own monotonic clock; the
// clocks of two machines are never compared.
//
// Heartbeats. The node notes the time s and writes nodes/<id> with the next number, on
// the revision that it knows. The store's answer alone proves nothing. When the
// heartbeat comes back through the node's own feed, its lease is valid until s +
// T·(1-ρ) minus 25 ms. A grace period before that ends, all contexts of the node are
// done. So a feed that hangs ends leadership as surely as a heartbeat that is lost. A
// heartbeat that comes back later than that does not count: the lease is over for good,
// and the node begins another with a new ID. Each other node notes when it has seen the
// heartbeat.
//
// Claims. The node writes the job's name into one of its claim documents, with the
// number 0. The revision at which it then finds that write in the store is the number
// of the claim: its place in the queue, and the fencing token. The node writes it in
// place of the 0 within T/4. The node leads if its lease is valid, its claim is in its
// picture, that picture is not older than the number of the claim, and no other node
// that counts has a lower number for the job. It calls Work, and when Work has returned
// it writes the document without the name. The next node in the queue sees that and
// leads at once: a handover costs one write, and one event for each node.
//
// A node that stops writes "drained" into its node document when no Work runs any more.
// From then on nothing that it claims counts: one write for any number of jobs.
//
// A node that falls silent is buried. Another one that has not seen its heartbeat move
// for T·(1+ρ) writes "buried" into the node document, on the revision that it has in
// its picture. If that succeeds there was no later heartbeat, and there can be none. So
// the silent node has stopped, and nodes that see the document ignore its claims. No node
// passes over a silent one by its own clock alone.
//
// A loss is a document of a node that somebody else has changed or deleted, or that is
// not there any more though the node document says that it was made. A node that sees
// a loss of its own ends its lease: all its contexts are done. The others cannot know
// whether it has seen it. Until it has drained, or T·(1+ρ) have passed since they saw
// the loss, nobody begins to lead anything in the app. Nodes that lead already go on. A
// document that is written again with the same content is no loss.
//
// If the epoch is gone or has changed, or if the store turns out to go on from an
// earlier state, any node may have lost documents. All leases of the app end, and
// nobody leads anything for T·(1+ρ), T being the longest TTL that the process has seen
// in the app. How an earlier state is noticed: revisions go back, a document of a
// known revision has another content, a write of ours is confirmed at a revision that
// we have seen before, or a confirmed write of ours is missing from the picture.
//
// Documents of nodes that have drained or were buried are deleted later, by the
// running node with the lowest id: after 10 minutes, or 3·T·(1+ρ) if that is longer.
// So are, after 10 minutes, parts of lists that nobody uses any more.
//
// # What a store must keep
//
// There is one order of changes (P1). A follower's picture is exact after each step,
// and never lacks a change that came before another which it shows (P2). A write takes
// effect only on the revision that it names (P3). What was confirmed or shown is never
// undone, and no second store goes on beside this one (P4). If P4 is broken all the
// same, as by a backup that is restored, this library notices it by what it writes, and
// by reading all there is anew whenever a connection was lost (P5). [Store] has the
// methods, and the package storetest has the rules in full, a guide for those who add a
// store, and the tests. [NewLeaseProvider] runs the protocol on it. No lease of the store
// and no transaction over several documents is needed.
//
// # Balance
//
// With [WithLoadBalancing] nodes announce what they can run, and every node
// computes from what it sees where each job should run, and who should stand by.
// It campaigns for its own part only, with about two candidates for a job in all; for
// other jobs it has nothing but their names. While nobody campaigns for any job, nodes that start
// wait a moment for one another ([WithGatherTime]). A job that
// is to move runs on until its next node is the next in its queue; then its
// context is done, and it is released as always. Nodes that see different things for
// a moment may move a job in vain. Exclusion does not depend on any of this.
//
// # A job on a node
//
//	     Execute or AddJob
//	            |
//	            |  start delay
//	            v
//	+---> wait for a slot   (only with a job quota)
//	|           |
//	|           v
//	|       campaign   <---+  the lease is lost:
//	|           |  |       |  acquire another, keep trying
//	|           |  +-------+
//	|           |  elected
//	|           v
//	|      pause, if Work has failed before, here or elsewhere
//	|           |
//	|           v
//	|      Work runs
//	|           |
//	|           |  it fails, or is done for good: that is recorded; or it returns
//	|           |  nil, by itself, or after its context was done: leadership lost,
//	|           |  term ended, moved, removed, or Execute's context done
//	|           v
//	+------- release   -----> Execute's context is done, or the job is done
//	   (if Work returned nil by itself: not before a second after it was called)
//
// # What fails, what happens, and what it costs
//
//	node stops cleanly          released as Works return        one write, one event for all that
//	                                                            return at once
//	term ends                   the same; others come first     the same
//	node crashes                others wait, and bury it        0.75 T to 1.02 T, one write
//	another starts afterwards   it waits for what it finds      T·(1+ρ) from its start
//	node frozen                 the same as a crash             the same; what it sent meets the token
//	node cut off, briefly       the next heartbeat counts       nothing, up to about T/2
//	node cut off, for longer    contexts are done in time       about T/4, as it worked until then
//	its document is deleted     its lease ends at once          until all its Work has stopped *
//	all documents deleted       all leases end at once          T·(1+ρ)
//	backup restored             noticed: all leases end         T·(1+ρ)
//	store replaced by another   the same; tokens begin anew     T·(1+ρ)
//	etcd's leader changes       calls and feed move on          nothing, up to about T/2 without one;
//	                                                            with T below some 4 s all leases end
//	store unreachable, or full  contexts done, nodes retry      until it is back, and up to some 5 s more
//	Work ignores its context    it is reported as stuck         nobody else runs it; after a loss,
//	                                                            others do: two at once
//	Work fails or panics        it pauses, others try it next   that job, 1 s to 1 min; no other
//	wrong password, at first    ErrPermanent, after some 10 s   the node, until that is changed
//	wrong password, later on    contexts done, the node waits   until that is changed
//
//	* T·(1+ρ) at most; until then nobody begins to lead anything in the app
//
// The cost is how long the jobs concerned run nowhere. T·(1+ρ) counts from the last
// heartbeat that others saw if a node falls silent, and from when the nodes saw what
// happened if documents are lost.
//
// With the default T of 10 s, a node that hears nothing more from the store stops its
// jobs 7.8 s after it sent its last heartbeat, and others start them 10.2 s after
// they saw it. T may be as short as 200 ms. docs/operations.md says what that costs.
package distributed

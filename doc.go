// Package distributed runs the jobs of a service that must run on one node at a
// time, under leadership elected on etcd. [LeadershipBasedJobProcessor] runs
// jobs; [Concurrency] is the same for programs that steer leadership themselves.
//
// # Guarantee
//
// No two nodes execute the Work of the same job at the same time: not under
// partitions, lost or delayed replies, restarts of etcd or changes of its
// leader, not when etcd takes away the lease of a node that is alive, and not
// when a log handler or a hook blocks, is slow or panics.
//
// This rests on two conditions. The clock of each node runs within 2 % of true
// time ([WithClockDrift]). And when leadership was lost, Work returns within the
// grace period after its context is done ([WithLeaseGrace], 2 s by default);
// when it ends in any other way, the job stays with the node until Work returns.
//
// # What is not guaranteed
//
// A frozen process (SIGSTOP, a paused virtual machine) stops nothing, and others
// go on without it. When it wakes, [Leadership.Valid] is false and its contexts
// are done within milliseconds, unless its clock stood still as well, as that of
// a paused virtual machine may, and of a suspended host except on Linux. And
// what it had sent before is under way still. Only a store that checks the
// fencing token ([Leadership.Token]) rejects that.
//
// A Work that goes on after its leadership was lost runs beside its successor.
// It is reported ([Hooks].Stuck), but nobody can end a goroutine from outside.
//
// What etcd forgets nobody knows. When somebody deletes all keys of the app, or
// etcd comes back without its data, nodes that run wait until none of them can be
// working; but a process that starts within that time knows of nothing to wait
// for, no more than one that starts after somebody has deleted the keys of one
// node, its node key among them. When etcd comes back without its data, tokens
// begin anew; when it is restored from a backup while nodes run, exclusion does
// not hold across that moment either.
//
// # Protocol
//
// The etcd lease is only the garbage collector. Exclusion rests on the order of
// keys in etcd, on heartbeats that the other nodes witness, and on everybody's
// own monotonic clock. With T for the lease's TTL and ρ for the clock drift:
//
//   - A node has a lease and three kinds of keys: its node key, rewritten by each
//     heartbeat, outlives the lease; its alive key and, for each job that it
//     stands for, a candidate key go with the lease. One watch of all keys of the
//     app tells it everything.
//   - The candidate key with the lowest create revision leads. That revision is
//     the fencing token.
//   - A heartbeat, one every T/4, counts when it comes back through the node's own
//     watch, and then from when it was sent: the node is valid for T·(1-ρ), less
//     25 ms, from there. Contexts are done a grace period before that ends. So a
//     watch that hangs ends a leadership as surely as a heartbeat that is lost.
//   - Release: once Work has returned, the candidate key is deleted in one
//     transaction with a put of the alive key. So others see that the owner did
//     it, and the next in the queue leads at once. Each such transaction is made
//     on condition that the alive key is as the one before left it: it takes
//     effect once, however often it was sent, and never after the lease has gone.
//   - Unclean loss: the candidate key goes without that put, as the lease expired
//     or was revoked, or somebody deleted the key. Its owner may not know yet. Its
//     place in the queue stays taken until the owner says that it has stopped, or
//     T·(1+ρ) have passed since its last heartbeat was seen: no earlier than it
//     was sent, so the owner has stopped by then.
//   - The alive key holds the number of the node's candidate keys. A node that
//     starts has not seen what was lost before; a node key without an alive key,
//     or with fewer candidate keys than the alive key says, tells it that
//     something was. Then it leads nothing until it has waited that long.
//   - The epoch key is made once, and deleted by nobody. A process that has known
//     the app and finds another epoch, or none, knows that keys have been deleted
//     of which it cannot know, and leads nothing until it has waited that long.
//
// The keys are <namespace><app>/epoch, <namespace><app>/node/<lease>,
// <namespace><app>/alive/<lease> and <namespace><app>/<job>/leader/<lease>. The
// last is the layout of etcd's own elections, so "etcdctl elect -l <app>/<job>/leader" shows the leader, and a
// candidate of that kind queues among ours, with no more than etcd's guarantee.
//
// # Balance
//
// With [WithLoadBalancing] nodes announce what they can run, and every node
// computes from what it sees where each job should run, and who should stand by.
// It stands for its own part only, about two candidates a job in all. A job that
// is to move runs on until its next node is the next in its queue; then its
// context is done, and it is released as ever. Nodes that see different things for
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
//	|      Work runs   -----> it fails or panics: all jobs of the node
//	|           |             stop, Execute returns the error
//	|           |
//	|           |  it returns nil by itself, or after its context was done:
//	|           |  leadership lost, term ended, or Execute's context done
//	|           v
//	+------- release   -----> Execute's context is done: the end
//	   (if Work returned by itself: not before a second after it was called)
//
// # What fails, what happens, and what it costs
//
//	node stops in order       released as Work returns       one commit, one watch event
//	term ends                 the same; others come first    the same
//	node crashes              others wait for its silence    about T
//	node frozen               the same                       about T; what it sent meets the token
//	node cut off, briefly     the next heartbeat counts      nothing, up to about T/2
//	node cut off, for longer  contexts are done in time      about T/4, as it worked until then
//	key deleted by hand       context is done at once        until that Work has stopped *
//	all keys deleted by hand  contexts are done at once      T·(1+ρ)
//	lease revoked by etcd     contexts are done at once      until all Work has stopped *
//	etcd member, leader lost  calls and watch move on        nothing, up to about T/2
//	etcd away, out of space   contexts done, nodes retry     until it is back, and up to T more
//	Work ignores its context  it is reported as stuck        nobody else runs it; after a loss,
//	                                                         others do: two at once
//	Work fails or panics      the node's jobs are released   as when the node stops
//	wrong password            Execute returns ErrPermanent   the node, until that is mended
//
//	* T·(1+ρ) at most
//
// With the default T of 10 s, a node that hears nothing more from etcd stops its
// jobs 7.8 s after it sent its last heartbeat, and others start them 10.2 s after
// they saw it.
package distributed

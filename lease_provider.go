package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// LeaseProvider gives nodes their leases on some store, and shows an app to observers.
// Users get one from [NewETCDLeaseProvider] or the constructor of another store, and
// call none of its methods.
//
// To run this library on another store, implement [Store] and call [NewLeaseProvider].
// Implement LeaseProvider, [Lease] and [Election] only to wrap another provider, or for
// a protocol of your own; the package leasetest checks that.
//
// Implementations must be safe for concurrent use. A provider holds no resources of its
// own: what a lease needs, the lease frees in Close.
type LeaseProvider interface {
	// AcquireLease registers the node with the store and returns its lease,
	// which the provider renews from then on.
	//
	// It makes one attempt: it returns when it succeeded, failed, or ctx is
	// done. It must leave nothing behind in the store when it fails. The caller
	// tries again with backoff, unless the error wraps [ErrPermanent] or
	// [ErrInvalidConfig]: return those for what waiting cannot fix, such as a
	// wrong password.
	//
	// ctx bounds the call only, not the life of the lease.
	AcquireLease(ctx context.Context, req LeaseRequest) (Lease, error)

	// OpenView lets a process look on without a lease. It returns when there is a first
	// view, which may show nothing. Like AcquireLease it makes one attempt, returns the
	// same errors, and must leave nothing behind when it fails. ctx bounds the call
	// only, not the life of the viewer. req.Instance is empty. req.Events tell whether
	// the store is heard of, as for a lease.
	OpenView(ctx context.Context, req LeaseRequest) (Viewer, error)
}

// LeaseRequest says for whom a lease is acquired.
type LeaseRequest struct {
	// App and Instance name the node. Both have been validated: App has at most 128
	// bytes and no "/", Instance at most 256; neither is empty, and both are UTF-8
	// without control characters. Several live leases may have the same App and
	// Instance; each is a node of its own.
	App, Instance string

	// Logger is never nil, and never blocks: it hands records over to be logged.
	Logger *slog.Logger

	// Events may be called to report what happens to the lease.
	Events LeaseEvents

	tell func(func()) // hands over what calls user code, for which nobody waits; nil to call it
}

// Lease is a node's registration with the store, under which it takes part in any
// number of elections. All leadership under a lease ends with the lease.
//
// Implementations must be safe for concurrent use.
type Lease interface {
	// Election returns this node's part in the election called name. It must
	// not block and must make no call to the store. name is 1 to 512 bytes of
	// UTF-8 without control characters, and may contain "/". The caller has at most one
	// Election a name in use at a time.
	Election(name string) Election

	// Announce publishes info about this node, in place of everything that it has
	// announced before. It blocks until the store has accepted that. It returns
	// [ErrLeaseLost] when the lease has ended, for whatever reason; ctx's error when
	// ctx is done; and what is wrong with info. After an error, info may still be
	// published, but must not replace what a later call has announced. Of several calls
	// at the same time, all but one may fail.
	//
	// What has been announced ends with the lease: another lease of the same instance
	// has announced nothing. nil Jobs must be kept apart from empty ones; for other
	// slices and maps that does not matter. Started may be cut to the millisecond. The
	// caller does not change what info refers to, not even later.
	Announce(ctx context.Context, info NodeInfo) error

	// View returns a picture of the app, and a channel that is closed when there is
	// a newer one: a caller that waits for it before it calls View again must not
	// miss a change that lasts. The channel should stay open while the picture would
	// be the same, and must not be closed for heartbeats. View does not block and
	// makes no call to the store. Pictures may be late, but each is of one moment,
	// and later ones are of later moments. They must not show a candidate that is
	// lost although its node may not know that. When the lease has ended, View
	// returns [ErrLeaseLost], and the channel is closed.
	View() (*View, <-chan struct{}, error)

	// Orders returns the orders of operators, and a channel that is closed when they
	// change or the lease has ended. They are as new as the picture by which this node
	// leads. It does not block and makes no call to the store, and the caller does not
	// change what it returns. After the end of the lease the channel is nil.
	Orders() ([]Order, <-chan struct{})

	// Recorded returns what is on record of a job, for how long this node has seen it
	// so, and a channel that is closed when it may be different or the lease has ended.
	// It returns a zero record and a nil channel if nothing is on record, or the lease
	// has ended. It is as new as the picture by which this node leads: a node that has
	// been elected sees what the leaders before have recorded. It does not block and
	// makes no call to the store.
	Recorded(job string) (record JobRecord, age time.Duration, outdated <-chan struct{})

	// Silence returns how long ago each node of the last View, including this one, was
	// last heard of, by ID: less than its TTL ago while it is well. As long as a node is
	// heard of, the store works.
	Silence() map[string]time.Duration

	// Close gives up every candidacy and leadership under the lease, so that
	// others may lead at once, and frees everything the lease holds, here and
	// in the store. The caller makes sure that nothing runs under the lease
	// any more. Campaigns that go on under the lease end with [ErrLeaseLost].
	//
	// Close must return soon after ctx is done, even when the store does not
	// answer, and must free all local resources in any case; the error then
	// says what was left behind, and others wait until it has run out. A second Close
	// returns nil.
	Close(ctx context.Context) error
}

// Election is one lease's part in one election. Campaign and Resign are called in turn,
// any number of times: Campaign when the campaign before was decided against this lease
// or its leadership resigned, and Resign when it was decided for it. Valid may be called
// concurrently with everything else.
type Election interface {
	// Campaign asks for the leadership and returns at once. The campaign goes on until
	// it is decided; then decided is called, exactly once, perhaps before Campaign has
	// returned. While it goes on it should make no calls to the store.
	//
	// decided gets the fencing token if this lease leads now: strictly greater than the
	// token of every leadership of this election before it, whoever held it. Candidates
	// lead in the order in which they reached the store.
	//
	// Else it gets an error. When ctx is done it gets ctx's error, soon, and never
	// again a token; the candidacy must then be withdrawn, in the background if need
	// be, and must not turn into a leadership. ctx bounds the campaign, not the
	// leadership. When the lease has ended, or had before, decided gets
	// [ErrLeaseLost]. A candidacy that somebody else removes from the store must not go
	// unnoticed: the lease queues again, behind the others, or decided gets
	// ErrLeaseLost. Any other error is final for the caller.
	//
	// From the moment it leads until Resign or the lease's Close is called, the
	// implementation calls lost, at most once, with a cause that wraps
	// [ErrLeadershipLost], as soon as the leadership is over for any reason, and
	// in any case before anybody else can lead, with time for the work to stop. That
	// may be before decided has returned.
	//
	// Both must be called without holding locks, and neither blocks.
	Campaign(ctx context.Context, decided func(token int64, err error), lost context.CancelCauseFunc)

	// Valid reports whether this lease leads the election and nobody else can,
	// right now. It must judge by the clock at the time of the call, must not
	// rely on a timer having fired (the process may have been frozen), and must
	// not block: it is called on hot paths. Once lost has been called it is
	// false.
	Valid() bool

	// Gap returns how long ago this node saw that the candidate before it, the
	// last one it waited behind, had released the election; false if it waited
	// behind nobody, or that candidate went in another way, such as by a loss, or
	// if it was not seen to go, or where that cannot be known. It is called once
	// after each campaign that was won, and must not block.
	Gap() (gap time.Duration, ok bool)

	// Record puts r on record of the job, in place of what was there, under the token
	// of the leadership; a zero r deletes the record. It blocks until the store has
	// accepted that, trying again and again, or until ctx is done or the lease has
	// ended. If a later leadership has recorded something, it must do nothing and
	// return an error that wraps [ErrLeadershipLost], even if this process does not
	// know of that leadership.
	Record(ctx context.Context, r JobRecord) error

	// Save keeps data for the job in place of what was kept, in the same way. It must
	// also fail if a later leadership has called Save or Saved. data is at most 64 KiB.
	Save(ctx context.Context, data []byte) error

	// Saved returns what was saved last, nil if nothing was, and blocks until no
	// earlier leadership can save anything any more. It returns the same errors.
	Saved(ctx context.Context) ([]byte, error)

	// Resign ends the leadership, if there still is one, and blocks until the
	// store has accepted that, so that the next candidate can lead at once, or
	// until ctx is done. The caller makes sure that the work has stopped.
	//
	// Whatever it returns, the leadership is over when it does. If the store
	// could not be told, the implementation keeps trying until the lease ends,
	// and a later Campaign must not be taken in by the old candidacy. It must
	// not block for longer than the lease lives; after a loss the store is told
	// in the background, and what it returns then does not matter.
	Resign(ctx context.Context) error
}

// Viewer shows what the nodes see, as a [Lease] does, without being a node.
// Implementations must be safe for concurrent use.
type Viewer interface {
	// View and Silence are those of a [Lease], but View.Self is empty. After Close,
	// View returns [ErrClosed].
	View() (*View, <-chan struct{}, error)
	Silence() map[string]time.Duration

	// Age returns how old what it shows may be: how long ago the store was heard of.
	Age() time.Duration

	// Close frees what the viewer holds, without a call to the store, and closes
	// the channel of the last View. A second Close returns nil.
	Close() error
}

var (
	// ErrLeaseLost ends campaigns under a lease that has ended; see
	// [Election].Campaign. The caller acquires a new lease and campaigns again.
	ErrLeaseLost = errors.New("distributed: lease lost")

	// ErrLeadershipLost is the cause of a leadership's context when the
	// leadership ended without this node's doing: no heartbeat came back in
	// time, somebody changed or deleted documents of the node or the app, or
	// the store goes on from an earlier state.
	ErrLeadershipLost = errors.New("distributed: leadership lost")

	// ErrPermanent marks a failure of the store that waiting cannot fix, such
	// as a wrong password, a bad certificate or a missing permission. A
	// [LeaseProvider] wraps it to stop the retries.
	ErrPermanent = errors.New("distributed: permanent failure")

	// ErrInvalidConfig marks an argument or option that cannot work. The error
	// text names the field and its bound. Nothing was written to the store.
	ErrInvalidConfig = errors.New("distributed: invalid configuration")
)

// notMade is the error for a zero value that nothing can be done with.
func notMade(what, by string) error {
	return fmt.Errorf("%w: this %s was not made by %s", ErrInvalidConfig, what, by)
}

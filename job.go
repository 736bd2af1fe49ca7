package distributed

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Job is a part of a service that must run on one node at a time.
type Job struct {
	// Name identifies the job among all nodes of the app: 1 to 512 bytes of
	// UTF-8 without control characters. It may contain "/".
	Name string

	// Work does the job. It is called while this node leads the job, and never twice at
	// once.
	//
	// ctx carries the values of the context given to Execute, and the leadership
	// ([LeadershipFromContext]). It is done when the leadership ends; context.Cause
	// says why: [ErrLeadershipLost], [ErrTermEnded], [ErrMoved], [ErrJobRemoved],
	// [ErrPaused], [ErrResigned], [ErrNotAlive], the cause of Execute's context, or the
	// error that stops the processor. Work must then return soon. If leadership was
	// lost, other nodes may start the job after the grace period ([WithLeaseGrace]); in
	// all other cases they wait until Work has returned, unless the lease is lost while
	// it stops ([Leadership.Valid]).
	//
	// What Work returns matters only while ctx is not done and the leadership is valid.
	// nil releases the job, and this node campaigns for it again, behind the nodes that
	// wait. If Work was called less than a second ago, the job is released when that
	// second has passed: so a Work that returns at once runs once a second, however
	// many nodes there are.
	//
	// An error is a failure. A panic is a failure at any time. The job is released, and
	// Work is called again after a pause, on another node if one waits; all other jobs
	// go on. The pause is 1 s. It doubles with each failure in a row, on whatever node,
	// up to 1 min, and is shortened by up to a quarter at random. It is 1 s again after
	// Work has run for longer than the last pause. [WithStopOnError] changes that.
	//
	// [ErrDone] ends the job for good, on all nodes, even if ctx is done; but not if
	// the Watchdog has expired.
	Work func(ctx context.Context) error

	// Prepare, for [WithLoadBalancing], warms this node up for the job, such as by
	// filling a cache. It is called while this node is the standby of the job, or the
	// node that the job is about to move to, and again when the job has run here and
	// this node stands by again. It returns nil when the node is warm; a planned move
	// waits for that, the takeover after a crash does not. An error is logged, and
	// Prepare is called again a second later.
	//
	// ctx is done when this node is no longer to run the job next, or when it leads the
	// job before Prepare has returned; Prepare may then still run when Work begins. It
	// must return soon after that: Execute waits for it. A node makes no more of these
	// calls at a time than jobs may move ([WithMaxMoves]). Default: nil.
	Prepare func(ctx context.Context) error

	// SaysReady, for [WithLoadBalancing], says that Work calls [Leadership.Ready] when
	// it is warm. Until then the job counts as moving, and [WithMaxMoves] limits how
	// many jobs do: so a node that joins does not get more jobs at once than it can
	// warm up. Default: false, a job is warm when its Work is called.
	SaysReady bool

	// Watchdog is the longest time between two calls of [Leadership.Alive] by Work, at
	// least 1 ms. If it is exceeded, that is logged with the stacks of the goroutines
	// of Work, and ctx is done with cause [ErrNotAlive]; when Work has returned, it has
	// failed, whatever it returned. Default: 0, which means no watchdog.
	Watchdog time.Duration

	// Weight is how much the job counts when [WithLoadBalancing] spreads jobs:
	// 1 to 1,000,000. Default: 1.
	Weight int

	// Prefer and Avoid are labels of nodes, as "key=value" (see [WithLabels]), for
	// [WithLoadBalancing]. The job runs on a node with a label in Prefer as long as one
	// can take it, and on a node with a label in Avoid only if no other can. At most 16
	// each, none twice. The key ends at the first "=": "a=b=c" is the label "a" with
	// the value "b=c". Default: none.
	Prefer, Avoid []string
}

const (
	maxAppName  = 128
	maxInstance = 256
	maxJobName  = 512
	maxWeight   = 1_000_000
	minWatchdog = time.Millisecond
	maxLabels   = 16
	maxLabel    = 128 // of a key, and of a value
)

func (j Job) validate() error {
	if err := validateJobName(j.Name); err != nil {
		return err
	}
	if j.Work == nil {
		return fmt.Errorf("%w: Job.Work of %q is nil", ErrInvalidConfig, j.Name)
	}
	if j.Watchdog != 0 && j.Watchdog < minWatchdog {
		return fmt.Errorf("%w: Job.Watchdog of %q is %v: must be at least %v, or 0 for none", ErrInvalidConfig, j.Name, j.Watchdog, minWatchdog)
	}
	if j.Weight < 0 || j.Weight > maxWeight {
		return fmt.Errorf("%w: Job.Weight of %q is %d: must be between 1 and %d, or 0 for 1", ErrInvalidConfig, j.Name, j.Weight, maxWeight)
	}
	return errors.Join(j.validateLabels("Prefer", j.Prefer), j.validateLabels("Avoid", j.Avoid))
}

func (j Job) validateLabels(field string, labels []string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%w: Job.%s of %q has %d labels, at most %d are allowed", ErrInvalidConfig, field, j.Name, len(labels), maxLabels)
	}
	for i, label := range labels {
		if err := validateText(fmt.Sprintf("Job.%s of %q", field, j.Name), label, maxLabel+len("=")+maxLabel); err != nil {
			return err
		}
		key, _, ok := strings.Cut(label, "=")
		if !ok {
			return fmt.Errorf("%w: Job.%s of %q: label %q is not key=value", ErrInvalidConfig, field, j.Name, label)
		}
		if err := validateKey(fmt.Sprintf("Job.%s of %q: label", field, j.Name), key); err != nil {
			return err
		}
		if slices.Contains(labels[:i], label) {
			return fmt.Errorf("%w: Job.%s of %q has label %q twice", ErrInvalidConfig, field, j.Name, label)
		}
		if field == "Avoid" && slices.Contains(j.Prefer, label) {
			return fmt.Errorf("%w: Job.Prefer and Job.Avoid of %q both have label %q", ErrInvalidConfig, j.Name, label)
		}
	}
	return nil
}

// needsBalancing names what of the job has no effect without WithLoadBalancing.
func (j Job) needsBalancing() string {
	switch {
	case j.Weight > 1:
		return "Weight"
	case j.Prepare != nil:
		return "Prepare"
	case j.SaysReady:
		return "SaysReady"
	case len(j.Prefer) > 0:
		return "Prefer"
	case len(j.Avoid) > 0:
		return "Avoid"
	}
	return ""
}

// info is what others have to know.
func (j Job) info() JobInfo {
	return JobInfo{Name: j.Name, Weight: max(j.Weight, 1), Prefer: slices.Clone(j.Prefer), Avoid: slices.Clone(j.Avoid)}
}

func validateJobName(name string) error { return validateText("Job.Name", name, maxJobName) }

// validateNode checks the names of a node. The documents of an app called "a/nodes"
// would be among those of "a".
func validateNode(app, instance string) error {
	if err := validateText("app name", app, maxAppName); err != nil {
		return err
	}
	if strings.Contains(app, "/") {
		return fmt.Errorf("%w: app name %q must not contain \"/\"", ErrInvalidConfig, app)
	}
	return validateText("instance name", instance, maxInstance)
}

func validateText(field, s string, limit int) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: %s is empty", ErrInvalidConfig, field)
	case len(s) > limit:
		return fmt.Errorf("%w: %s %.20q... has %d bytes, at most %d are allowed", ErrInvalidConfig, field, s, len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s %q is not valid UTF-8", ErrInvalidConfig, field, s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%w: %s %q contains a control character", ErrInvalidConfig, field, s)
	}
	return nil
}

// PanicError is the error of a Work that panicked, in [Hooks], and with
// [WithStopOnError] what Execute returns, wrapped.
type PanicError struct {
	Value any    // what the Work panicked with
	Stack []byte // the stack of the panic, as debug.Stack prints it
}

// Error returns the panic's value on one line, cut after some 200 bytes. The
// stack is not in it.
func (e *PanicError) Error() string {
	return "panic: " + oneLine(fmt.Sprint(e.Value), 200)
}

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// oneLine escapes what does not print, as Go does, and cuts s at some limit.
func oneLine(s string, limit int) string {
	var line strings.Builder
	for _, r := range s {
		if line.Len() >= limit {
			line.WriteString("...")
			break
		}
		if strconv.IsPrint(r) {
			line.WriteRune(r)
		} else {
			line.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return line.String()
}

var errGoexit = errors.New("Work called runtime.Goexit, as FailNow of a test does, and did not return")

// runWork calls work, which is a Work, and hands its outcome to report before anything above it on
// the stack goes on, also when Work panics (the panic ends here) or calls
// runtime.Goexit (which cannot be stopped: the deferred calls above still run).
func runWork(ctx context.Context, work func(context.Context) error, report func(error)) {
	err := errGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		report(err)
	}()
	returned := work(ctx)
	examine(returned)
	err = returned
}

// examine asks of err what is asked of it later. If that panics, as Error does in a
// nil pointer that was returned as an error, Work has panicked.
func examine(err error) {
	if err != nil {
		_ = err.Error()
		_ = isPanic(err) || errors.Is(err, ErrDone) || errors.Is(err, ErrNotAlive)
	}
}

// logFailure says that the Work under l failed with err. The stack of a panic is
// an attribute: handlers that write lines keep it in one.
func (l *Leadership) logFailure(r JobRecord, err error) {
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		l.owner.log.Warn("work failed, trying again", "job", l.name, "token", l.token, "error", err, "failures", r.Failures, "pause", r.Pause, "stack", string(panicked.Stack))
		return
	}
	l.owner.log.Warn("work failed, trying again", "job", l.name, "token", l.token, "error", err, "failures", r.Failures, "pause", r.Pause)
}

// logEnd says so if it ends the processor.
func (l *Leadership) logEnd(err error) {
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		l.owner.log.Error("work failed", "job", l.name, "token", l.token, "error", err, "stack", string(panicked.Stack))
		return
	}
	l.owner.log.Error("work failed", "job", l.name, "token", l.token, "error", err)
}

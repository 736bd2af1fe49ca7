package distributed

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Job is a stateful part of a service that must run on one node at a time.
type Job struct {
	// Name identifies the job among all nodes of the app: 1 to 512 bytes of
	// UTF-8 without control characters. It may contain "/", but none of its
	// parts after the first may be "leader".
	Name string

	// Work is what the job does. It is called while this node leads the job,
	// in the goroutine that won the election, and never twice at once.
	//
	// ctx carries the values of the context given to Execute, and the
	// leadership ([LeadershipFromContext]). It is done when the leadership
	// ends; context.Cause tells why: [ErrLeadershipLost], [ErrTermEnded], the
	// cause of Execute's context, or the error that stops the processor. Work
	// must then return soon: other nodes may start the job a grace period later
	// when leadership was lost, and wait for its return otherwise.
	//
	// What it returns matters only while ctx is not done: nil releases the job
	// and campaigns again after a pause of 1 s; an error stops the processor. A
	// panic stops it at any time.
	Work func(ctx context.Context) error
}

const (
	maxAppName  = 128
	maxInstance = 256
	maxJobName  = 512
)

func (j Job) validate() error {
	if err := validateJobName(j.Name); err != nil {
		return err
	}
	if j.Work == nil {
		return fmt.Errorf("%w: Job.Work of %q is nil", ErrInvalidConfig, j.Name)
	}
	return nil
}

// validateJobName also keeps a job's candidates out of the queue of another
// job: etcd's elections take everything below "<app>/<job>/leader/" for theirs.
func validateJobName(name string) error {
	if err := validateText("Job.Name", name, maxJobName); err != nil {
		return err
	}
	if strings.Contains(name+"/", "/leader/") {
		return fmt.Errorf("%w: Job.Name %q: no part after the first may be \"leader\"", ErrInvalidConfig, name)
	}
	return nil
}

// validateNode checks the names of a node. An app with a "/" could collide with
// the jobs of another one: "a" running "b/c", and "a/b" running "c".
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

// PanicError is what Execute returns, wrapped, when a Work panicked.
type PanicError struct {
	Value any    // what the Work panicked with
	Stack []byte // the stack of the panic, as debug.Stack prints it
}

// Error returns the panic's value and its stack, on several lines.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errGoexit = errors.New("Work called runtime.Goexit")

// run calls Work and hands its outcome to report before anything above it on
// the stack goes on, also when Work panics (the panic ends here) or calls
// runtime.Goexit (which cannot be stopped: the deferred calls above still run).
func (j Job) run(ctx context.Context, report func(error)) {
	err := errGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		report(err)
	}()
	err = j.Work(ctx)
}

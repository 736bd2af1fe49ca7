//go:build unix

// Package process runs copies of the running program as its children, for tests
// and demos that kill and freeze them.
package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/grpclog"
)

const (
	roleEnv   = "PROCESS_ROLE"
	configEnv = "PROCESS_CONFIG"
)

// Role is what a child does with the configuration that its parent gave it, in
// JSON. It ends when the child is to end.
type Role func(config []byte) error

// RoleOf makes a role of a function that takes its configuration decoded.
func RoleOf[C any](run func(C) error) Role {
	return func(data []byte) error {
		var config C
		if err := json.Unmarshal(data, &config); err != nil {
			return err
		}
		return run(config)
	}
}

// RunRole makes this process what its parent wants it to be, and does not return
// then. main, or TestMain, calls it first thing.
func RunRole(roles map[string]Role) {
	role := os.Getenv(roleEnv)
	if role == "" {
		return
	}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	err := fmt.Errorf("there is no role %q", role)
	if run, ok := roles[role]; ok {
		err = run([]byte(os.Getenv(configEnv)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ExitWhenOrphaned exits when the parent is gone. A role calls it first thing.
func ExitWhenOrphaned() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
}

// Process is a child. It dies with its parent: by the end of its standard input
// and, on Linux, by the kernel's doing. All methods are safe for concurrent use.
type Process struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has been reaped
	err   error         // of Wait, then
	stdin io.Closer
}

// spawn starts children on a thread that never ends: on Linux, the death of a
// parent means the death of the thread.
var spawn = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go spawnAll(calls)
	return calls
})

func spawnAll(calls <-chan func()) {
	runtime.LockOSThread()
	for call := range calls {
		call()
	}
}

// Start starts a copy of this program in a role, with its output going to log.
func Start(role string, config any, log io.Writer) (*Process, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, configEnv+"="+string(data))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	spawn() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), stdin: stdin}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// ID returns the process ID.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Signal sends a signal, unless the process has ended.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the process at once, also one that is paused, and waits for that.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Pause freezes the process.
func (p *Process) Pause() { p.Signal(syscall.SIGSTOP) }

// Resume wakes a process that was paused.
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }

// End asks the process to end, and kills it if it does not. It returns how it
// ended.
func (p *Process) End(within time.Duration) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.Kill()
		return errors.New("did not end when asked to")
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the process ended, once it has.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

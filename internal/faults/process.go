package faults

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

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/grpclog"
)

const (
	roleEnv   = "FAULTS_ROLE"
	configEnv = "FAULTS_CONFIG"

	memberRole = "member"
	nodeRole   = "node"
)

// RunRole makes this process what its parent wants it to be, and does not return
// then. TestMain calls it first thing.
func RunRole() {
	role := os.Getenv(roleEnv)
	if role == "" {
		return
	}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	err := fmt.Errorf("there is no role %q", role)
	switch config := []byte(os.Getenv(configEnv)); role {
	case memberRole:
		err = withConfig(config, runMember)
	case nodeRole:
		err = withConfig(config, runNode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func withConfig[C any](data []byte, run func(C) error) error {
	var config C
	if err := json.Unmarshal(data, &config); err != nil {
		return err
	}
	return run(config)
}

// process is a child. It dies with its parent: by the kernel's doing, and by the
// end of its standard input.
type process struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has been reaped
	err   error         // of Wait, then
	stdin io.Closer

	mu      sync.Mutex
	stopped bool // by SIGSTOP
}

// spawn starts children on a thread that never ends: Pdeathsig means the death
// of the thread.
var spawn = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

// startProcess starts a copy of this program in a role, with its output going to
// log.
func startProcess(role string, config any, log io.Writer) (*process, error) {
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	spawn() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{}), stdin: stdin}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// kill ends the process at once, also one that is paused, and waits for that.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// pause freezes the process; resume wakes it. They return when that was.
func (p *process) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal(syscall.SIGSTOP)
	p.stopped = true
	return monotonic()
}

func (p *process) resume() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := monotonic()
	p.signal(syscall.SIGCONT)
	p.stopped = false
	return now
}

// end asks the process to end, and kills it if it does not.
func (p *process) end(within time.Duration) error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.kill()
		return errors.New("did not end when asked to")
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// untilOrphaned exits when the parent is gone.
func exitWhenOrphaned() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// stallMeter measures how late the machine wakes who sleeps: what it cannot do
// in time, no library can.
type stallMeter struct {
	stop chan struct{}
	done chan struct{}
	mu   sync.Mutex
	most time.Duration
}

func startStallMeter() *stallMeter {
	m := &stallMeter{stop: make(chan struct{}), done: make(chan struct{})}
	go m.run()
	return m
}

func (m *stallMeter) run() {
	defer close(m.done)
	const nap = 2 * time.Millisecond
	for {
		began := time.Now()
		select {
		case <-m.stop:
			return
		case <-time.After(nap):
		}
		late := time.Since(began) - nap
		m.mu.Lock()
		m.most = max(m.most, late)
		m.mu.Unlock()
	}
}

func (m *stallMeter) worst() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}

func (m *stallMeter) close() {
	close(m.stop)
	<-m.done
}

var silent = zapcore.NewNopCore()

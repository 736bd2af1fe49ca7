//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// childCommand, as the first argument, makes this program one of the processes
// that it starts. The second says which, the third what it is to do.
const childCommand = "-child"

var roles = map[string]func(ctx context.Context, spec []byte) error{
	"etcd":  serveETCD,
	"fleet": measureFleet,
	"node":  runNode,
}

// runChild is main in a child. Its context is done when its standard input
// ends: a child does not outlive its parent.
func runChild(args []string) (isChild bool, err error) {
	if len(args) != 3 || args[0] != childCommand {
		return false, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return true, roles[args[1]](ctx, []byte(args[2]))
}

// stopTimeout is how long a child may take to end in order.
const stopTimeout = 40 * time.Second

// child is a process that we have started.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner // of its standard output
}

// startChild starts a process. The caller stops it, which also happens when ctx
// is done.
func startChild(ctx context.Context, role string, spec any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	what, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, childCommand, role, string(what))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = stdin.Close // it ends by itself then
	cmd.WaitDelay = stopTimeout
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}, nil
}

// line returns the next line that the child has printed.
func (c *child) line() (string, error) {
	if c.lines.Scan() {
		return c.lines.Text(), nil
	}
	return "", fmt.Errorf("process ended early: %w", errors.Join(c.lines.Err(), io.EOF))
}

// wait returns how the process ended, after its standard output was read.
func (c *child) wait() error {
	defer c.stdin.Close()
	return c.cmd.Wait()
}

// stop lets the process end, and waits for that. A second stop does nothing.
func (c *child) stop() {
	defer time.AfterFunc(stopTimeout, func() { _ = c.cmd.Process.Kill() }).Stop()
	_ = c.stdin.Close()
	_ = c.cmd.Wait() // what it has to say is on standard error
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	_ = c.cmd.Wait()
}

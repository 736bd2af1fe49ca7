package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// demo is a demo that runs, as a process of its own.
type demo struct {
	address string // of its page
	cmd     *exec.Cmd
	dir     string // of the program
	rest    chan struct{}
}

var address = regexp.MustCompile(`http://\S+/`)

// startDemo builds and starts a demo, and returns when it has said where its page
// is. What it says goes to the terminal as well.
func startDemo(ctx context.Context, name, pause string) (_ *demo, err error) {
	d := &demo{rest: make(chan struct{})}
	if d.dir, err = os.MkdirTemp("", "record-"); err != nil {
		return nil, err
	}
	program := filepath.Join(d.dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./examples/"+name)
	build.Dir, build.Stderr = "../..", os.Stderr
	if err := build.Run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	d.cmd = exec.CommandContext(ctx, program, "-listen", "127.0.0.1:0", "-pause", pause)
	d.cmd.Stderr = os.Stderr
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(os.Interrupt) }
	d.cmd.WaitDelay = time.Minute
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	lines := bufio.NewReader(io.TeeReader(out, os.Stdout))
	for d.address == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			close(d.rest)
			return nil, errors.Join(err, d.end())
		}
		d.address = address.FindString(line)
	}
	go func() {
		defer close(d.rest)
		_, _ = io.Copy(io.Discard, lines) // the terminal has it
	}()
	return d, nil
}

// end ends the demo, and returns an error if its verdict is bad.
func (d *demo) end() error {
	_ = d.cmd.Process.Signal(os.Interrupt)
	<-d.rest
	return errors.Join(d.cmd.Wait(), os.RemoveAll(d.dir))
}

package verify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Event is what a [Record] says about a run.
type Event string

// The events of a run: one start, any number of ticks, at most one stop and at
// most one end, which is missing when the process died.
const (
	Start Event = "start"
	Tick  Event = "tick"
	Stop  Event = "stop"
	End   Event = "end"
)

// Record is a line of a file: something happened to a run. [Writer] writes them. A
// program in another language must fill in Job, Process, Run, Event and Wall at least,
// and Token if tokens are to be checked.
type Record struct {
	Job     string `json:"job"`
	Node    string `json:"node"`    // the name of the instance
	Process string `json:"process"` // differs between any two processes
	Run     int64  `json:"run"`     // counts the runs of a process, from 1
	Token   int64  `json:"token"`   // the fencing token of the leadership
	Event   Event  `json:"event"`
	Mono    int64  `json:"mono,omitempty"` // CLOCK_MONOTONIC in nanoseconds
	Boot    string `json:"boot,omitempty"` // what mono counts from; empty if there is no mono
	Wall    int64  `json:"wall"`           // Unix time in nanoseconds
}

func (r Record) validate() error {
	switch {
	case r.Job == "":
		return errors.New("job is empty")
	case r.Process == "":
		return errors.New("process is empty")
	case r.Event != Start && r.Event != Tick && r.Event != Stop && r.Event != End:
		return fmt.Errorf("event is %q: must be start, tick, stop or end", r.Event)
	}
	return nil
}

// Read reads records until the end of r. A last line that does not end in a
// newline is ignored: the machine went down while it was written. Any other line
// that is not a record is an error with its number, as is an error of r, which
// is wrapped. It does not close r.
func Read(r io.Reader) ([]Record, error) {
	var records []Record
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, fmt.Errorf("verify: line %d: %w", n, err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var rec Record
		err = json.Unmarshal(line, &rec)
		if err == nil {
			err = rec.validate()
		}
		if err != nil {
			return nil, fmt.Errorf("verify: line %d: %w", n, err)
		}
		records = append(records, rec)
	}
}

// ReadFiles reads the records of all files, in this order. It returns the first
// error, with the path: that of [os.Open], wrapped, or that of [Read].
func ReadFiles(paths ...string) ([]Record, error) {
	var records []Record
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		some, err := Read(f)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		records = append(records, some...)
	}
	return records, nil
}

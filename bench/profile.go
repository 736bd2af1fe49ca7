//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profile returns the file for a profile of this fleet.
func (m *measurement) profile(kind string) (*os.File, error) {
	if err := os.MkdirAll(m.Profiles, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(m.Profiles, fmt.Sprintf("%s-jobs=%d-nodes=%d.%s", m.By, m.Jobs, m.Nodes, kind)))
}

// profileWaiting makes the runtime note where goroutines wait for one another,
// and every allocation.
func (m *measurement) profileWaiting() {
	if m.Profiles != "" {
		runtime.SetBlockProfileRate(1)
		runtime.SetMutexProfileFraction(1)
		runtime.MemProfileRate = 512
	}
}

// profileCPU profiles until the function that it returns is called. Of several
// profiles of a fleet only the first is kept: the node that runs all jobs.
func (m *measurement) profileCPU() (stop func(), err error) {
	if m.Profiles == "" || m.profiled {
		return func() {}, nil
	}
	m.profiled = true
	f, err := m.profile("cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

func (m *measurement) writeProfile(kind string) error {
	if m.Profiles == "" {
		return nil
	}
	f, err := m.profile(kind)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup(kind).WriteTo(f, 0), f.Close())
}

//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
)

// profile returns the file for a profile of this fleet.
func (m *measurement) profile(kind string) (*os.File, error) {
	if err := os.MkdirAll(m.Profiles, 0o755); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-jobs=%d-nodes=%d", m.By, m.Jobs, m.Nodes)
	if m.Scale {
		name += fmt.Sprintf("-apart=%v", m.Apart)
	}
	return os.Create(filepath.Join(m.Profiles, name+"."+kind))
}

// profileWaiting makes the runtime note where goroutines wait for one another,
// and every allocation. Of many nodes it would be a profile of that alone.
func (m *measurement) profileWaiting() {
	if m.Profiles != "" && !m.Scale {
		runtime.SetBlockProfileRate(1)
		runtime.SetMutexProfileFraction(1)
		runtime.MemProfileRate = 512
	}
}

// profileCPU profiles until the function that it returns is called. Of several
// profiles of a kind only the first is kept: the node that runs all jobs.
func (m *measurement) profileCPU(kind string) (stop func(), err error) {
	if m.Profiles == "" || slices.Contains(m.profiled, kind) {
		return func() {}, nil
	}
	m.profiled = append(m.profiled, kind)
	f, err := m.profile(kind)
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

//go:build unix

package nodetest

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StallMeter measures how late the machine is with what a job does, who sleeps and then
// appends a record to a file: what the machine cannot do in time, no library can.
type StallMeter struct {
	stop chan struct{}
	done chan struct{}
	file *os.File
	mu   sync.Mutex
	most time.Duration
}

// StartStallMeter starts one that measures until the test ends.
func StartStallMeter(t *testing.T) *StallMeter {
	file, err := os.Create(filepath.Join(t.TempDir(), "stalls"))
	require.NoError(t, err)
	m := &StallMeter{stop: make(chan struct{}), done: make(chan struct{}), file: file}
	t.Cleanup(m.close)
	go m.run()
	return m
}

func (m *StallMeter) run() {
	defer close(m.done)
	const nap = 2 * time.Millisecond
	record := bytes.Repeat([]byte("x"), 200)
	for {
		began := time.Now()
		select {
		case <-m.stop:
			return
		case <-time.After(nap):
		}
		_, _ = m.file.Write(record) // only how long it takes counts
		late := time.Since(began) - nap
		m.mu.Lock()
		m.most = max(m.most, late)
		m.mu.Unlock()
	}
}

// Worst returns how late the machine has been at most.
func (m *StallMeter) Worst() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}

func (m *StallMeter) close() {
	close(m.stop)
	<-m.done
	_ = m.file.Close()
}

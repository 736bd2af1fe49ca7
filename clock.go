package distributed

import (
	"sync/atomic"
	"time"
)

// clock tells the time elapsed since it was made, including the time for which
// the host was suspended. Go's own clock, CLOCK_MONOTONIC, stands still then,
// while leases in the store run on. The clock that does not, CLOCK_BOOTTIME,
// costs a system call; so it is asked only when the wall clock has moved
// against the monotonic one, as it does on resume, and at each sync.
type clock struct {
	tell      func() time.Time // time.Now
	start     time.Time
	boot      func() (time.Duration, bool) // CLOCK_BOOTTIME, where there is one
	bootStart time.Duration
	suspended atomic.Int64 // nanoseconds, as of the last sync
	skew      atomic.Int64 // wall clock minus monotonic clock, both since start, as of the last sync
}

// clockTolerance is how far a suspension may go unnoticed, so validity ends
// that much early (see epsilon).
const clockTolerance = 20 * time.Millisecond

func newClock() *clock {
	c := &clock{tell: time.Now, start: time.Now().Add(-1), boot: bootTime} // it never tells 0, which means never
	c.bootStart, _ = c.boot()
	return c
}

// now does not allocate, and takes some 50 ns.
func (c *clock) now() time.Duration {
	elapsed, skew := c.read()
	if d := skew - c.skew.Load(); d > int64(clockTolerance) || d < -int64(clockTolerance) {
		return c.sync()
	}
	return elapsed + time.Duration(c.suspended.Load())
}

func (c *clock) read() (elapsed time.Duration, skew int64) {
	t := c.tell()
	elapsed = t.Sub(c.start)
	return elapsed, t.UnixNano() - c.start.UnixNano() - int64(elapsed)
}

// sync is now, with a look at CLOCK_BOOTTIME. The time suspended never falls.
func (c *clock) sync() time.Duration {
	elapsed, skew := c.read()
	if boot, ok := c.boot(); ok {
		suspended := int64(boot - c.bootStart - elapsed)
		for old := c.suspended.Load(); suspended > old && !c.suspended.CompareAndSwap(old, suspended); old = c.suspended.Load() {
		}
	}
	c.skew.Store(skew)
	return elapsed + time.Duration(c.suspended.Load())
}

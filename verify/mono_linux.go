package verify

import (
	"bytes"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(id))
})

// monotonic returns CLOCK_MONOTONIC, and what it counts from; nothing if one of
// them is not to be had.
func monotonic() (nanoseconds int64, boot string) {
	var ts unix.Timespec
	boot = bootID()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil || boot == "" {
		return 0, ""
	}
	return ts.Nano(), boot
}

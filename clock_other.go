//go:build !linux

package distributed

import "time"

func bootTime() (time.Duration, bool) { return 0, false }

//go:build !linux

package core

import "time"

func bootTime() (time.Duration, bool) { return 0, false }

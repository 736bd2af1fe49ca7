//go:build unix

package faults

import (
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/b2552be4/distributed/internal/process"
)

const (
	memberRole = "member"
	nodeRole   = "node"
)

// RunRole makes this process a member or a node if its parent wants that, and
// does not return then. TestMain calls it first thing.
func RunRole() {
	process.RunRole(map[string]process.Role{
		memberRole: process.RoleOf(runMember),
		nodeRole:   process.RoleOf(runNode),
	})
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

var silent = zapcore.NewNopCore()

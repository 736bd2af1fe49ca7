//go:build unix && !linux

package process

import "syscall"

// attributes keep the terminal's Ctrl-C from the child, which its parent ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

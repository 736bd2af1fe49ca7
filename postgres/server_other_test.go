//go:build unix && !linux

package postgres_test

import "syscall"

// attributes keep the terminal's Ctrl-C from a server.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

package postgres_test

import "syscall"

// attributes keep the terminal's Ctrl-C from a server, and let it die with the test.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

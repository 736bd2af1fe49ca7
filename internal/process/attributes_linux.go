package process

import "syscall"

// attributes keep the terminal's Ctrl-C from the child, which its parent ends,
// and let it die with its parent.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

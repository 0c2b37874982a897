package kubetest

import "syscall"

// withParent: the kernel kills the process when the thread ends that started it, so none
// is left when the tests are killed or run out of time.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

//go:build !linux

package local

import "syscall"

// childAttributes: only Linux kills children with their parent.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

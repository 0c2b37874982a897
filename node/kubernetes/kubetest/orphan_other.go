//go:build !linux

package kubetest

import "syscall"

// withParent: only Linux kills children with their parent.
func withParent() *syscall.SysProcAttr { return nil }

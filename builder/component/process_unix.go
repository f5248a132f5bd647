//go:build unix

package component

import "syscall"

// ownGroup starts a program as the leader of a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

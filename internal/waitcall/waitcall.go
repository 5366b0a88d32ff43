// Package waitcall makes system calls that are known to wait.
//
// A goroutine that makes a system call keeps its place among those that run (its P),
// in case it comes back soon. If it does not, the scheduler's monitor (sysmon) takes
// the place away: after 10 ms, or at its next look if the goroutine is never scheduled
// anew because it has its thread for itself. Having taken one, the monitor looks every
// 20 us for a while, some 60 times. A thread that waits a hundred times a second keeps it
// at that for good: thousands of timer interrupts a second, each of which takes a
// guest out where processors are few.
//
// Here the place is given away before the call, as in the runtime's own calls that
// wait. That costs a lock on both sides of the call.
package waitcall

import (
	"syscall"
	_ "unsafe" // for go:linkname
)

// Syscall6 makes a system call that is expected to wait. A pointer is converted in
// the call's expression, as for the functions of package syscall.
//
//go:uintptrescapes
//go:nosplit
//go:norace
func Syscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1 uintptr, errno syscall.Errno) {
	entersyscallblock()
	r1, _, errno = syscall.RawSyscall6(trap, a1, a2, a3, a4, a5, a6)
	exitsyscall()
	return r1, errno
}

// The runtime's ends of a system call. Between the two, nothing may need more stack.
// The runtime keeps them for other packages that use them (golang.org/issue/67401).

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

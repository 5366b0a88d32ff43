package imgio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct sigaction; its zero value is the default
// action.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// resetSignal gives a signal its default action, past Go's own handlers, which
// would print stacks. An error, of signals that can't be caught, does not matter.
func resetSignal(n syscall.Signal) {
	var sa sigaction
	// sa is alive because it is converted in the argument list of the call.
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&sa)), 0, unsafe.Sizeof(sa.mask), 0, 0)
}

// fatal reports whether the default action of a signal ends the process.
func fatal(n syscall.Signal) bool {
	switch n {
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGURG, syscall.SIGWINCH:
		return false
	}
	return n <= 64
}

package futex

import (
	"sync/atomic"
	"unsafe"

	"github.com/govmm/govmm/internal/waitcall"
	"golang.org/x/sys/unix"
)

// Operations of futex(2) on a word that no other process shares.
const (
	opWait = 0 | 128
	opWake = 1 | 128
)

// wait sleeps until word is woken, unless its value is not v any more. It may
// return early. The conversion stands in the call expression, which keeps the word
// alive and in place.
func wait(word *atomic.Uint32, v uint32) {
	_, _ = waitcall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), opWait, uintptr(v), 0, 0, 0)
}

// wake wakes at most n threads that wait for word; see wait.
func wake(word *atomic.Uint32, n int) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), opWake, uintptr(n), 0, 0, 0)
}

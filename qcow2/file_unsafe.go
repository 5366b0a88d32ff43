//go:build linux && (amd64 || arm64)

package qcow2

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovecs is the kernel's limit on the length of a vector (IOV_MAX).
const maxIovecs = 1024

// preadv reads into iov from offset off. The pointers in iov are typed, so the
// collector sees and keeps what they point to; iov itself is alive because it
// is converted in the argument list of the call.
func preadv(fd int, iov []unix.Iovec, off int64) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_PREADV, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)), uintptr(off), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// pwritev writes iov at offset off; see preadv.
func pwritev(fd int, iov []unix.Iovec, off int64) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_PWRITEV, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)), uintptr(off), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// preadvNowait is preadv that fails with EAGAIN where it would wait for the disk.
func preadvNowait(fd int, iov []unix.Iovec, off int64) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_PREADV2, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)), uintptr(off), 0, unix.RWF_NOWAIT)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// pwritevNowait is pwritev that fails with EAGAIN where it would wait.
func pwritevNowait(fd int, iov []unix.Iovec, off int64) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_PWRITEV2, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)), uintptr(off), 0, unix.RWF_NOWAIT)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// deviceSize is the capacity of a block device in bytes.
func deviceSize(fd int) (int64, error) {
	var n uint64
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return 0, e
	}
	return int64(n), nil
}

// address is where b begins in memory. Nothing is reached through it: it only
// says how b is aligned, and the heap's objects do not move.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// tableBytes is the memory of a table, to read one into it as files have it. Bytes need no
// alignment, and these live as long as t.
func tableBytes(t []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(t))), len(t)*8)
}

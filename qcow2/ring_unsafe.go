//go:build linux && (amd64 || arm64)

package qcow2

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Constants of linux/io_uring.h.
const (
	ringOpReadV  = 1
	ringOpWriteV = 2
	ringOpRead   = 22
	ringOpWrite  = 23

	ringClamp       = 1 << 4 // IORING_SETUP_CLAMP
	ringCoopTaskrun = 1 << 8 // IORING_SETUP_COOP_TASKRUN
	ringSingleMmap  = 1 << 0 // IORING_FEAT_SINGLE_MMAP
	ringNoDrop      = 1 << 1 // IORING_FEAT_NODROP
	ringOffSQEs     = 0x10000000
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// ringSQE is struct io_uring_sqe.
type ringSQE struct {
	opcode, flags uint8
	_             uint16
	fd            int32
	off           uint64
	addr          uint64
	len           uint32
	rwFlags       uint32
	userData      uint64
	_             [3]uint64
}

// ringCQE is struct io_uring_cqe.
type ringCQE struct {
	userData uint64
	res      int32
	flags    uint32
}

// ringMemory is what a ring shares with the kernel. The pointers lead into
// rings and sqes, which are mapped as long as the ring is.
type ringMemory struct {
	rings, entries []byte // as they were mapped
	sqHead, sqTail *atomic.Uint32
	cqHead, cqTail *atomic.Uint32
	sqMask, cqMask uint32
	sqes           []ringSQE
	cqes           []ringCQE
}

// setupRing makes a ring. A thread is not interrupted for the completions of
// what it submitted, where the host can do that (Linux 5.19): it takes them when
// it enters the kernel next, at the latest with the next tick.
func setupRing(entries uint32) (fd int, m ringMemory, err error) {
	var p ringParams
	var r uintptr
	for _, flags := range []uint32{ringClamp | ringCoopTaskrun, ringClamp} {
		p = ringParams{flags: flags}
		var e unix.Errno
		r, _, e = unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
		if e == 0 {
			break
		}
		if e != unix.EINVAL || flags == ringClamp {
			return -1, m, e
		}
	}
	fd = int(r)
	defer func() {
		if err != nil {
			m.unmap()
			unix.Close(fd)
		}
	}()
	if p.features&ringSingleMmap == 0 || p.features&ringNoDrop == 0 {
		return -1, m, unix.ENOSYS // Linux before 5.5
	}
	size := max(int(p.sq.array+p.sqEntries*4), int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(ringCQE{})))
	if m.rings, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return -1, m, err
	}
	size = int(p.sqEntries) * int(unsafe.Sizeof(ringSQE{}))
	if m.entries, err = unix.Mmap(fd, ringOffSQEs, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return -1, m, err
	}
	word := func(off uint32) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&m.rings[off])) }
	m.sqHead, m.sqTail, m.sqMask = word(p.sq.head), word(p.sq.tail), word(p.sq.mask).Load()
	m.cqHead, m.cqTail, m.cqMask = word(p.cq.head), word(p.cq.tail), word(p.cq.mask).Load()
	m.sqes = unsafe.Slice((*ringSQE)(unsafe.Pointer(&m.entries[0])), p.sqEntries)
	m.cqes = unsafe.Slice((*ringCQE)(unsafe.Pointer(&m.rings[p.cq.cqes])), p.cqEntries)
	// Entry i of the submission queue is always the i-th of the array.
	for i := range p.sqEntries {
		word(p.sq.array + i*4).Store(i)
	}
	return fd, m, nil
}

func (m *ringMemory) unmap() {
	if m.rings != nil {
		_ = unix.Munmap(m.rings)
	}
	if m.entries != nil {
		_ = unix.Munmap(m.entries)
	}
}

// target sets what e moves: one buffer or a vector of them, which must stay
// where they are, and alive, until e completed.
func (e *ringSQE) target(write bool, iov []unix.Iovec) {
	if len(iov) == 1 {
		e.opcode = ringOpRead
		e.addr, e.len = uint64(uintptr(unsafe.Pointer(iov[0].Base))), uint32(iov[0].Len)
	} else {
		e.opcode = ringOpReadV
		e.addr, e.len = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(iov)))), uint32(len(iov))
	}
	if write {
		e.opcode++
	}
}

// enterRing submits n entries.
func enterRing(fd int, n uint32) (int, error) {
	r, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(n), 0, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

package qcow2

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// directIO is what an OSFile that was opened with O_DIRECT needs: transfers that
// bypass the host's page cache must be aligned in the file and in memory. Those
// that are not go through a buffer.
type directIO struct {
	mem uintptr // alignment of memory addresses, a power of two
	off int64   // alignment of offsets and lengths, a power of two

	// blocks keeps writes apart that share a block: a write of part of one reads
	// the rest first, and holds it exclusively; whole blocks share it.
	blocks  sync.RWMutex
	buffers sync.Pool // of *[]byte, bounceSize long and aligned
	ring    *ring
}

// bounceSize is the most that one transfer moves through a buffer, in bytes.
const bounceSize = 256 << 10

// directAlignment is what hosts that do not tell are assumed to need.
const directAlignment = 4096

// Direct reports whether transfers bypass the host's page cache.
func (f *OSFile) Direct() bool { return f.direct != nil }

// newDirectIO finds out what direct transfers with fd need.
func newDirectIO(fd int) (*directIO, error) {
	d := &directIO{mem: directAlignment, off: directAlignment}
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 {
		if st.Dio_offset_align == 0 {
			return nil, errors.New("the file system has no direct I/O")
		}
		d.mem, d.off = uintptr(st.Dio_mem_align), int64(st.Dio_offset_align)
	}
	if d.off > bounceSize || d.mem > directAlignment {
		return nil, fmt.Errorf("direct I/O needs an alignment of %d bytes in the file and %d in memory", d.off, d.mem)
	}
	d.buffers.New = func() any { b := alignedBuffer(bounceSize); return &b }
	if r, err := newRing(fd); err == nil { // else by system calls
		d.ring = r
	}
	return d, nil
}

// UsesRing reports whether transfers go through io_uring: those of a file that
// was opened with O_DIRECT, where the host has io_uring and allows it. All others
// are system calls.
func (f *OSFile) UsesRing() bool { return f.direct != nil && f.direct.ring != nil }

// alignedBuffer returns n bytes at an address that every direct transfer may use.
func alignedBuffer(n int) []byte { return aligned(make([]byte, n+directAlignment), n) }

// aligned is the part of b, which has directAlignment bytes more, that begins at such an
// address.
func aligned(b []byte, n int) []byte {
	skip := -address(b) & (directAlignment - 1)
	return b[skip : skip+uintptr(n) : skip+uintptr(n)]
}

// fits reports whether a transfer can go straight from or to bufs.
func (d *directIO) fits(bufs [][]byte, off int64) bool {
	if off&(d.off-1) != 0 {
		return false
	}
	for _, b := range bufs {
		if int64(len(b))&(d.off-1) != 0 || address(b)&(d.mem-1) != 0 {
			return false
		}
	}
	return true
}

// readBounced reads through a buffer.
func (f *OSFile) readBounced(bufs [][]byte, off int64) error {
	d := f.direct
	bounce := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(bounce)
	for n := vecLen(bufs); n > 0; {
		start := off &^ (d.off - 1)
		within := off - start
		step := min(n, bounceSize-within)
		part := (*bounce)[:roundTo(within+step, d.off)]
		if err := f.transfer("read", [][]byte{part}, start, unix.Pread, preadv); err != nil {
			return err
		}
		bufs = scatter(bufs, part[within:within+step])
		off, n = off+step, n-step
	}
	return nil
}

// writeBounced writes through a buffer. Of blocks that it covers in part, it
// reads the rest before; the file does not become longer by that.
func (f *OSFile) writeBounced(bufs [][]byte, off int64) error {
	d := f.direct
	bounce := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(bounce)
	d.blocks.Lock()
	defer d.blocks.Unlock()
	size, err := f.Size()
	if err != nil {
		return err
	}
	var c cursor
	c.bufs = bufs
	end := off
	for n := vecLen(bufs); n > 0; {
		start := off &^ (d.off - 1)
		within := off - start
		step := min(n, bounceSize-within)
		part := (*bounce)[:roundTo(within+step, d.off)]
		last := part[int64(len(part))-d.off:]
		if within > 0 {
			err = f.transfer("read", [][]byte{part[:d.off]}, start, unix.Pread, preadv)
		}
		if err == nil && int64(len(part)) > within+step && (within == 0 || int64(len(part)) > d.off) {
			err = f.transfer("read", [][]byte{last}, start+int64(len(part))-d.off, unix.Pread, preadv)
		}
		if err != nil {
			return err
		}
		gather(part[within:within+step], c.next(step))
		if err := f.transfer("write", [][]byte{part}, start, unix.Pwrite, pwritev); err != nil {
			return err
		}
		off, n = off+step, n-step
		end = start + int64(len(part))
	}
	if end > size && end > off && !f.device {
		return f.wrap("truncate", retryEINTR(func() error { return unix.Ftruncate(f.fd, max(size, off)) }))
	}
	return nil
}

// shareBlocks keeps writes of parts of blocks out until the result is called.
func (f *OSFile) shareBlocks() (done func()) {
	if f.direct == nil {
		return func() {}
	}
	f.direct.blocks.RLock()
	return f.direct.blocks.RUnlock
}

// scatter fills bufs with the bytes of p, and returns what of bufs is left.
func scatter(bufs [][]byte, p []byte) [][]byte {
	var c cursor
	c.bufs = bufs
	for _, b := range c.next(int64(len(p))) {
		p = p[copy(b, p):]
	}
	if c.skip == 0 {
		return c.bufs
	}
	return append([][]byte{c.bufs[0][c.skip:]}, c.bufs[1:]...)
}

// gather fills p from bufs.
func gather(p []byte, bufs [][]byte) {
	for _, b := range bufs {
		p = p[copy(p, b):]
	}
}

// roundTo rounds n up to a multiple of unit, a power of two.
func roundTo(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }

package qcow2

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// brief is how writes into the page cache of ext4 and tmpfs are tried, which can't
// say beforehand whether a write would wait (pwritev2 has no RWF_NOWAIT there).
// Such a write copies to memory, and is as brief as a read, unless something
// particular happens in the host, and most of that can be told:
//
//   - A part of a page has to be read from the disk first: tried is what fills
//     pages, or parts of pages that are in the cache.
//   - The file's lock is taken by somebody else, who may wait with it: nothing is
//     tried while another write, a change of the file's storage or a sync is under way
//     here.
//   - The host holds writers back (dirty pages past its limits, a journal that is
//     full): a write that took long closes the gate for a hundred times as long. So
//     whoever tries spends at most a hundredth of the time waiting.
type brief struct {
	allowed atomic.Bool // the file system is one of those
	busy    atomic.Int64
	closed  atomic.Int64 // in nanoseconds since epoch: till then nothing is tried
}

// Of a write that is tried.
const (
	briefLimit = time.Millisecond // past that it took long
	briefShare = 100              // times what it took, nothing is tried
)

// briefEpoch is what the gate's times count from.
var briefEpoch = time.Now()

// pageMask has the bits of an offset inside a page of the host's memory.
var pageMask = int64(unix.Getpagesize() - 1)

// find tells whether the file system is one whose writes are brief: local, and
// without a cheap way to ask.
func (b *brief) find(fd int) {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) == nil {
		b.allowed.Store(st.Type == unix.EXT4_SUPER_MAGIC || st.Type == unix.TMPFS_MAGIC)
	}
}

// enter says that something is under way that may wait. Each has its leave.
func (b *brief) enter() { b.busy.Add(1) }
func (b *brief) leave() { b.busy.Add(-1) }

// open reports whether a write may be tried now.
func (b *brief) open(now time.Duration) bool {
	return b.allowed.Load() && b.busy.Load() == 0 && int64(now) >= b.closed.Load()
}

// took learns how long a write took that ended now.
func (b *brief) took(d, now time.Duration) {
	if d >= briefLimit {
		b.closed.Store(int64(now + briefShare*d))
	}
}

// tryBrief is TryWriteV for such a file system.
func (f *OSFile) tryBrief(bufs [][]byte, off int64) bool {
	start := time.Since(briefEpoch)
	if !f.brief.open(start) || !f.readable(off) || !f.readable(off+vecLen(bufs)) {
		return false
	}
	n, err := f.vectored(bufs, 0, off, pwritev)
	now := time.Since(briefEpoch)
	f.brief.took(now-start, now)
	return err == nil && int64(n) == vecLen(bufs)
}

// readable reports whether off divides no page, or one that the host has in its cache.
func (f *OSFile) readable(off int64) bool {
	if off&pageMask == 0 {
		return true
	}
	p := f.probes.Get().(*probe)
	p.list[0] = p.one[:]
	done := f.TryReadV(p.list[:], off)
	f.probes.Put(p)
	return done
}

// probe is what a byte is read into.
type probe struct {
	one  [1]byte
	list [1][]byte
}

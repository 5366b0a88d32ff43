package qcow2

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// TryReadV implements Trier: it reads what is in the page cache (preadv2 with
// RWF_NOWAIT). What ends at the end of the file is left to ReadV.
func (f *OSFile) TryReadV(bufs [][]byte, off int64) bool {
	return f.try(&f.readWaits, bufs, off, preadvNowait)
}

// TryWriteV implements Trier by pwritev2 with RWF_NOWAIT, which XFS and Btrfs have,
// and elsewhere by what is known of the file system (see brief). It is not done on
// others.
func (f *OSFile) TryWriteV(bufs [][]byte, off int64) bool {
	var done bool
	switch {
	case !f.writeWaits.Load():
		if done = f.try(&f.writeWaits, bufs, off, pwritevNowait); f.writeWaits.Load() {
			f.brief.find(f.fd)
		}
	case !f.brief.allowed.Load() || len(bufs) > maxIovecs:
		return false
	default:
		done = f.tryBrief(bufs, off)
	}
	f.writes.Add(1) // see WriteV
	return done
}

// try makes a transfer in one system call that does not wait. waits says, and
// learns, that there is none for this file; for direct I/O there is none, as the
// disk itself is to be waited for.
func (f *OSFile) try(waits *atomic.Bool, bufs [][]byte, off int64, once func(int, []unix.Iovec, int64) (int, error)) bool {
	if f.direct != nil || waits.Load() || len(bufs) > maxIovecs {
		return false
	}
	n, err := f.vectored(bufs, 0, off, once)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		waits.Store(true)
	}
	return err == nil && int64(n) == vecLen(bufs)
}

var _ Trier = (*OSFile)(nil)

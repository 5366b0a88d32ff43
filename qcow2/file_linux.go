package qcow2

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// OSFile is a File on the host: a regular file or a device.
type OSFile struct {
	path   string
	fd     int
	device bool      // a block or character device: the size is fixed
	char   bool      // a character device
	direct *directIO // nil unless opened with O_DIRECT

	iovecs  sync.Pool // of *[]unix.Iovec
	starts  sync.Pool // of *started
	writes  atomic.Uint64
	synced  atomic.Uint64
	flushes joiner
	fsync   func() error // bound once, so that Sync does not allocate
	unsafe  bool         // Sync does nothing

	locks lockState // see Lock

	noPunch atomic.Bool // the host refused hole punching once
	noZero  atomic.Bool // the host refused zeroing ranges once

	readWaits, writeWaits atomic.Bool // the host can't say whether a transfer would wait

	brief  brief     // what is tried where writeWaits
	probes sync.Pool // of *probe

	spliceState atomic.Int32 // see splices
}

// OpenFile opens path with the flags of os.OpenFile (os.O_RDONLY, os.O_RDWR,
// os.O_CREATE, os.O_EXCL, os.O_TRUNC) and O_DIRECT, with which transfers bypass
// the host's page cache: straight from and to the caller's memory where that is
// aligned as the host needs it, else through a buffer. Directories and what else
// is neither a regular file nor a device with a size are refused.
func OpenFile(path string, flags int) (*OSFile, error) {
	f := &OSFile{path: path}
	err := retryEINTR(func() (err error) {
		f.fd, err = unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o644)
		return err
	})
	if err != nil {
		return nil, f.wrap("open", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		unix.Close(f.fd)
		return nil, f.wrap("stat", err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
		f.device = true
	case unix.S_IFCHR:
		_, err := unix.Seek(f.fd, 0, unix.SEEK_END) // which a terminal does not know
		f.device, f.char = err == nil, true
		fallthrough
	default:
		if !f.device {
			unix.Close(f.fd)
			return nil, f.wrap("open", errors.New("neither a regular file nor a device with a size"))
		}
	}
	if flags&unix.O_DIRECT != 0 {
		var err error
		if f.direct, err = newDirectIO(f.fd); err != nil {
			unix.Close(f.fd)
			return nil, f.wrap("open", err)
		}
	}
	f.probes.New = func() any { return new(probe) }
	f.iovecs.New = func() any { v := make([]unix.Iovec, 0, 64); return &v }
	f.fsync = f.syncNow
	return f, nil
}

// Path is the name that the file was opened by.
func (f *OSFile) Path() string { return f.path }

// FileID tells files apart, whatever names they were opened by.
type FileID struct {
	device bool
	dev    uint64 // the file system or, for a block device, the device itself
	inode  uint64
}

// Identity returns what the file is: equal for two names of one file, and for
// two nodes of one block device.
func (f *OSFile) Identity() (FileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return FileID{}, f.wrap("stat", err)
	}
	if f.device && !f.char {
		return FileID{device: true, dev: st.Rdev}, nil
	}
	return FileID{dev: st.Dev, inode: st.Ino}, nil
}

// ReadV implements File with preadv.
func (f *OSFile) ReadV(bufs [][]byte, off int64) error {
	if f.direct != nil && !f.direct.fits(bufs, off) {
		return f.readBounced(bufs, off)
	}
	return f.transfer("read", bufs, off, unix.Pread, preadv)
}

// WriteV implements File with pwritev.
func (f *OSFile) WriteV(bufs [][]byte, off int64) error {
	var err error
	switch {
	case f.direct == nil:
		f.brief.enter()
		err = f.transfer("write", bufs, off, unix.Pwrite, pwritev)
		f.brief.leave()
	case f.direct.fits(bufs, off):
		f.direct.blocks.RLock()
		err = f.transfer("write", bufs, off, unix.Pwrite, pwritev)
		f.direct.blocks.RUnlock()
	default:
		err = f.writeBounced(bufs, off)
	}
	f.writes.Add(1) // also after an error: part of it may have been written
	return err
}

// transfer moves bufs from or to the file, as often as short transfers and the
// limit on vector lengths ask for.
func (f *OSFile) transfer(op string, bufs [][]byte, off int64,
	one func(int, []byte, int64) (int, error), many func(int, []unix.Iovec, int64) (int, error)) error {
	skip := 0 // bytes of bufs[0] that are done
	for {
		for len(bufs) > 0 && skip == len(bufs[0]) {
			bufs, skip = bufs[1:], 0
		}
		if len(bufs) == 0 {
			return nil
		}
		var n int
		var err error
		switch {
		case f.direct != nil && f.direct.ring != nil:
			n, err = f.throughRing(op == "write", bufs, skip, off, many)
		case len(bufs) == 1:
			n, err = one(f.fd, bufs[0][skip:], off)
		default:
			n, err = f.vectored(bufs, skip, off, many)
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return f.wrap(op, err)
		case op == "read" && (n == 0 || f.endsAt(off+int64(n))):
			clearVec(bufs, skip+n)
			return nil
		case n == 0:
			return f.wrap(op, unix.ENOSPC)
		}
		off += int64(n)
		for n > 0 {
			step := min(n, len(bufs[0])-skip)
			n -= step
			if skip += step; skip == len(bufs[0]) {
				bufs, skip = bufs[1:], 0
			}
		}
	}
}

// endsAt reports whether a read that ended at off got to the end of the file:
// direct reads end inside a block nowhere else.
func (f *OSFile) endsAt(off int64) bool { return f.direct != nil && off&(f.direct.off-1) != 0 }

// vectored does one preadv or pwritev of at most maxIovecs elements of bufs.
func (f *OSFile) vectored(bufs [][]byte, skip int, off int64, many func(int, []unix.Iovec, int64) (int, error)) (int, error) {
	v := f.iovecs.Get().(*[]unix.Iovec)
	iov := appendIovecs((*v)[:0], bufs, skip)
	n, err := many(f.fd, iov, off)
	clear(iov) // the pool must not keep the caller's memory alive
	*v = iov
	f.iovecs.Put(v)
	return n, err
}

// throughRing does what vectored does by the ring. A transfer that is alone is a
// system call: it need not wait for another goroutine.
func (f *OSFile) throughRing(write bool, bufs [][]byte, skip int, off int64, many func(int, []unix.Iovec, int64) (int, error)) (int, error) {
	r := f.direct.ring
	defer r.active.Add(-1)
	if r.active.Add(1) > 1 {
		if n, err, ok := r.transfer(write, bufs, skip, off); ok {
			return n, err
		}
	}
	return f.vectored(bufs, skip, off, many)
}

// appendIovecs appends what of bufs comes after the first skip bytes of its
// first element, as much as one system call takes.
func appendIovecs(iov []unix.Iovec, bufs [][]byte, skip int) []unix.Iovec {
	for _, b := range bufs {
		b, skip = b[skip:], 0
		if len(b) == 0 {
			continue
		}
		if len(iov) == maxIovecs {
			break
		}
		e := unix.Iovec{Base: &b[0]}
		e.SetLen(len(b))
		iov = append(iov, e)
	}
	return iov
}

// clearVec zeroes bufs after the first skip bytes.
func clearVec(bufs [][]byte, skip int) {
	for _, b := range bufs {
		n := min(skip, len(b))
		clear(b[n:])
		skip -= n
	}
}

// Sync implements File with fdatasync; concurrent calls share one, and none is
// made if nothing was written since the last.
func (f *OSFile) Sync() error {
	if f.unsafe || f.synced.Load() == f.writes.Load() {
		return nil
	}
	_, err := f.flushes.do(f.fsync)
	return err
}

// StartWriteback asks the host to begin writing to the disk what it has only in
// memory. A Sync that comes later has less to wait for; nothing is durable before.
func (f *OSFile) StartWriteback() {
	if !f.unsafe && f.direct == nil {
		_ = unix.SyncFileRange(f.fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) // no promise depends on it
	}
}

// DisableSync makes Sync do nothing, for data that nobody misses after a crash of
// the host. It is called before the file is used.
func (f *OSFile) DisableSync() { f.unsafe = true }

func (f *OSFile) syncNow() error {
	seq := f.writes.Load()
	f.brief.enter()
	err := retryEINTR(func() error { return unix.Fdatasync(f.fd) })
	f.brief.leave()
	if err != nil && !(f.char && errors.Is(err, unix.EINVAL)) { // some have nothing to be made durable
		return f.wrap("fdatasync", err)
	}
	f.synced.Store(seq)
	return nil
}

// Size implements File.
func (f *OSFile) Size() (int64, error) {
	switch {
	case f.char:
		n, err := unix.Seek(f.fd, 0, unix.SEEK_END)
		return n, f.wrap("get the size of", err)
	case f.device:
		n, err := deviceSize(f.fd)
		return n, f.wrap("get the size of", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, f.wrap("stat", err)
	}
	return st.Size, nil
}

// Truncate implements File.
func (f *OSFile) Truncate(size int64) error {
	if f.device {
		have, err := f.Size()
		if err == nil && size > have {
			err = f.wrap("truncate", fmt.Errorf("%w: it has %d bytes, %d are needed", ErrDeviceSize, have, size))
		}
		return err
	}
	defer f.shareBlocks()()
	f.brief.enter()
	err := retryEINTR(func() error { return unix.Ftruncate(f.fd, size) })
	f.brief.leave()
	f.writes.Add(1)
	return f.wrap("truncate", err)
}

// PunchHole implements File.
func (f *OSFile) PunchHole(off, n int64) error {
	if f.noPunch.Load() {
		return f.wrap("punch hole", errors.ErrUnsupported)
	}
	err := f.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		f.noPunch.Store(true)
		return f.wrap("punch hole", errors.ErrUnsupported)
	}
	return f.wrap("punch hole", err)
}

// ZeroRange implements File. Where the host can't zero ranges it writes zeroes.
func (f *OSFile) ZeroRange(off, n int64) error {
	if err := f.TryZeroRange(off, n); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	for n > 0 {
		step := min(n, int64(len(zeroes)))
		if err := writeFull(f, zeroes[:step], off); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// TryZeroRange is ZeroRange, but that it is an errors.ErrUnsupported, and changes nothing, where the
// host can't zero ranges.
func (f *OSFile) TryZeroRange(off, n int64) error {
	if !f.noZero.Load() {
		err := f.fallocate(unix.FALLOC_FL_ZERO_RANGE, off, n)
		if !unsupported(err) {
			return f.wrap("zero range", err)
		}
		f.noZero.Store(true)
	}
	return f.wrap("zero range", errors.ErrUnsupported)
}

// Reserve sets storage aside for n bytes at off, and makes the file at least as
// long. Where the host can't it writes zeroes beyond the end of the file.
func (f *OSFile) Reserve(off, n int64) error {
	if f.device {
		return f.Truncate(off + n)
	}
	err := f.fallocate(0, off, n)
	if !unsupported(err) {
		return f.wrap("allocate", err)
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	return storage(f, max(off, size), off+n, PreallocateFull)
}

func (f *OSFile) fallocate(mode uint32, off, n int64) error {
	defer f.shareBlocks()()
	f.brief.enter()
	err := retryEINTR(func() error { return unix.Fallocate(f.fd, mode, off, n) })
	f.brief.leave()
	f.writes.Add(1)
	return err
}

// unsupported reports whether an fallocate mode is refused for good: by the
// file system, the kind of device, or a kernel without the call.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

// Hole reports whether the byte at off lies in a hole of the file, which reads
// as zeroes, and how many of the n bytes from there on are alike. Where the
// host can't tell, there are no holes. What lies beyond the end is a hole.
func (f *OSFile) Hole(off, n int64) (hole bool, length int64, err error) {
	data, err := unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return true, n, nil
	case errors.Is(err, unix.EINVAL) || f.device:
		return false, n, nil
	case err != nil:
		return false, 0, f.wrap("seek data in", err)
	case data > off:
		return true, min(n, data-off), nil
	}
	end, err := unix.Seek(f.fd, off, unix.SEEK_HOLE)
	if err != nil {
		return false, 0, f.wrap("seek hole in", err)
	}
	end = (end + sectorSize - 1) &^ (sectorSize - 1) // the last sector may be cut
	return false, min(n, max(end-off, 1)), nil
}

// Allocated is how many bytes of storage the file takes on the host.
func (f *OSFile) Allocated() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, f.wrap("stat", err)
	}
	return st.Blocks * 512, nil
}

// Close implements File.
func (f *OSFile) Close() error {
	var err error
	if f.direct != nil && f.direct.ring != nil {
		err = f.direct.ring.close()
		f.direct.ring = nil
	}
	return f.wrap("close", errors.Join(err, unix.Close(f.fd)))
}

func (f *OSFile) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

func retryEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

var _ File = (*OSFile)(nil)

package qcow2

import (
	"errors"

	"golang.org/x/sys/unix"
)

// PipeReader is storage that can read from the disk into a pipe: *Image is one, and
// *OSFile as a File. The pages in the pipe are nobody else's, so that who passes them on,
// to a socket for instance, has copied nothing and has nothing to wait for. (Splicer
// gives pages that the file goes on using.)
type PipeReader interface {
	// ReadsPipes reports whether ReadPipe may do anything: with direct I/O, on Linux
	// 6.5 and later.
	ReadsPipes() bool
	// ReadPipe puts the bytes from off on, n at most, into an empty pipe, whose room is
	// n bytes at least, and returns how many. It waits for the disk. If the result is
	// less than n, also because of an error, the caller goes on with ReadV.
	ReadPipe(pipe int, off, n int64) (moved int64)
}

// ReadsPipes implements PipeReader. Of a file with O_DIRECT, Linux 6.5 and later splice what
// they have read from the disk into new pages, whatever the file system does else.
func (f *OSFile) ReadsPipes() bool {
	if f.direct == nil {
		return false
	}
	// A system call of the same version tells the version.
	var r unix.CachestatRange
	var c unix.Cachestat_t
	err := unix.Cachestat(uint(f.fd), &r, &c, 0)
	return err == nil || !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM)
}

// ReadPipe implements PipeReader. It moves whole pages that are aligned in the file.
func (f *OSFile) ReadPipe(pipe int, off, n int64) (moved int64) {
	if f.direct == nil || (off|n)&(max(f.direct.off, int64(unix.Getpagesize()))-1) != 0 {
		return 0
	}
	for moved < n {
		at := off + moved
		m, err := unix.Splice(f.fd, &at, pipe, nil, int(n-moved), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		moved += m
	}
	return moved
}

// ReadsPipes implements PipeReader.
func (im *Image) ReadsPipes() bool {
	file, ok := im.data.(PipeReader)
	return ok && !im.encrypted() && im.event == nil && file.ReadsPipes()
}

// ReadPipe implements PipeReader: for what is mapped to clusters of the image, or not
// mapped and in a backing file that is a PipeReader.
func (im *Image) ReadPipe(pipe int, off, n int64) (moved int64) {
	if im.encrypted() || im.event != nil {
		return 0
	}
	rq, err := im.begin("read", nil, off, n, false)
	if err != nil {
		return 0
	}
	defer im.end(rq)
	for moved < n {
		part, done := im.readPipe(pipe, off+moved, n-moved)
		moved += done
		if done == 0 || done < part {
			break
		}
	}
	return moved
}

// readPipe puts the beginning of a range into a pipe. The results are how many bytes were
// to be put there, and how many were.
func (im *Image) readPipe(pipe int, off, n int64) (part, moved int64) {
	var m mapping
	for {
		var miss int64
		var err error
		im.mu.RLock()
		m, miss, err = im.lookup(off, n)
		im.mu.RUnlock()
		if err != nil {
			return 0, 0
		}
		if miss == 0 {
			break
		}
		if im.fetch(miss) != nil {
			return 0, 0
		}
	}
	switch m.kind {
	case kindNormal:
		if file, ok := im.data.(PipeReader); ok {
			return m.length, file.ReadPipe(pipe, m.host, m.length)
		}
	case kindUnallocated:
		have := im.backed(off, m.length)
		if b, ok := im.backing.(PipeReader); ok && have > 0 {
			return have, b.ReadPipe(pipe, off, have)
		}
	}
	return 0, 0
}

var (
	_ PipeReader = (*OSFile)(nil)
	_ PipeReader = (*Image)(nil)
)

package qcow2

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// PipeWriter is storage that can write what is in a pipe: *Image is one, and *OSFile as a
// File. What a socket got goes through a pipe without being copied into the process.
type PipeWriter interface {
	// WritesPipes reports whether WritePipe may do anything: without direct I/O.
	WritesPipes() bool
	// WritePipe stores the first n bytes of a pipe, which has as many at least and does not
	// block, at off, and returns how many it has taken out of the pipe. It waits for the
	// disk. If the result is less than n and err is nil, all that was taken is stored, and
	// the caller goes on with what is left by WriteV. An error is one as WriteV has.
	WritePipe(pipe int, off, n int64) (taken int64, err error)
}

// WritesPipes implements PipeWriter. With direct I/O, what sockets have is nowhere aligned as
// it must be.
func (f *OSFile) WritesPipes() bool { return f.direct == nil && !f.char }

// WritePipe implements PipeWriter. It has no errors: WriteV will find them.
func (f *OSFile) WritePipe(pipe int, off, n int64) (taken int64, err error) {
	if !f.WritesPipes() {
		return 0, nil
	}
	f.brief.enter()
	for taken < n {
		at := off + taken
		m, err := unix.Splice(pipe, nil, f.fd, &at, int(n-taken), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		taken += m
	}
	f.brief.leave()
	f.writes.Add(1) // see WriteV
	return taken, nil
}

// WritesPipes implements PipeWriter.
func (im *Image) WritesPipes() bool {
	file, ok := im.data.(PipeWriter)
	return ok && !im.encrypted() && im.event == nil && file.WritesPipes()
}

// WritePipe implements PipeWriter: for what is overwritten in place, and for whole clusters
// that are new.
func (im *Image) WritePipe(pipe int, off, n int64) (taken int64, err error) {
	file, ok := im.data.(PipeWriter)
	if !ok || im.encrypted() || im.event != nil || im.changes.pressing.Load() {
		return 0, nil
	}
	rq, err := im.begin("write", nil, off, n, true)
	if err != nil {
		return 0, nil // WriteV says so
	}
	behind := int64(0) // see write
	for taken < n && err == nil {
		length, host := im.placeOf(off+taken, n-taken)
		done := int64(0)
		if length > 0 {
			done, err = file.WritePipe(pipe, host, length)
			behind = host + length
		} else {
			length, done, behind, err = im.pipeNew(file, pipe, off+taken, n-taken, behind)
		}
		if taken += done; done == 0 || done < length {
			break
		}
	}
	im.changed(rq)
	im.end(rq)
	return taken, im.note(err)
}

// placeOf finds how many of n bytes at off are overwritten in place by one write, and where;
// 0 if none are, or that can't be found out.
func (im *Image) placeOf(off, n int64) (length, host int64) {
	for {
		im.mu.RLock()
		m, miss, err := im.lookup(off, n)
		fits := err == nil && miss == 0 && m.inPlace() && im.checkData(m.host, m.length) == nil
		im.mu.RUnlock()
		switch {
		case fits:
			return m.length, m.host
		case err != nil || miss == 0 || im.fetch(miss) != nil:
			return 0, 0
		}
	}
}

// pipeNew is writeNew for whole clusters from a pipe. The results are how many bytes it was
// to write, how many it took out of the pipe, and the host offset behind them.
func (im *Image) pipeNew(file PipeWriter, pipe int, off, n, behind int64) (length, done, end int64, err error) {
	inside := im.g.clusterSize - 1
	n &^= inside
	if n == 0 || off&inside != 0 || im.g.dataFile || im.g.extended() {
		return 0, 0, behind, nil
	}
	a, err := im.reserve(off, n, behind)
	if a == nil || err != nil {
		return 0, 0, behind, nil // WriteV looks again, or says what is wrong
	}
	n = min(n, (a.first+a.count)<<im.g.clusterBits-off)
	done, err = file.WritePipe(pipe, a.host, n)
	for done < n && err == nil {
		// What was taken can't be put back: the rest of these clusters is written as well.
		done, err = im.writeFromPipe(pipe, a.host, off, done, n)
	}
	im.settle(a, err)
	return n, done, a.host + a.count<<im.g.clusterBits, err
}

// writeFromPipe copies a cluster at most from a pipe to the host and guest offsets that are
// done bytes behind those given, of n. The result is done with it.
func (im *Image) writeFromPipe(pipe int, host, guest, done, n int64) (int64, error) {
	b := im.clusterBuffer()
	defer im.buffers.Put(b)
	m, err := unix.Read(pipe, (*b)[:min(n-done, im.g.clusterSize)])
	switch {
	case errors.Is(err, unix.EINTR):
		return done, nil
	case err != nil:
		return done, fmt.Errorf("read what is to be written at %d: %w", guest+done, err)
	case m == 0:
		return done, fmt.Errorf("read what is to be written at %d: %w", guest+done, io.ErrUnexpectedEOF)
	}
	return done + int64(m), im.writeData([][]byte{(*b)[:m]}, host+done, guest+done)
}

var (
	_ PipeWriter = (*OSFile)(nil)
	_ PipeWriter = (*Image)(nil)
)

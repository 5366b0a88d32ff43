package qcow2

import "golang.org/x/sys/unix"

// Starter is storage that can carry out a transfer while its caller goes on:
// *Image is one, and *OSFile as a File. It serves who has many transfers at a time
// and would rather be told when they end than have a goroutine wait for each.
type Starter interface {
	// Starts reports whether the others may do anything.
	Starts() bool
	// StartReadV and StartWriteV begin what ReadV and WriteV do, and report whether
	// they did. If so, end is called once, perhaps before they return, and the
	// memory that bufs names is the transfer's until then. If not, nothing was done:
	// the caller makes the same transfer by ReadV or WriteV. They don't wait.
	StartReadV(bufs [][]byte, off int64, end Ended) bool
	StartWriteV(bufs [][]byte, off int64, end Ended) bool
	// Submit hands to the host what was started. Who starts transfers calls it
	// before it does anything else that takes long or waits; an Ended does so, too.
	Submit()
}

// Ended is told that a transfer has ended. It is an alias so that others can
// describe a Starter without this package.
type Ended = interface {
	// Ended is called by any goroutine, which others depend on: it must not wait.
	Ended(err error)
}

// started is a transfer of an OSFile that was started.
type started struct {
	f     *OSFile
	write bool
	bufs  [][]byte
	off   int64
	end   Ended
}

// Starts implements Starter: with direct I/O, where the host has io_uring.
func (f *OSFile) Starts() bool { return f.UsesRing() }

// StartReadV implements Starter.
func (f *OSFile) StartReadV(bufs [][]byte, off int64, end Ended) bool {
	return f.start(false, bufs, off, end)
}

// StartWriteV implements Starter.
func (f *OSFile) StartWriteV(bufs [][]byte, off int64, end Ended) bool {
	return f.start(true, bufs, off, end)
}

// Submit implements Starter.
func (f *OSFile) Submit() {
	if f.UsesRing() {
		f.direct.ring.submit()
	}
}

func (f *OSFile) start(write bool, bufs [][]byte, off int64, end Ended) bool {
	if !f.UsesRing() || len(bufs) == 0 || len(bufs) > maxIovecs || !f.direct.fits(bufs, off) {
		return false
	}
	if write && !f.direct.blocks.TryRLock() {
		return false
	}
	s, _ := f.starts.Get().(*started)
	if s == nil {
		s = new(started)
	}
	*s = started{f: f, write: write, bufs: append(s.bufs, bufs...), off: off, end: end}
	f.direct.ring.active.Add(1)
	if f.direct.ring.start(write, s.bufs, off, s) {
		return true
	}
	f.direct.ring.active.Add(-1)
	if write {
		f.direct.blocks.RUnlock()
	}
	s.release()
	return false
}

// transferred implements transferEnd. What the ring did not do, or not all of, is
// done by system calls, which may wait: on another goroutine.
func (s *started) transferred(res int32) {
	switch {
	case ringRefused(res), res >= 0 && int64(res) < vecLen(s.bufs):
		go func() { s.finish(s.again()) }()
	case res < 0:
		s.finish(s.f.wrap(s.op(), unix.Errno(-res)))
	default:
		s.finish(nil)
	}
}

func (s *started) again() error {
	if s.write {
		return s.f.transfer("write", s.bufs, s.off, unix.Pwrite, pwritev)
	}
	return s.f.transfer("read", s.bufs, s.off, unix.Pread, preadv)
}

func (s *started) op() string {
	if s.write {
		return "write"
	}
	return "read"
}

// finish tells the end of a transfer.
func (s *started) finish(err error) {
	f, end := s.f, s.end
	if s.write {
		f.direct.blocks.RUnlock()
		f.writes.Add(1) // see WriteV
	}
	f.direct.ring.active.Add(-1)
	s.release()
	end.Ended(err)
}

// release gives s back, which must not keep the caller's memory alive.
func (s *started) release() {
	f := s.f
	clear(s.bufs)
	*s = started{bufs: s.bufs[:0]}
	f.starts.Put(s)
}

// Starts implements Starter: with a file or a backing file that does.
func (im *Image) Starts() bool {
	if im.encrypted() || im.event != nil {
		return false
	}
	file, ok := im.data.(Starter)
	b, backed := im.backing.(Starter)
	return ok && (file.Starts() || backed && b.Starts())
}

// StartReadV implements Starter: it reads what is mapped to one run of clusters, of
// the image or of a backing file that is a Starter, and before it the table that says so,
// if that is not in memory. All else is left to ReadV.
func (im *Image) StartReadV(bufs [][]byte, off int64, end Ended) bool {
	return im.start(false, bufs, off, end)
}

// StartWriteV implements Starter: it overwrites in place what is mapped by tables
// in memory to one run of clusters, and fills new clusters where that takes one write.
func (im *Image) StartWriteV(bufs [][]byte, off int64, end Ended) bool {
	return !im.changes.pressing.Load() && im.start(true, bufs, off, end)
}

// Submit implements Starter.
func (im *Image) Submit() {
	if file, ok := im.data.(Starter); ok {
		file.Submit()
	}
	if b, ok := im.backing.(Starter); ok {
		b.Submit()
	}
}

func (im *Image) start(write bool, bufs [][]byte, off int64, end Ended) bool {
	file, ok := im.data.(Starter)
	if !ok || im.encrypted() || im.event != nil {
		return false
	}
	n := vecLen(bufs)
	rq := im.tryBegin(bufs, off, n, write)
	if rq == nil {
		return false
	}
	rq.started = startedRequest{im: im, write: write, end: end}
	if im.startAt(file, rq, off, n) {
		return true
	}
	im.end(rq)
	return false
}

// startAt starts the transfer of a request, at the place of its bytes.
func (im *Image) startAt(file Starter, rq *request, off, n int64) bool {
	write := rq.started.write
	m, miss, ok := im.tryLookup(off, n, write)
	if !ok && write {
		return im.startNew(file, rq, off, n)
	}
	if miss != 0 {
		return im.startTable(file, rq, miss)
	}
	if !ok || m.length != n {
		return false
	}
	switch {
	case m.kind == kindNormal && write:
		return file.StartWriteV(rq.vec.next(n), m.host, rq)
	case m.kind == kindNormal:
		return file.StartReadV(rq.vec.next(n), m.host, rq)
	case m.kind == kindUnallocated && im.backed(off, n) == n:
		b, ok := im.backing.(Starter)
		return ok && b.StartReadV(rq.vec.next(n), off, rq)
	}
	return false
}

// startedRequest is what a request needs to know that was started.
type startedRequest struct {
	im    *Image
	write bool
	end   Ended
	alloc *allocation // of new clusters; nil: it was a transfer in place
}

// Ended implements Ended, for the transfer of a request.
func (rq *request) Ended(err error) {
	s := rq.started
	if s.alloc == nil || s.im.endNew(s.alloc, err) {
		rq.ended(err)
		return
	}
	go func() {
		s.im.settle(s.alloc, err)
		rq.ended(err)
	}()
}

func (rq *request) ended(err error) {
	s := rq.started
	if s.write {
		s.im.changed(rq)
	}
	s.im.end(rq)
	s.end.Ended(err)
}

var (
	_ Starter = (*OSFile)(nil)
	_ Starter = (*Image)(nil)
)

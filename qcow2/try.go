package qcow2

// Trier is storage that can tell beforehand that a transfer would have to wait,
// for the host's disk or for a lock: *Image is one, and *OSFile as a File. Both
// methods report whether the transfer was done, and take microseconds, as far as
// the host lets one know. If it was
// not, for whatever reason, bufs or what is stored may have changed in part: the
// caller makes the same transfer by ReadV or WriteV, which waits, or says what is
// wrong.
type Trier interface {
	TryReadV(bufs [][]byte, off int64) bool
	TryWriteV(bufs [][]byte, off int64) bool
}

// TryReadV implements Trier: it reads what is mapped by tables in memory to bytes
// in the host's page cache, or to zeroes. Compressed and encrypted data takes
// longer, and is left to ReadV.
func (im *Image) TryReadV(bufs [][]byte, off int64) bool {
	file, ok := im.tries()
	if !ok {
		return false
	}
	n := vecLen(bufs)
	rq := im.tryBegin(bufs, off, n, false)
	if rq == nil {
		return false
	}
	done := im.tryRead(file, rq, off, n)
	im.end(rq)
	return done
}

// TryWriteV implements Trier: it overwrites in place what is mapped by tables in
// memory, where the host's file system can do so without waiting.
func (im *Image) TryWriteV(bufs [][]byte, off int64) bool {
	file, ok := im.tries()
	if !ok || im.changes.pressing.Load() {
		return false
	}
	n := vecLen(bufs)
	rq := im.tryBegin(bufs, off, n, true)
	if rq == nil {
		return false
	}
	done := im.tryWrite(file, rq, off, n)
	im.changed(rq) // also if it was not done: part of it may have been
	im.end(rq)
	return done
}

// tries returns where the guest's data is, if that can tell whether it would
// wait.
func (im *Image) tries() (file Trier, ok bool) {
	if im.encrypted() || im.event != nil {
		return nil, false
	}
	file, ok = im.data.(Trier)
	return file, ok
}

// tryBegin is begin for a request that must not wait, nil if it would or may not
// run at all.
func (im *Image) tryBegin(bufs [][]byte, off, n int64, write bool) *request {
	t, ok := im.epochs.tryEnter()
	if !ok {
		return nil
	}
	if err := im.admit("try", off, n, write); err != nil {
		im.epochs.exit(t)
		return nil
	}
	return im.newRequest(t, bufs, off, n)
}

// tryLookup is lookup with mu taken here. ok is false where that would wait, for mu
// or for the table at miss, or fails.
func (im *Image) tryLookup(off, n int64, write bool) (m mapping, miss int64, ok bool) {
	if !im.mu.TryRLock() {
		return m, 0, false
	}
	defer im.mu.RUnlock()
	m, miss, err := im.lookup(off, n)
	if err != nil || miss != 0 {
		return m, miss, false
	}
	if write {
		return m, 0, m.inPlace() && im.checkData(m.host, m.length) == nil
	}
	return m, 0, true
}

func (im *Image) tryRead(file Trier, rq *request, off, n int64) bool {
	for n > 0 {
		m, _, ok := im.tryLookup(off, n, false)
		if !ok {
			return false
		}
		switch m.kind {
		case kindNormal:
			ok = file.TryReadV(rq.vec.next(m.length), m.host)
		case kindUnallocated:
			ok = im.tryBacking(rq, off, m.length)
		case kindCompressed:
			ok = false
		default:
			clearVec(rq.vec.next(m.length), 0)
		}
		if !ok {
			return false
		}
		off, n = off+m.length, n-m.length
	}
	return true
}

// tryBacking is readBacking for a request that must not wait.
func (im *Image) tryBacking(rq *request, off, n int64) bool {
	have := im.backed(off, n)
	if have > 0 {
		b, ok := im.backing.(Trier)
		if !ok || !b.TryReadV(rq.vec.next(have), off) {
			return false
		}
	}
	if have < n {
		clearVec(rq.vec.next(n-have), 0)
	}
	return true
}

func (im *Image) tryWrite(file Trier, rq *request, off, n int64) bool {
	for n > 0 {
		m, _, ok := im.tryLookup(off, n, true)
		if !ok || !file.TryWriteV(rq.vec.next(m.length), m.host) {
			return false
		}
		off, n = off+m.length, n-m.length
	}
	return true
}

package qcow2

import "errors"

// errWouldWait is why something is not done that must not wait.
var errWouldWait = errors.New("it would wait")

// startNew starts a write to clusters that can't be overwritten in place: if one allocation
// is enough, and tables and counts for it are in memory, and nothing that the clusters held
// is to be read.
func (im *Image) startNew(file Starter, rq *request, off, n int64) bool {
	inside := im.g.clusterSize - 1
	whole := off&inside == 0 && n&inside == 0
	if n == 0 || im.g.dataFile || !file.Starts() || !whole && (im.backing != nil || im.g.extended()) || !im.mu.TryLock() {
		return false
	}
	defer im.mu.Unlock()
	a := im.reserveNow(off, n)
	if a == nil {
		return false
	}
	if im.blank(a.head, off-a.lo) && im.blank(a.tail, a.hi-off-n) {
		piece, host, _ := im.assemble(rq, a, off, n, nil, nil)
		rq.started.alloc = a
		if file.StartWriteV(piece, host, rq) {
			return true
		}
		rq.started.alloc = nil
	}
	im.withdraw(a)
	return false
}

// withdraw ends an allocation for which nothing was written. So clusters that were never
// written still are such ones. Preconditions: mu is held exclusively, since it was made.
func (im *Image) withdraw(a *allocation) {
	if a.clean && im.alloc.end == a.host+a.count<<im.g.clusterBits {
		im.alloc.end = a.host
	}
	im.settleLocked(a, errWouldWait)
}

// reserveNow is reserve for all of the n bytes at off, or none, without waiting for
// anything. The result is nil if that can't be. Preconditions: mu is held exclusively.
func (im *Image) reserveNow(off, n int64) *allocation {
	g := &im.g
	if e := im.l1[off>>g.l1Shift]; e != 0 && e&entryCopied == 0 {
		return nil // the table is to be copied
	}
	first := off >> g.clusterBits
	count := (off+n-1)>>g.clusterBits - first + 1
	if im.lacksRoom(count + 2) { // and a table, and a block of refcounts
		return nil
	}
	im.refs.noReads = true
	defer func() { im.refs.noReads = false }()
	p, index, miss, err := im.l2Writable(off)
	if err != nil || miss != 0 || index+count > g.entriesPerPage() {
		return nil
	}
	if free, _ := im.conflict(first, count); free < count {
		return nil
	}
	a, err := im.reserveRun(p, index, first, count, span{off, off + n, 0})
	switch {
	case err != nil || a == nil:
		return nil
	case a.count < count:
		im.withdraw(a)
		return nil
	}
	return a
}

// blank reports whether n bytes of the cluster that e mapped are zeroes, or none, as far as
// the entry tells. Preconditions: with n, the image has neither subclusters nor a backing file.
func (im *Image) blank(e l2Entry, n int64) bool {
	if n == 0 {
		return true
	}
	kind, err := im.g.classify(e.word)
	return err == nil && (kind == kindUnallocated || kind == kindZero || kind == kindZeroAlloc)
}

// endNew settles the allocation of a request whose write has ended. It reports false if that
// might wait: for mu, or after an error for refcounts.
func (im *Image) endNew(a *allocation, err error) bool {
	if err != nil || !im.mu.TryLock() {
		return false
	}
	im.settleLocked(a, nil)
	im.mu.Unlock()
	return true
}

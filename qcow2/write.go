package qcow2

import (
	"errors"
	"fmt"
)

// WriteV stores bufs, in order, on the disk at offset off.
func (im *Image) WriteV(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	rq, err := im.begin("write", bufs, off, n, true)
	if err != nil {
		return err
	}
	return im.finishWrite(rq, im.write(rq, off, n))
}

func (im *Image) write(rq *request, off, n int64) error {
	behind := int64(0) // the host offset behind what was written last
	for n > 0 {
		im.mu.RLock()
		m, miss, err := im.lookup(off, n)
		joins := false
		if err != nil {
			err = im.whenWriting(off, err)
		}
		if err == nil && miss == 0 && m.inPlace() {
			err = im.checkData(m.host, m.length)
			joins = m.length < n && im.storageFollows(&m, off, n)
		}
		im.mu.RUnlock()
		done := int64(0)
		if joins && err == nil {
			done, behind, err = im.writeNew(rq, off, n, behind)
		}
		switch {
		case done > 0:
		case err != nil:
		case miss != 0:
			if err = im.fetch(miss); err != nil {
				err = fmt.Errorf("read L2 table: %w", err)
			}
		case m.inPlace():
			done = m.length
			behind = m.host + done
			err = im.writeData(rq.vec.next(done), m.host, off)
		default:
			done, behind, err = im.writeNew(rq, off, n, behind)
		}
		if err != nil {
			return err
		}
		off, n = off+done, n-done
	}
	return nil
}

// storageFollows reports whether the storage behind m, of the n bytes at off that are
// written, is that of clusters which read as zeroes: one write fills both.
// Preconditions: mu is held; m is in place and shorter than n.
func (im *Image) storageFollows(m *mapping, off, n int64) bool {
	next := off + m.length
	if im.g.extended() || im.g.dataFile || next>>im.g.clusterBits&(im.g.entriesPerPage()-1) == 0 {
		return false // one allocation is not for two pages
	}
	z, miss, err := im.lookup(next, n-m.length)
	return err == nil && miss == 0 && z.kind == kindZeroAlloc && z.copied && z.host == m.host+m.length
}

// writeNew writes to clusters that can't be overwritten in place: as many as
// one allocation takes of the n bytes at off, at host offset behind if that is
// free. The result is the number of bytes written, 0 if another request was
// faster and the caller must look again, and the host offset behind them.
func (im *Image) writeNew(rq *request, off, n, behind int64) (done, end int64, err error) {
	a, err := im.reserve(off, n, behind)
	if a == nil || err != nil {
		return 0, behind, err
	}
	n = min(n, (a.first+a.count)<<im.g.clusterBits-off)
	err = im.fill(rq, a, off, n)
	im.settle(a, err)
	return n, a.host + a.count<<im.g.clusterBits, err
}

// span is what a write asks reserve for: guest bytes [off, end), and the host
// offset where they best go on; 0: anywhere.
type span struct{ off, end, behind int64 }

// reserve takes host clusters for a write of n bytes at off and enters them in
// the in-flight list. It returns nil if the first cluster needs none any more, and no
// storage of clusters that read as zeroes goes on behind it.
// It waits for requests in flight to the same cluster.
func (im *Image) reserve(off, n, behind int64) (*allocation, error) {
	g := &im.g
	first := off >> g.clusterBits
	for {
		p, index, err := im.writablePage(off)
		if err != nil {
			return nil, err
		}
		count := (off+n-1)>>g.clusterBits - first + 1
		count = min(count, g.entriesPerPage()-index)
		count, gone := im.conflict(first, count)
		if count > 0 {
			a, err := im.reserveRun(p, index, first, count, span{off, off + n, behind})
			im.makeRoom()
			im.mu.Unlock()
			return a, err
		}
		im.mu.Unlock()
		<-gone
	}
}

// reserveRun is the part of reserve under the lock, for up to count clusters
// whose entries start at index in p. Preconditions: mu is held exclusively.
func (im *Image) reserveRun(p *page, index, first, count int64, w span) (*allocation, error) {
	g := &im.g
	e := g.entry(p.buf, index)
	kind, err := im.checkEntry(e, first)
	if err != nil {
		return nil, fmt.Errorf("%w (guest offset %#x)", err, first<<g.clusterBits)
	}
	owned := e.word&entryCopied != 0
	if kind == kindNormal && owned && g.extended() {
		if e.alloc()>>g.sub(w.off)&1 != 0 {
			return nil, nil
		}
		kind = kindZeroAlloc // or unallocated, as far as this write goes
	}
	a := &allocation{first: first, count: 1, head: e, page: p, index: index}
	if owned && (kind == kindZeroAlloc || kind == kindNormal) {
		a.kept = true
		a.host = int64(e.word & entryOffset)
		if a.count = im.ownedRun(p, index, first, count); a.count == 0 {
			return nil, nil
		}
		err = im.checkData(a.host, a.count<<g.clusterBits)
	} else {
		for a.count < count && im.needsCluster(g.entry(p.buf, index+a.count), first+a.count) {
			a.count++
		}
	}
	switch {
	case a.kept:
	case g.dataFile:
		a.kept = true // the place of each cluster is given
		a.host = first << g.clusterBits
	default:
		clean := im.alloc.end
		a.host, a.count, err = im.allocateBehind(w.behind, a.count)
		a.clean = a.host >= clean && im.crypt == nil
	}
	if err != nil {
		return nil, err
	}
	a.tail = g.entry(p.buf, index+a.count-1)
	a.lo, a.hi = g.fillRange(a, w.off, min(w.end, (first+a.count)<<g.clusterBits))
	im.fly(a)
	return a, nil
}

// ownedRun is the number of entries in p, of the count from index on, whose clusters follow
// each other in the file and may be written where they are; 0 if none of them reads as zeroes.
// Of images with subclusters, those like the first count.
// Preconditions: mu is held; the first entry is such a one.
func (im *Image) ownedRun(p *page, index, first, count int64) int64 {
	g := &im.g
	flag, found, run := entryZero, g.extended(), int64(0)
	if found {
		flag = 0
	}
	for word := g.word(p.buf, index); run < count; run, word = run+1, word+uint64(g.clusterSize) {
		now := g.word(p.buf, index+run)
		if now&^flag != word&^flag {
			break
		}
		if _, err := im.checkEntry(g.entry(p.buf, index+run), first+run); err != nil {
			break // it is reported when it is the first
		}
		found = found || now&entryZero != 0
	}
	if !found {
		return 0
	}
	return run
}

// checkEntry classifies the L2 entry of a guest cluster that is about to be
// changed or released: what it refers to must be guest data.
// Preconditions: mu is held.
func (im *Image) checkEntry(e l2Entry, cluster int64) (clusterKind, error) {
	kind, err := im.g.classify(e.word)
	if err == nil {
		err = e.checkBitmap(kind)
	}
	if err == nil && (kind == kindNormal || kind == kindZeroAlloc) {
		err = im.g.misplaced(e.word, cluster)
	}
	if err != nil {
		return 0, im.badCluster(e, cluster, err)
	}
	if kind == kindNormal || kind == kindZeroAlloc {
		host := int64(e.word & entryOffset)
		if err = im.checkData(host, 1); err != nil && e.word&entryCopied == 0 && im.heldBeside(host>>im.g.clusterBits) {
			err = nil // it is read only, and the metadata stays
		}
	}
	return kind, err
}

// badCluster says that the L2 entry of a guest cluster is no good; err says why.
func (im *Image) badCluster(e l2Entry, cluster int64, err error) error {
	u := unalignedCluster(0)
	if !errors.As(err, &u) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	what := "Data"
	if e.word&entryZero != 0 {
		what = "Preallocated zero"
	}
	return corrupt(fmt.Sprintf("%s cluster offset %s unaligned (guest offset: %s)", what, hex(int64(u)), hex(cluster<<im.g.clusterBits)), "")
}

// heldBeside reports whether cluster c keeps a reference when one is dropped. It is for entries
// that a repair found to share a cluster with metadata, and counted.
// Preconditions: mu is held exclusively.
func (im *Image) heldBeside(c int64) bool {
	count, err := im.refcount(c)
	if err != nil {
		return false
	}
	for _, list := range [][]freeing{im.changes.released, im.changes.retired, im.batch.released} {
		for _, r := range list { // they are dropped already, but for the count
			if c >= r.cluster && c < r.cluster+r.count && count > 0 {
				count--
			}
		}
	}
	return count >= 2
}

// needsCluster reports whether writing to a guest cluster, whose entry is valid,
// takes a new host cluster or, in an external data file, a new entry.
// Preconditions: mu is held.
func (im *Image) needsCluster(e l2Entry, cluster int64) bool {
	kind, err := im.checkEntry(e, cluster)
	inPlace := kind == kindNormal || kind == kindZeroAlloc
	return err == nil && !(inPlace && e.word&entryCopied != 0)
}

// settle ends an allocation: with its data written, by linking it; after a
// failure, by giving its clusters back.
func (im *Image) settle(a *allocation, failed error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.settleLocked(a, failed)
}

// settleLocked is settle with mu held exclusively.
func (im *Image) settleLocked(a *allocation, failed error) {
	defer im.land(a)
	if failed != nil {
		if !a.kept {
			im.giveBack(a.host>>im.g.clusterBits, a.count)
		}
		return
	}
	for i := range a.count {
		old := im.g.entry(a.page.buf, a.index+i)
		im.setL2(a.page, a.index+i, im.g.filled(a, a.first+i, old))
		if !a.kept {
			im.releaseEntry(old.word, im.passes(PassOther))
		}
	}
	if !im.g.dataFile {
		im.alloc.dataEnd = max(im.alloc.dataEnd, a.host+a.hi-a.first<<im.g.clusterBits)
	}
	im.changes.barrier = true
	im.weigh()
}

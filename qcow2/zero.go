package qcow2

// WriteZeroes makes n bytes at off read as zeroes. Whole clusters and subclusters
// only change their L2 entries; with unmap the storage of whole clusters is given
// back, else it is kept for later writes.
func (im *Image) WriteZeroes(off, n int64, unmap bool) error {
	rq, err := im.begin("write zeroes", nil, off, n, true)
	if err != nil {
		return err
	}
	return im.finishWrite(rq, im.writeZeroes(rq, off, n, unmap))
}

func (im *Image) writeZeroes(rq *request, off, n int64, unmap bool) error {
	change := im.g.zeroKeeping
	switch {
	case im.g.version < 3 && im.backing != nil:
		return im.writeExplicitZeroes(rq, off, n) // there are no zero clusters
	case im.g.version < 3:
		change = im.g.zeroUnmapping
	case unmap:
		change = im.g.zeroUnmapping
	}
	if im.rawData() {
		return im.zeroRaw(off, n, unmap)
	}
	end, lo, hi := im.wholeUnits(off, n, im.g.subSize())
	if lo >= hi {
		return im.zeroParts(rq, off, n)
	}
	if err := im.zeroParts(rq, off, lo-off); err != nil {
		return err
	}
	if err := im.zeroUnits(rq, lo, hi, change, unmap && im.passes(PassRequest)); err != nil {
		return err
	}
	return im.zeroParts(rq, hi, end-hi)
}

// zeroParts makes [off, off+n) zero, of which each cluster (subcluster, in an image
// with these) is covered in part. As in QEMU, one that nothing was written to and of
// which the rest is known to read as zeroes, too, becomes one of zeroes as a whole.
func (im *Image) zeroParts(rq *request, off, n int64) error {
	unit := im.g.subSize()
	for end := off + n; off < end; {
		start := off &^ (unit - 1)
		step := min(start+unit, end) - off
		if im.g.version >= 3 {
			if err := im.claimZeroes(off, step, start, min(start+unit, im.Size())); err != nil {
				return err
			}
		}
		if err := im.writeExplicitZeroes(rq, off, step); err != nil {
			return err
		}
		off += step
	}
	return nil
}

// claimZeroes makes the unit [start, end) of a cluster one of zeroes, if nothing was
// written to it and what is behind it reads as zeroes outside the n bytes at off.
func (im *Image) claimZeroes(off, n, start, end int64) error {
	for _, rest := range [][2]int64{{start, off}, {off + n, end}} {
		for at := rest[0]; at < rest[1]; {
			have := im.backed(at, rest[1]-at)
			if have == 0 {
				break
			}
			zero, length, err := readsZero(im.backing, at, have)
			if err != nil {
				return &backingError{err}
			}
			if !zero {
				return nil
			}
			at += length
		}
	}
	if im.g.extended() {
		_, err := im.changeSubclusters(start, end, func(e l2Entry, kind clusterKind, mask uint32) (l2Entry, bool) {
			if kind == kindCompressed || (e.alloc()|e.zero())&mask != 0 {
				return e, true
			}
			return e.zeroPart(kind, mask)
		})
		return err
	}
	claim := func(e l2Entry, kind clusterKind) l2Entry {
		if kind == kindUnallocated {
			return im.g.zeroEntry(0)
		}
		return e
	}
	return im.changeEntries(start, end, claim, false)
}

// zeroUnits makes [off, end), whole subclusters, zero by their entries.
func (im *Image) zeroUnits(rq *request, off, end int64, change entryChange, punch bool) error {
	_, lo, hi := im.wholeClusters(off, end-off)
	if lo > hi { // inside one cluster
		return im.zeroSubclusters(rq, off, end)
	}
	if err := im.zeroSubclusters(rq, off, lo); err != nil {
		return err
	}
	if err := im.changeEntries(lo, hi, change, punch); err != nil {
		return err
	}
	return im.zeroSubclusters(rq, hi, end)
}

// zeroSubclusters makes [off, end), whole subclusters of one cluster, zero: by
// their bits or, in a compressed cluster, by writing.
func (im *Image) zeroSubclusters(rq *request, off, end int64) error {
	if off >= end {
		return nil
	}
	if done, err := im.changeSubclusters(off, end, l2Entry.zeroPart); done || err != nil {
		return err
	}
	return im.writeExplicitZeroes(rq, off, end-off)
}

// changeSubclusters replaces the entry of the cluster in which [off, end) are whole
// subclusters by what change makes of it, given their bits. It is not done if change
// says so.
func (im *Image) changeSubclusters(off, end int64, change func(e l2Entry, kind clusterKind, mask uint32) (l2Entry, bool)) (done bool, err error) {
	g := &im.g
	mask := subMask(g.sub(off), g.sub(end-1)+1)
	cluster := off >> g.clusterBits
	for {
		p, index, err := im.writablePage(off)
		if err != nil {
			return false, err
		}
		if _, gone := im.conflict(cluster, 1); gone != nil {
			im.mu.Unlock()
			<-gone
			continue
		}
		old := g.entry(p.buf, index)
		kind, err := im.checkEntry(old, cluster)
		e, ok := change(old, kind, mask)
		if err == nil && ok && e != old {
			im.setL2(p, index, e)
			im.weigh()
		}
		im.mu.Unlock()
		return ok, err
	}
}

// wholeClusters returns the end of a range and the part of it, [lo, hi), that
// is whole clusters; the last cluster of the disk counts as whole.
func (im *Image) wholeClusters(off, n int64) (end, lo, hi int64) {
	return im.wholeUnits(off, n, im.g.clusterSize)
}

// wholeUnits is wholeClusters for other units, a power of two.
func (im *Image) wholeUnits(off, n, unit int64) (end, lo, hi int64) {
	end = off + n
	lo = off + -off&(unit-1)
	hi = end &^ (unit - 1)
	if end == im.Size() {
		hi = end
	}
	return end, lo, hi
}

// Discard gives back the storage of the whole clusters among the n bytes at
// off, which then read as zeroes. The rest of the range is left alone.
func (im *Image) Discard(off, n int64) error {
	rq, err := im.begin("discard", nil, off, n, true)
	if err != nil {
		return err
	}
	if _, lo, hi := im.wholeClusters(off, n); im.CanDiscard() && lo < hi {
		if im.rawData() {
			err = im.zeroRaw(lo, hi-lo, true)
		} else {
			err = im.changeEntries(lo, hi, im.discarded, im.passes(PassRequest))
		}
	}
	return im.finishWrite(rq, err)
}

// entryChange returns what the entry of a cluster, of the given kind, becomes.
type entryChange func(e l2Entry, kind clusterKind) l2Entry

// zeroKeeping returns what an entry becomes when zeroes are written and the
// storage is to stay.
func (g *geometry) zeroKeeping(e l2Entry, kind clusterKind) l2Entry {
	if kind == kindNormal || kind == kindZeroAlloc {
		return g.zeroEntry(e.word)
	}
	return g.zeroEntry(0)
}

// zeroEntry is the entry of a cluster that reads as zeroes, with the storage
// that word names.
func (g *geometry) zeroEntry(word uint64) l2Entry {
	if g.extended() {
		return l2Entry{word, bitmapZeroes}
	}
	return l2Entry{word: word | entryZero}
}

// zeroUnmapping returns what an entry becomes when zeroes are written and the
// storage is given back.
func (g *geometry) zeroUnmapping(l2Entry, clusterKind) l2Entry {
	if g.version < 3 {
		return l2Entry{} // without a backing file: reads as zeroes as well
	}
	return g.zeroEntry(0)
}

// discarded returns what an entry becomes by a discard.
func (im *Image) discarded(e l2Entry, kind clusterKind) l2Entry {
	if kind == kindUnallocated && im.backing == nil {
		return e
	}
	return im.g.zeroUnmapping(e, kind)
}

// changeEntries replaces the L2 entries of the guest clusters in [off, end) by
// what change makes of them, and releases the clusters that they referred to.
func (im *Image) changeEntries(off, end int64, change entryChange, punch bool) error {
	for off < end {
		n, err := im.changePage(off, end, change, punch)
		if err != nil {
			return err
		}
		off += n
		if im.changes.pressing.Load() {
			im.writes.Add(1)
			if err := im.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// changePage does the part of changeEntries that one L2 page maps, and returns
// how many bytes that are.
func (im *Image) changePage(off, end int64, change entryChange, punch bool) (int64, error) {
	g := &im.g
	if n := im.unmapped(off, change); n > 0 {
		return n, nil
	}
	first := off >> g.clusterBits
	for {
		p, index, err := im.writablePage(off)
		if err != nil {
			return 0, err
		}
		count := min(g.clusters(end)-first, g.entriesPerPage()-index)
		count, gone := im.conflict(first, count)
		if count > 0 {
			var err error
			if g.dataFile && punch {
				err = im.giveBackRun(p, index, first, count)
			}
			if err == nil {
				err = im.changeRun(p, index, first, count, change, punch)
			}
			im.mu.Unlock()
			return count << g.clusterBits, err
		}
		im.mu.Unlock()
		<-gone
	}
}

// unmapped returns the number of bytes from off on that have no L2 table and
// need none for the change; 0 if there is something to do.
func (im *Image) unmapped(off int64, change entryChange) int64 {
	im.mu.RLock()
	defer im.mu.RUnlock()
	if im.l1[off>>im.g.l1Shift]&entryOffset != 0 || change(l2Entry{}, kindUnallocated) != (l2Entry{}) {
		return 0
	}
	return (off>>im.g.l1Shift+1)<<im.g.l1Shift - off
}

// changeRun changes count entries of an L2 page, from index on, of the guest
// clusters from first on. Preconditions: mu is held exclusively.
func (im *Image) changeRun(p *page, index, first, count int64, change entryChange, punch bool) error {
	defer im.weigh()
	for i := index; i < index+count; i++ {
		old := im.g.entry(p.buf, i)
		kind, err := im.checkEntry(old, first+i-index)
		if err != nil {
			return err
		}
		e := change(old, kind)
		if e == old {
			continue
		}
		im.setL2(p, i, e)
		if e.word&entryOffset == 0 {
			im.releaseEntry(old.word, punch)
		}
	}
	return nil
}

// writeExplicitZeroes makes parts of clusters zero: nothing if they read as
// zeroes, else by writing.
func (im *Image) writeExplicitZeroes(rq *request, off, n int64) error {
	for n > 0 {
		im.mu.RLock()
		m, miss, err := im.lookup(off, n)
		if err == nil && miss == 0 && m.inPlace() {
			err = im.checkData(m.host, m.length)
		}
		im.mu.RUnlock()
		if err != nil {
			return err
		}
		switch {
		case miss != 0:
			if err := im.fetch(miss); err != nil {
				return err
			}
			continue
		case m.inPlace():
			err = im.zeroData(m.host, off, m.length)
		case m.kind == kindZero, m.kind == kindZeroAlloc,
			m.kind == kindUnallocated && im.backing == nil: // one that ends before this may grow
		default:
			m.length = min(m.length, im.g.clusterSize-off&(im.g.clusterSize-1))
			rq.vec.bufs, rq.vec.skip = zeroVec(m.length), 0
			err = im.write(rq, off, m.length)
		}
		if err != nil {
			return err
		}
		off, n = off+m.length, n-m.length
	}
	return nil
}

// zeroVec returns a vector of n zero bytes.
func zeroVec(n int64) [][]byte {
	var c cursor
	c.zero(n)
	return c.out
}

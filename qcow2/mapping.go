package qcow2

import "fmt"

// mapping says where a run of guest bytes is: all of one kind, and in
// consecutive host clusters if it has any.
type mapping struct {
	kind   clusterKind
	copied bool   // kindNormal: may be overwritten in place
	entry  uint64 // the L2 entry of the first cluster
	host   int64  // kindNormal, kindZeroAlloc: file offset of the first byte
	length int64  // bytes
}

// inPlace reports whether the run can be overwritten where it is.
func (m *mapping) inPlace() bool { return m.kind == kindNormal && m.copied }

// lookup maps the bytes from off on, at most n. If the L2 page that says so is
// not in the cache, the result is its place in miss, and the caller fetches it
// and asks again.
//
// Preconditions: mu is held, shared at least; the range lies inside the disk.
func (im *Image) lookup(off, n int64) (m mapping, miss int64, err error) {
	return im.lookupIn(im.l1, off, n)
}

// lookupIn is lookup by any L1 table.
func (im *Image) lookupIn(l1 []uint64, off, n int64) (m mapping, miss int64, err error) {
	g := &im.g
	table, err := g.l2Table(l1, off)
	if err != nil {
		return m, 0, err
	}
	if table == 0 {
		covered := (off>>g.l1Shift+1)<<g.l1Shift - off
		return mapping{kind: kindUnallocated, length: min(n, covered)}, 0, nil
	}
	at, i := g.l2Page(table, off)
	p := im.l2.get(at)
	if p == nil {
		return m, at, nil
	}
	if p.buf == nil {
		m, err = g.progression(p, i, off, n)
	} else {
		m, err = g.run(p.buf, i, off, n)
	}
	if err != nil {
		err = fmt.Errorf("%w (guest offset %#x)", badEntry(table, off>>g.clusterBits&(1<<g.l2Bits-1), err), off)
	}
	return m, 0, err
}

// l2Table is the host offset of the L2 table for guest offset off, 0 for none.
func (im *Image) l2Table(off int64) (int64, error) { return im.g.l2Table(im.l1, off) }

func (g *geometry) l2Table(l1 []uint64, off int64) (int64, error) {
	table := int64(l1[off>>g.l1Shift] & entryOffset)
	if !g.aligned(table) {
		return 0, unalignedL2(table, off>>g.l1Shift)
	}
	return table, nil
}

// l2Page returns the page of an L2 table that maps guest offset off: where it
// is in the file, and the index of the entry in it.
func (g *geometry) l2Page(table, off int64) (at, index int64) {
	byteOff := (off >> g.clusterBits & (1<<g.l2Bits - 1)) << g.entryBits
	return table + byteOff&^(g.pageSize-1), byteOff & (g.pageSize - 1) >> g.entryBits
}

// run maps up to n bytes at guest offset off by the entries of an L2 page, from
// entry i on. It ends at the end of the page or where the kind changes.
func (g *geometry) run(page []byte, i, off, n int64) (mapping, error) {
	if g.extended() {
		return g.extendedRun(page, i, off, n)
	}
	e := loadEntry(page, i)
	kind, err := g.classify(e)
	if err != nil {
		return mapping{}, err
	}
	within := off & (g.clusterSize - 1)
	m := mapping{kind: kind, copied: e&entryCopied != 0, entry: e, length: g.clusterSize - within}
	placed := kind == kindNormal || kind == kindZeroAlloc
	if placed {
		if err := g.misplaced(e, off>>g.clusterBits); err != nil {
			return mapping{}, err
		}
		m.host = int64(e&entryOffset) + within
	}
	if kind == kindCompressed {
		m.length = min(n, m.length)
		return m, nil
	}
	next := e
	for i++; m.length < n && i < g.pageSize/8; i++ {
		if placed {
			next += uint64(g.clusterSize)
			if loadEntry(page, i) != next {
				break
			}
		} else if k, err := g.classify(loadEntry(page, i)); err != nil || k != kind {
			break // an invalid entry is reported when it is the first
		}
		m.length += g.clusterSize
	}
	m.length = min(n, m.length)
	return m, nil
}

// fetch brings an L2 page into the cache. The read happens without a lock;
// whoever wants the same page waits for it.
//
// Preconditions: mu is not held; the caller is inside a request, so that the
// table can't be given to somebody else meanwhile.
func (im *Image) fetch(at int64) error {
	im.mu.Lock()
	if im.l2.get(at) != nil {
		im.mu.Unlock()
		return nil
	}
	if l := im.l2.loads[at]; l != nil {
		if l.done == nil {
			l.done = make(chan struct{})
		}
		im.mu.Unlock()
		<-l.done
		return l.err
	}
	l := im.l2.newLoad()
	im.l2.loads[at] = l
	buf := im.l2.buffer()
	im.mu.Unlock()

	im.at(EventL2Load)
	err := readFull(im.f, buf, at)

	im.mu.Lock()
	defer im.mu.Unlock()
	im.endFetch(at, l, buf, err)
	return err
}

// endFetch enters a page that was read, or was not, and wakes who waits for it.
// Preconditions: mu is held exclusively.
func (im *Image) endFetch(at int64, l *load, buf []byte, err error) {
	delete(im.l2.loads, at)
	if err == nil {
		im.l2.insertRead(at, buf)
	} else {
		im.l2.recycle(buf)
	}
	im.l2.endLoad(l, err)
}

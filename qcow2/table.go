package qcow2

import "fmt"

// l2Writable returns the page that maps guest offset off, in an L2 table that
// may be changed, and the index of the entry in it. A table that is missing is
// made; one that a snapshot shares is replaced by a copy. If the page is not in
// the cache, the result is its place in miss: fetch it and call again.
//
// Preconditions (as for all of this file): mu is held exclusively.
func (im *Image) l2Writable(off int64) (p *page, index, miss int64, err error) {
	table, err := im.l2Table(off)
	if err != nil {
		return nil, 0, 0, err
	}
	l1i := off >> im.g.l1Shift
	switch {
	case table == 0:
		table, err = im.emptyL2(off)
	case im.l1[l1i]&entryCopied == 0:
		table, err = im.copyL2(l1i, table)
	}
	if err != nil {
		return nil, 0, 0, err
	}
	at, index := im.g.l2Page(table, off)
	if table >= im.alloc.end {
		return nil, 0, 0, fmt.Errorf("%w: L2 table %#x lies beyond the end of the file (L1 index %d)", ErrCorrupt, table, l1i)
	}
	if err := im.checkL2(table, l1i); err != nil {
		return nil, 0, 0, err
	}
	if p = im.l2.full(im.l2.get(at)); p == nil {
		return nil, 0, at, nil
	}
	return p, index, 0, nil
}

// emptyL2 makes the empty L2 table that guest offset off needs. Where nothing was
// ever written, the file has the zeroes already: only the page for off is made,
// and the last one, so that the file will have all of the table.
func (im *Image) emptyL2(off int64) (int64, error) {
	clean := im.alloc.end
	table, err := im.allocate(1)
	if err != nil {
		return 0, allocationOf("L2 table", err)
	}
	if table < clean {
		im.l2.insertTable(table, im.g.clusterSize, nil)
	} else {
		at, _ := im.g.l2Page(table, off)
		im.l2.insertTable(at, im.g.pageSize, nil)
		if last := table + im.g.clusterSize - im.g.pageSize; last != at {
			im.l2.insertTable(last, im.g.pageSize, nil)
		}
	}
	im.linkL2(off>>im.g.l1Shift, table)
	return table, nil
}

// newL2 makes a new L2 table with the given contents, the one with index l1i.
// Until the next commit nothing on disk refers to it.
func (im *Image) newL2(l1i int64, contents []byte) (int64, error) {
	table, err := im.allocate(1)
	if err != nil {
		return 0, allocationOf("L2 table", err)
	}
	im.l2.insertTable(table, im.g.clusterSize, contents)
	im.linkL2(l1i, table)
	return table, nil
}

// linkL2 makes a new table the one with index l1i.
func (im *Image) linkL2(l1i, table int64) {
	im.l1[l1i] = uint64(table) | entryCopied
	im.changes.l1.touch(l1i)
	im.changes.barrier = true
	im.setMeta(table, 1, metaL2)
	im.weigh()
}

// copyL2 replaces an L2 table that is shared with a snapshot by a copy. What
// the entries refer to is counted once for each of the tables already, and the
// shared table was never changed here, so that the file has all of it.
func (im *Image) copyL2(l1i, table int64) (int64, error) {
	if err := im.checkL2(table, l1i); err != nil {
		return 0, err
	}
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	im.at(EventL2AllocCowRead)
	if err := readFull(im.f, *buf, table); err != nil {
		return 0, fmt.Errorf("read L2 table: %w", err)
	}
	// COPIED flags of the copy are those of the original: entries that the
	// snapshot shares have none.
	own, err := im.newL2(l1i, *buf)
	if err != nil {
		return 0, err
	}
	im.release(table>>im.g.clusterBits, 1, im.passes(PassOther))
	im.setMeta(table, 1, metaSnapshotL2)
	return own, nil
}

// setL2 changes entry i of an L2 page.
func (im *Image) setL2(p *page, i int64, e l2Entry) {
	im.g.setEntry(im.l2.change(p), i, e)
}

// writablePage is l2Writable for one who holds no lock: it returns with mu held
// exclusively and the page in the cache, or with an error and without mu.
func (im *Image) writablePage(off int64) (*page, int64, error) {
	for {
		im.mu.Lock()
		p, i, miss, err := im.l2Writable(off)
		if err == nil && miss == 0 {
			return p, i, nil
		}
		im.mu.Unlock()
		if err != nil {
			return nil, 0, err
		}
		if err := im.fetch(miss); err != nil {
			return nil, 0, fmt.Errorf("read L2 table: %w", err)
		}
	}
}

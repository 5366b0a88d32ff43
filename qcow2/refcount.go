package qcow2

import "fmt"

// refPage returns the page of a refcount block that counts cluster c, and the
// index of the count in it; nil if no block covers c, so that the count is 0.
//
// Preconditions (as for all of this file): mu is held exclusively. Unlike L2
// pages these are read under mu: one page covers thousands of clusters.
func (im *Image) refPage(c int64) (*page, int64, error) {
	bi := c >> im.g.refBlockBits
	if bi >= int64(len(im.refTable)) || im.refTable[bi]&refTableOffset == 0 {
		return nil, 0, nil
	}
	block := im.refTable[bi] & refTableOffset
	if block > maxHostOffset || !im.g.aligned(int64(block)) {
		return nil, 0, corrupt(fmt.Sprintf("Refblock offset %s unaligned (reftable index: %s)", hex(block), hex(bi)), "")
	}
	perPage := im.countsPerPage() // a power of two, as is the page's size: dividing takes longer than all else here
	i := c & (1<<im.g.refBlockBits - 1)
	at := int64(block) + i<<im.g.refcountOrder>>3&^(im.g.pageSize-1)
	p := im.refs.again(at)
	if p == nil && im.refs.noReads {
		return nil, 0, errWouldWait
	}
	if p == nil {
		im.at(EventRefblockLoad)
		var err error
		if p, err = im.readRefPages(at, int64(block)+im.g.clusterSize); err != nil {
			return nil, 0, fmt.Errorf("read refcount block: %w", err)
		}
	}
	return p, i & (perPage - 1), nil
}

// maxRefAhead is how many pages of refcounts are read at a time: few of the least cache.
const maxRefAhead = minCachePages / 4

// readRefPages reads the page at off of a refcount block that ends at end. If the one before
// is here, somebody goes through the block: those that follow, until one that is here, are
// read as well.
func (im *Image) readRefPages(off, end int64) (*page, error) {
	c := im.refs
	bufs := append(make([][]byte, 0, maxRefAhead), c.buffer())
	if off-c.pageSize >= end-im.g.clusterSize && c.get(off-c.pageSize) != nil {
		for at := off + c.pageSize; at < end && len(bufs) < maxRefAhead && c.pages[at] == nil; at += c.pageSize {
			bufs = append(bufs, c.buffer())
		}
	}
	if err := im.f.ReadV(bufs, off); err != nil {
		if len(bufs) == 1 {
			return nil, err
		}
		if err := readFull(im.f, bufs[0], off); err != nil { // it may be that the others can't be read
			return nil, err
		}
		bufs = bufs[:1]
	}
	for i := len(bufs) - 1; i > 0; i-- {
		c.insert(off+int64(i)*c.pageSize, bufs[i])
	}
	return c.insert(off, bufs[0]), nil // the last: until it is used it stays
}

// countsPerPage is the number of refcounts in a page.
func (im *Image) countsPerPage() int64 { return im.g.pageSize * 8 >> im.g.refcountOrder }

// refcount is the count of cluster c.
func (im *Image) refcount(c int64) (uint64, error) {
	p, i, err := im.refPage(c)
	if p == nil || err != nil {
		return 0, err
	}
	return loadRefcount(p.buf, i, im.g.refcountOrder), nil
}

// take sets the count of the free clusters [c, c+n) to one. On an error none of
// them is taken. Preconditions: refcount blocks cover them.
func (im *Image) take(c, n int64) error {
	im.at(EventRefblockAlloc)
	for done := int64(0); done < n; {
		p, first, err := im.refPage(c + done)
		if err == nil && p == nil {
			err = fmt.Errorf("%w: no refcount block for cluster %#x", ErrCorrupt, (c+done)<<im.g.clusterBits)
		}
		if err == nil {
			count := min(n-done, im.countsPerPage()-first)
			for i := first; i < first+count && err == nil; i++ {
				if err = im.checkFree(c + done); err == nil {
					storeRefcount(im.refs.change(p), i, im.g.refcountOrder, 1)
					done++
				}
			}
		}
		if err != nil {
			im.giveBack(c, done)
			return err
		}
	}
	return nil
}

// checkFree refuses to hand out a cluster which holds metadata, whatever its
// refcount.
func (im *Image) checkFree(c int64) error {
	if k := im.meta[c]; k != 0 {
		return overlaps(k, "refcounts call cluster %#x free, which holds %v", c<<im.g.clusterBits, k)
	}
	return nil
}

func (im *Image) takeOne(c int64) error {
	if err := im.checkFree(c); err != nil {
		return err
	}
	p, i, err := im.refPage(c)
	if err != nil {
		return err
	}
	storeRefcount(im.refs.change(p), i, im.g.refcountOrder, 1)
	return nil
}

// giveBack frees clusters [c, c+n) at once. It is for clusters that nothing
// refers to: not on disk, not in memory, not in a request. An error leaks them.
func (im *Image) giveBack(c, n int64) {
	for ; n > 0; c, n = c+1, n-1 {
		if err := im.dropRef(c); err != nil {
			return
		}
	}
}

// dropRef lowers the count of cluster c by one.
func (im *Image) dropRef(c int64) error {
	p, i, err := im.refPage(c)
	if err != nil {
		return err
	}
	var count uint64
	if p != nil {
		count = loadRefcount(p.buf, i, im.g.refcountOrder)
	}
	if count == 0 {
		return fmt.Errorf("%w: cluster %#x is freed, but its refcount is 0", ErrCorrupt, c<<im.g.clusterBits)
	}
	storeRefcount(im.refs.change(p), i, im.g.refcountOrder, count-1)
	if count == 1 {
		im.alloc.hint = min(im.alloc.hint, c)
		delete(im.alloc.full, c/im.countsPerPage())
		delete(im.meta, c)
		im.stopPacking(c)
	}
	return nil
}

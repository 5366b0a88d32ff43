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
	if p == nil {
		im.at(EventRefblockLoad)
		buf := im.refs.buffer()
		if err := readFull(im.f, buf, at); err != nil {
			return nil, 0, fmt.Errorf("read refcount block: %w", err)
		}
		p = im.refs.insert(at, buf)
	}
	return p, i & (perPage - 1), nil
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

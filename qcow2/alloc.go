package qcow2

import "fmt"

// allocator is what the search for free clusters remembers. Guarded by
// Image.mu.
type allocator struct {
	hint    int64          // first cluster that may be free
	full    map[int64]bool // refcount pages known to count no free cluster
	end     int64          // bytes from here on were never written: they are zero
	dataEnd int64          // end of the last data cluster that this session took
	pack    int64          // where the next compressed cluster goes; 0: to a new host cluster
}

// allocate takes n consecutive clusters, the first that are free, and returns
// the offset of the first.
//
// Refcount blocks that are missing for them are added on the way, each in a
// cluster of its own behind them, if there is room.
//
// Preconditions (as for all of this file): mu is held exclusively.
func (im *Image) allocate(n int64) (int64, error) {
	im.at(EventClusterAlloc)
	for {
		c, err := im.findFree(n)
		if err != nil {
			return 0, err
		}
		missing := im.missingBlock(c, n)
		if missing < 0 {
			if err := im.take(c, n); err != nil {
				return 0, err
			}
			im.alloc.end = max(im.alloc.end, (c+n)<<im.g.clusterBits)
			return c << im.g.clusterBits, nil
		}
		if err := im.addRefBlock(missing); err != nil {
			return 0, err
		}
		im.alloc.hint = min(im.alloc.hint, c) // these may still be free
	}
}

// allocateBehind takes up to n consecutive clusters: those at offset behind, as
// many as are free, or if none is, n anywhere. So what one request writes stays
// together. It returns where they are, and how many.
func (im *Image) allocateBehind(behind, n int64) (host, count int64, err error) {
	c := behind >> im.g.clusterBits
	if behind == 0 || !im.g.aligned(behind) {
		host, err = im.allocate(n)
		return host, n, err
	}
	for {
		if count, err = im.freeFrom(c, n); err != nil {
			return 0, 0, err
		}
		if count == 0 {
			host, err = im.allocate(n)
			return host, n, err
		}
		missing := im.missingBlock(c, count)
		if missing < 0 {
			break
		}
		if err := im.addRefBlock(missing); err != nil {
			return 0, 0, err
		}
		if missing != c>>im.g.refBlockBits {
			im.alloc.hint = min(im.alloc.hint, c) // QEMU takes back what it had until there
		}
	}
	if err := im.take(c, count); err != nil {
		return 0, 0, err
	}
	im.alloc.end = max(im.alloc.end, (c+count)<<im.g.clusterBits)
	return behind, count, nil
}

// freeFrom is the number of clusters from c on, at most n, that are free.
func (im *Image) freeFrom(c, n int64) (int64, error) {
	if c+n > int64(maxHostOffset)>>im.g.clusterBits {
		return 0, nil
	}
	for i := int64(0); i < n; i++ {
		if count, err := im.refcount(c + i); err != nil || count != 0 {
			return i, err
		}
	}
	return n, nil
}

// findFree searches n consecutive free clusters from the hint on and moves the
// hint behind them. Whatever lies beyond the refcount blocks is free.
func (im *Image) findFree(n int64) (int64, error) {
	perPage := im.countsPerPage()
	limit := int64(maxHostOffset) >> im.g.clusterBits
	c, run := im.alloc.hint, int64(0)
	for run < n {
		if c >= limit {
			return 0, fmt.Errorf("%w: no host offsets left", ErrTooLarge)
		}
		end := (c/perPage + 1) * perPage
		if im.alloc.full[c/perPage] {
			c, run = end, 0
			continue
		}
		p, i, err := im.refPage(c)
		if err != nil {
			return 0, err
		}
		if p == nil {
			step := min(end-c, n-run)
			c, run = c+step, run+step
			continue
		}
		full := i == 0
		for ; c < end && run < n; c, i = c+1, i+1 {
			if loadRefcount(p.buf, i, im.g.refcountOrder) == 0 {
				run++
				full = false
			} else {
				run = 0
			}
		}
		if full && c == end {
			im.alloc.full[c/perPage-1] = true
		}
	}
	im.alloc.hint = c
	return c - n, nil
}

// missingBlock is the index of the first refcount block that does not exist of
// those which count clusters [c, c+n); -1 if all do.
func (im *Image) missingBlock(c, n int64) int64 {
	for bi := c >> im.g.refBlockBits; bi <= (c+n-1)>>im.g.refBlockBits; bi++ {
		if !im.hasBlock(bi) {
			return bi
		}
	}
	return -1
}

func (im *Image) hasBlock(bi int64) bool {
	return bi < int64(len(im.refTable)) && im.refTable[bi]&refTableOffset != 0
}

// addRefBlock adds a refcount block: the one with index bi, or the one that has
// to exist before a cluster can be taken for that.
func (im *Image) addRefBlock(bi int64) error {
	if bi >= int64(len(im.refTable)) {
		return im.growRefTable(bi)
	}
	c, err := im.findFree(1)
	if err != nil {
		return err
	}
	own := c >> im.g.refBlockBits
	if own >= int64(len(im.refTable)) {
		im.alloc.hint = c
		return im.growRefTable(own)
	}
	if im.hasBlock(own) {
		if err := im.takeOne(c); err != nil {
			return allocationOf("refcount block", err)
		}
		im.linkRefBlock(bi, c)
		return nil
	}
	// The block counts itself: link it first.
	if err := im.checkFree(c); err != nil {
		return allocationOf("refcount block", err)
	}
	im.linkRefBlock(own, c)
	delete(im.meta, c)
	err = im.takeOne(c)
	im.meta[c] = metaRefBlock
	return err
}

// linkRefBlock makes cluster c the empty refcount block with index bi.
func (im *Image) linkRefBlock(bi, c int64) {
	host := c << im.g.clusterBits
	im.refs.insertTable(host, im.g.clusterSize, nil)
	im.refTable[bi] = uint64(host)
	im.changes.refTable.touch(bi)
	im.setMeta(host, 1, metaRefBlock)
	im.alloc.end = max(im.alloc.end, host+im.g.clusterSize)
}

// growRefTable makes the refcount table longer, so that it has an entry for
// block bi, and moves it to new clusters. Those may need blocks that only the
// longer table can refer to; so it grows in memory first.
func (im *Image) growRefTable(bi int64) error {
	im.at(EventReftableGrow)
	perCluster := im.g.clusterSize / 8
	was := int64(len(im.refTable))
	clusters := max(was/perCluster*3/2+1, bi/perCluster+1)
	if clusters*im.g.clusterSize > maxRefTableBytes {
		if clusters = maxRefTableBytes / im.g.clusterSize; clusters*perCluster <= bi {
			return fmt.Errorf("%w: refcount table of more than %d bytes", ErrTooLarge, maxRefTableBytes)
		}
	}
	size := clusters * perCluster
	im.refTable = append(im.refTable, make([]uint64, size-was)...)
	host, err := im.allocate(clusters)
	if err != nil {
		im.shrinkRefTable(was)
		return err
	}
	if int64(len(im.refTable)) != size {
		// Finding room made the table grow, and move, once more.
		im.giveBack(host>>im.g.clusterBits, clusters)
		return nil
	}
	im.release(int64(im.hdr.refTable)>>im.g.clusterBits, int64(im.hdr.refClusters), false)
	im.setMeta(host, clusters, metaRefTable)
	im.hdr.refTable, im.hdr.refClusters = uint64(host), uint32(clusters)
	im.changes.refTable.move()
	return nil
}

// shrinkRefTable undoes the growth of the table in memory, with the blocks that
// only the longer table referred to.
func (im *Image) shrinkRefTable(n int64) {
	if int64(im.hdr.refClusters)*im.g.clusterSize/8 > n {
		return // it did move, in the attempt that failed later
	}
	for _, e := range im.refTable[n:] {
		if block := int64(e & refTableOffset); block != 0 {
			im.refs.dropTable(block, im.g.clusterSize)
			delete(im.meta, block>>im.g.clusterBits)
		}
	}
	im.refTable = im.refTable[:n]
}

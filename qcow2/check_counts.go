package qcow2

import (
	"encoding/binary"
	"fmt"
)

// refcount is the count on disk of a cluster that is referred to.
func (c *checker) refcount(cluster int64) uint64 {
	if c.manyWrong {
		return c.onDisk(cluster)
	}
	if n, ok := c.wrong[cluster]; ok {
		return n
	}
	return uint64(c.refs.count(cluster))
}

// compare holds the refcounts on disk against the references, and corrects
// those in existing blocks as far as repair is asked for.
func (c *checker) compare() error {
	var blocks, offsets []int64
	for bi, e := range c.refTable {
		if c.goodBlock(int64(bi)) {
			blocks, offsets = append(blocks, int64(bi)), append(offsets, int64(e))
		}
	}
	scanBlocks := func() error {
		return scan(c.f, c.g.clusterSize, offsets, func(i int, buf []byte) error { return c.compareBlock(blocks[i], buf) })
	}
	if c.o.Repair != RepairNone { // all that is wrong is said before the first is corrected
		c.look = true
		err := scanBlocks()
		if c.look = false; err != nil {
			return err
		}
	}
	if err := scanBlocks(); err != nil {
		return err
	}
	for _, bi := range c.refs.groups(c.g.refBlockBits) {
		if c.goodBlock(bi) {
			continue
		}
		for cl := bi << c.g.refBlockBits; cl < (bi+1)<<c.g.refBlockBits; cl++ {
			if refs := c.refs.count(cl); refs > 0 {
				c.keepWrong(cl, 0)
				c.rebuild++
				c.corruption("ERROR cluster %d refcount=0 reference=%d", cl, refs)
			}
		}
	}
	return nil
}

// goodBlock reports whether there is a usable refcount block with index bi.
func (c *checker) goodBlock(bi int64) bool {
	return bi < int64(len(c.refTable)) && c.refTable[bi] != 0 && !c.badBlocks[bi]
}

func (c *checker) compareBlock(bi int64, buf []byte) error {
	off := int64(c.refTable[bi])
	changed := false
	first := bi << c.g.refBlockBits
	if c.equalCounts(buf, c.refs.view(first, 1<<c.g.refBlockBits)) {
		return nil
	}
	for i := int64(0); i < 1<<c.g.refBlockBits; i++ {
		count, refs := loadRefcount(buf, i, c.g.refcountOrder), uint64(c.refs.count(first+i))
		if count == refs {
			continue
		}
		if c.judge(first+i, count, refs) {
			storeRefcount(buf, i, c.g.refcountOrder, refs)
			changed = true
		} else if refs > 0 && !c.look {
			c.keepWrong(first+i, count)
		}
	}
	if !changed {
		return nil
	}
	return writeFull(c.f, buf, off)
}

// judge records that a cluster has the wrong refcount, and reports whether to
// correct it.
func (c *checker) judge(cluster int64, count, refs uint64) (fix bool) {
	leak := count > refs
	fix = c.o.Repair == RepairAll || c.o.Repair == RepairLeaks && leak
	word := "ERROR"
	if leak {
		word = "Leaked"
	}
	if refs > c.g.maxRefcount() || c.look {
		fix = false
	}
	if fix {
		word = "Repairing"
	}
	switch over := refs > c.g.maxRefcount(); {
	case over && !c.look:
		c.report("ERROR: overflow cluster offset=%#x\nUse qemu-img amend to increase the refcount entry width or qemu-img convert "+
			"to create a clean copy if the image cannot be opened for writing", cluster<<c.g.clusterBits)
	case !over:
		c.report("%s cluster %d refcount=%d reference=%d", word, cluster, count, refs)
	}
	switch {
	case c.look:
	case leak && fix:
		c.res.LeaksFixed++
	case leak:
		c.res.Leaks++
	case fix:
		c.res.CorruptionsFixed++
	default:
		c.res.Corruptions++
	}
	return fix
}

// maxGap is how far beyond the end of the file a rebuild may begin to write, in
// bytes: it must keep clear of what is referred to there.
const maxGap = 1 << 30

// rebuildRefcounts adds the refcount blocks that are missing and replaces those
// that are no good. New structures go behind the end of the file, where nothing
// can be lost; they are durable before the refcount table, and that before the
// header, refers to them.
func (c *checker) rebuildRefcounts() error {
	c.report("Rebuilding refcount structure")
	next := max(c.end, c.refs.last()+1, c.claimed)
	if next-c.end > maxGap>>c.g.clusterBits {
		return fmt.Errorf("%w: it refers to offset %#x, far beyond its end", ErrCorrupt, next<<c.g.clusterBits)
	}
	first := next
	grow := func(n int64) int64 {
		for i := range n {
			c.refs.add(next+i, 1)
		}
		next += n
		return (next - n) << c.g.clusterBits
	}
	for bi := range c.badBlocks {
		c.refTable[bi] = 0
	}
	c.badBlocks = map[int64]bool{}
	oldTable, oldClusters := int64(c.h.refTable), int64(c.h.refClusters)
	relocate, moved := c.sharedTable(), false
	fresh := make(map[int64]bool)
	for again := true; again; {
		again = false
		for _, bi := range c.refs.groups(c.g.refBlockBits) {
			short := bi >= int64(len(c.refTable))
			if (short || relocate) && !moved {
				if err := c.longerTable(bi, next, grow); err != nil {
					return err
				}
				moved, again = true, true
			} else if short {
				return fmt.Errorf("%w: refcount table of %d entries", ErrTooLarge, len(c.refTable))
			}
			if c.refTable[bi] == 0 {
				c.refTable[bi] = uint64(grow(1))
				fresh[bi], again = true, true
			}
		}
	}
	for cl := first; cl < next; cl++ {
		fresh[cl>>c.g.refBlockBits] = true
	}
	for bi := range fresh {
		if err := c.writeBlock(bi); err != nil {
			return err
		}
	}
	if err := c.f.Sync(); err != nil {
		return err
	}
	if err := writeFull(c.f, marshalTable(c.refTable), int64(c.h.refTable)); err != nil {
		return err
	}
	if err := c.f.Sync(); err != nil {
		return err
	}
	if moved {
		if err := c.switchTable(oldTable, oldClusters); err != nil {
			return err
		}
	}
	c.res.Corruptions -= c.rebuild
	c.res.CorruptionsFixed += c.rebuild
	c.rebuild = 0
	for cl := range c.wrong {
		if uint64(c.refs.count(cl)) <= c.g.maxRefcount() {
			delete(c.wrong, cl)
		}
	}
	return nil
}

// sharedTable reports whether something else refers to the clusters of the
// refcount table, so that it must not be written in place.
func (c *checker) sharedTable() bool {
	first := int64(c.h.refTable) >> c.g.clusterBits
	for i := range int64(c.h.refClusters) {
		if c.refs.count(first+i) > 1 {
			return true
		}
	}
	return false
}

// longerTable places a refcount table that can refer to block bi, and to the
// blocks of what is still to be placed.
func (c *checker) longerTable(bi, next int64, grow func(int64) int64) error {
	perCluster := c.g.clusterSize / 8
	need := max(bi, (next+next/8)>>c.g.refBlockBits) + 2
	clusters := max(need, int64(len(c.refTable)))/perCluster + 1
	if clusters<<c.g.clusterBits > maxRefTableBytes {
		return fmt.Errorf("%w: refcount table of more than %d bytes", ErrTooLarge, maxRefTableBytes)
	}
	c.refTable = append(c.refTable, make([]uint64, clusters*perCluster-int64(len(c.refTable)))...)
	c.h.refTable, c.h.refClusters = uint64(grow(clusters)), uint32(clusters)
	return nil
}

// writeBlock writes refcount block bi as the references ask for.
func (c *checker) writeBlock(bi int64) error {
	c.block = nil
	buf := make([]byte, c.g.clusterSize)
	first := bi << c.g.refBlockBits
	for i := int64(0); i < 1<<c.g.refBlockBits; i++ {
		n := min(uint64(c.refs.count(first+i)), c.g.maxRefcount())
		storeRefcount(buf, i, c.g.refcountOrder, n)
	}
	return writeFull(c.f, buf, int64(c.refTable[bi]))
}

// switchTable makes the header name the new refcount table, and frees the old.
func (c *checker) switchTable(old, clusters int64) error {
	f := binary.BigEndian.AppendUint64(nil, c.h.refTable)
	f = binary.BigEndian.AppendUint32(f, c.h.refClusters)
	if err := writeFull(c.f, f, hdrRefTable); err != nil {
		return err
	}
	if err := c.f.Sync(); err != nil {
		return err
	}
	for i := range clusters {
		cl := old>>c.g.clusterBits + i
		c.refs.sub(cl)
		if bi := cl >> c.g.refBlockBits; c.goodBlock(bi) {
			if err := c.writeBlock(bi); err != nil {
				return err
			}
		}
	}
	return nil
}

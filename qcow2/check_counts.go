package qcow2

import (
	"fmt"
	"math"
	"syscall"
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

// compare holds the refcounts on disk against the references, and corrects them as
// far as repair is asked for: all that is wrong is said before the first is corrected. A
// count of 0 for what is referred to means that what has the counts can't be trusted.
func (c *checker) compare() error {
	c.look = c.o.Repair != RepairNone
	err := c.compareBlocks()
	looked := c.look
	if c.look = false; err != nil || !looked {
		return err
	}
	switch {
	case c.rebuild == 0:
		return c.compareBlocks()
	case c.o.Repair != RepairAll:
		c.report("ERROR need to rebuild refcount structures")
		return fmt.Errorf("refcount structures need to be rebuilt, which only a repair of all does: %w", syscall.EIO)
	}
	if err := c.rebuildRefcounts(); err != nil {
		return fmt.Errorf("rebuild refcounts: %w", err)
	}
	return nil
}

// compareBlocks is one pass over all that is counted or referred to, by number of the cluster.
func (c *checker) compareBlocks() error {
	var blocks, offsets []int64
	for bi, e := range c.refTable {
		if c.goodBlock(int64(bi)) {
			blocks, offsets = append(blocks, int64(bi)), append(offsets, int64(e))
		}
	}
	groups := c.refs.groups(c.g.refBlockBits)
	uncounted := func(limit int64) { // those that come before a block
		for ; len(groups) > 0 && groups[0] < limit; groups = groups[1:] {
			if !c.goodBlock(groups[0]) {
				c.judgeUncounted(groups[0])
			}
		}
	}
	err := scan(c.f, c.g.clusterSize, offsets, func(i int, buf []byte) error {
		uncounted(blocks[i])
		return c.compareBlock(blocks[i], buf)
	})
	if err == nil {
		uncounted(math.MaxInt64)
	}
	return err
}

// judgeUncounted judges the clusters that a missing refcount block would count.
func (c *checker) judgeUncounted(bi int64) {
	for cl := bi << c.g.refBlockBits; cl < (bi+1)<<c.g.refBlockBits; cl++ {
		if refs := c.refs.count(cl); refs > 0 {
			c.judge(cl, 0, uint64(refs))
			if !c.look {
				c.keepWrong(cl, 0)
			}
		}
	}
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
	leak, over := count > refs, refs > c.g.maxRefcount()
	word := "ERROR"
	if leak {
		word = "Leaked"
		c.leakEnd = max(c.leakEnd, cluster+1)
	}
	if fix = !c.look && !over && (c.o.Repair == RepairAll || c.o.Repair == RepairLeaks && leak); fix {
		word = "Repairing"
	}
	if !over {
		c.report("%s cluster %d refcount=%d reference=%d", word, cluster, count, refs)
	}
	if c.look {
		c.rebuild += b2i(count == 0)
		if leak {
			c.seen.Leaks++
		} else if !over {
			c.seen.Corruptions++
		}
		return false
	}
	switch {
	case over:
		c.overflow(cluster)
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

// overflow records that the refcount of a cluster can't be as high as it should.
func (c *checker) overflow(cluster int64) {
	c.corruption("ERROR: overflow cluster offset=%#x\nUse qemu-img amend to increase the refcount entry width or qemu-img convert "+
		"to create a clean copy if the image cannot be opened for writing", cluster<<c.g.clusterBits)
}

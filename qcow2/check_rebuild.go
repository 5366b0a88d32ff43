package qcow2

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// maxGap is how far beyond the end of the file a rebuild may begin to write, in
// bytes: it must keep clear of what is referred to there.
const maxGap = 1 << 30

// rebuild makes refcount structures anew, beside those that an image has.
type rebuild struct {
	c     *checker
	table []uint64 // the new refcount table
	off   int64    // where it goes
	from  int64    // no cluster below this is taken
}

// rebuildRefcounts replaces the refcount table and all of its blocks by new ones, in
// free clusters. What the references could not all be read of may have data in clusters that
// seem to be free; then the new ones go behind the end of the file, where nothing can be lost.
// They are durable before the header refers to them.
func (c *checker) rebuildRefcounts() error {
	c.report("Rebuilding refcount structure")
	r := &rebuild{c: c}
	if behind := max(c.end, c.refs.last()+1, c.claimed); c.unread {
		if behind-c.end > maxGap>>c.g.clusterBits {
			return fmt.Errorf("%w: it refers to offset %#x, far beyond its end", ErrCorrupt, behind<<c.g.clusterBits)
		}
		r.from = behind
	}
	old := c.oldStructures()
	if err := r.place(); err != nil {
		return err
	}
	c.refTable, c.badBlocks, c.block = r.table, map[int64]bool{}, nil
	for bi, e := range r.table {
		if e != 0 {
			if err := c.writeBlock(int64(bi)); err != nil {
				return err
			}
		}
	}
	if err := writeFull(c.f, marshalTable(r.table), r.off); err != nil {
		return err
	}
	if err := c.f.Sync(); err != nil {
		return err
	}
	c.h.refTable, c.h.refClusters = uint64(r.off), uint32(int64(len(r.table))*8>>c.g.clusterBits)
	f := binary.BigEndian.AppendUint64(nil, c.h.refTable)
	f = binary.BigEndian.AppendUint32(f, c.h.refClusters)
	if err := writeFull(c.f, f, hdrRefTable); err != nil {
		return err
	}
	if err := c.f.Sync(); err != nil {
		return err
	}
	c.res.Corruptions -= c.badStructures
	c.res.CorruptionsFixed += c.badStructures + c.seen.Corruptions
	c.res.LeaksFixed += c.seen.Leaks
	c.rebuild, c.badStructures = 0, 0
	c.judgeOverflows()
	return c.freeOld(old)
}

// oldStructures are the clusters of the refcount table and of the blocks that were counted as
// references of it, in order; one twice is in it twice.
func (c *checker) oldStructures() []int64 {
	var list []int64
	for i := range (int64(len(c.refTable))*8 + c.g.clusterSize - 1) >> c.g.clusterBits {
		if cl := int64(c.h.refTable)>>c.g.clusterBits + i; c.refs.count(cl) > 0 {
			list = append(list, cl)
		}
	}
	for bi, e := range c.refTable {
		if c.goodBlock(int64(bi)) {
			list = append(list, int64(e)>>c.g.clusterBits)
		}
	}
	slices.Sort(list)
	return list
}

// place finds clusters for a block of each group of clusters in which one is referred to, and
// for a table that names them all, and counts them. Those may need more blocks, and so on.
func (r *rebuild) place() error {
	c := r.c
	for done := false; !done; {
		done = true
		hint := r.from
		for _, bi := range c.refs.groups(c.g.refBlockBits) {
			if bi < int64(len(r.table)) && r.table[bi] != 0 {
				continue
			}
			if err := r.lengthen(bi); err != nil {
				return err
			}
			cl := c.refs.free(max(hint, bi<<c.g.refBlockBits), 1)
			c.refs.add(cl, 1)
			r.table[bi], hint, done = uint64(cl)<<c.g.clusterBits, cl, false
		}
		if clusters := int64(len(r.table)) * 8 >> c.g.clusterBits; r.off == 0 && done {
			cl := c.refs.free(r.from, clusters)
			for i := range clusters {
				c.refs.add(cl+i, 1)
			}
			r.off, done = cl<<c.g.clusterBits, false
		}
	}
	return nil
}

// lengthen makes the table long enough for block bi. A place that it had is given up.
func (r *rebuild) lengthen(bi int64) error {
	g := r.c.g
	size := g.roundUp((bi+1)*8) / 8
	if size*8 > maxRefTableBytes {
		return fmt.Errorf("%w: refcount table of more than %d bytes", ErrTooLarge, maxRefTableBytes)
	}
	if size <= int64(len(r.table)) {
		return nil
	}
	if r.off != 0 {
		for i := range int64(len(r.table)) * 8 >> g.clusterBits {
			r.c.refs.sub(r.off>>g.clusterBits + i)
		}
		r.off = 0
	}
	r.table = append(r.table, make([]uint64, size-int64(len(r.table)))...)
	return nil
}

// judgeOverflows says of which clusters the new refcounts are too low, since they can't be
// what they should.
func (c *checker) judgeOverflows() {
	c.wrong, c.manyWrong = make(map[int64]uint64), false
	if !c.refs.shared {
		return
	}
	for _, bi := range c.refs.groups(c.g.refBlockBits) {
		for cl := bi << c.g.refBlockBits; cl < (bi+1)<<c.g.refBlockBits; cl++ {
			if uint64(c.refs.count(cl)) > c.g.maxRefcount() {
				c.overflow(cl)
				c.keepWrong(cl, c.g.maxRefcount())
			}
		}
	}
}

// freeOld drops the references to what was replaced.
func (c *checker) freeOld(list []int64) error {
	touched := make(map[int64]bool)
	for _, cl := range list {
		n := c.refs.count(cl)
		c.refs.sub(cl)
		c.report("Repairing cluster %d refcount=%d reference=%d", cl, n, c.refs.count(cl))
		touched[cl>>c.g.refBlockBits] = true
	}
	for _, bi := range slices.Sorted(maps.Keys(touched)) {
		if err := c.writeBlock(bi); err != nil {
			return err
		}
	}
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

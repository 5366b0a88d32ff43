package qcow2

import (
	"fmt"
	"maps"
	"slices"
)

// setRefcountWidth makes refcounts 1<<order bits wide. Progress is in entries of the refcount table,
// times the passes over it.
func (im *Image) setRefcountWidth(order uint, progress Progress) error {
	return im.whilePaused(func() error {
		err := im.changeRootPaused(func(r *rootChange) error { return r.setWidth(order, progress) })
		if err != nil {
			return err
		}
		return im.drain()
	})
}

// setWidth gives the new state refcounts of another width: new blocks and a new
// table, which count all that the present ones count, and what the change
// itself takes. The present blocks and table belong to the old state then.
func (r *rootChange) setWidth(order uint, progress Progress) error {
	im := r.im
	w := &widening{r: r, g: im.g, blocks: make(map[int64]int64), progress: progress}
	w.g.refcountOrder, w.g.refBlockBits = order, im.g.clusterBits+3-order
	if err := w.allocate(); err != nil {
		return err
	}
	for _, e := range im.refTable {
		if block := int64(e & refTableOffset); block != 0 {
			if err := r.loseRun(block, 1, false); err != nil {
				return err
			}
		}
	}
	if err := r.loseRun(int64(im.hdr.refTable), int64(im.hdr.refClusters)<<im.g.clusterBits, false); err != nil {
		return err
	}
	refTable := make([]uint64, w.clusters<<im.g.clusterBits/8)
	todo := slices.Sorted(maps.Keys(w.blocks))
	for i := range im.refTable {
		w.report(int64(i), 1)
		for ; len(todo) > 0 && todo[0]<<w.g.refBlockBits>>im.g.refBlockBits <= int64(i); todo = todo[1:] {
			bi := todo[0]
			if err := w.write(bi, w.blocks[bi]); err != nil {
				return err
			}
			refTable[bi] = uint64(w.blocks[bi])
		}
	}
	w.report(int64(len(im.refTable)), 1)
	im.g = w.g
	im.hdr.refcountOrder = uint32(order)
	im.hdr.refTable, im.hdr.refClusters = uint64(w.table), uint32(w.clusters)
	im.refTable = refTable
	im.refs.reset()
	im.alloc.full = make(map[int64]bool)
	return nil
}

// widening is the work of setWidth.
type widening struct {
	r        *rootChange
	g        geometry        // with the new width
	blocks   map[int64]int64 // offsets of the new blocks, by index
	table    int64           // offset of the new refcount table
	clusters int64           // of it
	progress Progress
	passes   int64 // over the refcount table, that have ended
}

// report tells that a pass over the refcount table has come to an entry. left is how many passes
// there are at least, with this one.
func (w *widening) report(entry, left int64) {
	entries := int64(len(w.r.im.refTable))
	w.progress.report(w.passes*entries+entry, max(w.passes+left, minPasses)*entries)
}

// minPasses is how many passes there are at least: two that add what is missing, the last of them
// nothing, and one that writes.
const minPasses = 3

// allocate takes clusters for the new blocks and the new table. They need
// counting themselves, in present blocks and in new ones; so it goes on until
// nothing is missing.
func (w *widening) allocate() error {
	im := w.r.im
	for {
		missed, err := w.addMissing()
		if err != nil {
			return err
		}
		last := int64(0)
		for bi := range w.blocks {
			last = max(last, bi)
		}
		need := w.g.clusters((last + 1) * 8)
		if need<<w.g.clusterBits > maxRefTableBytes {
			return fmt.Errorf("%w: refcount table of more than %d bytes", ErrTooLarge, maxRefTableBytes)
		}
		switch {
		case need > w.clusters:
			if w.table != 0 {
				im.giveBack(w.table>>im.g.clusterBits, w.clusters)
			}
			if w.table, err = im.allocate(need); err != nil {
				return err
			}
			w.clusters = need
		case !missed:
			return nil
		}
	}
}

// addMissing takes a cluster for each new block that has something to count, and
// does not exist yet, and reports whether there was one. It is one pass over the present counts, in which those
// clusters are counted as well, mostly. What does not fit into a new count is an error.
func (w *widening) addMissing() (missed bool, err error) {
	im := w.r.im
	perPage := im.countsPerPage()
	for c := int64(0); c < int64(len(im.refTable))<<im.g.refBlockBits; c += perPage {
		if c&(1<<im.g.refBlockBits-1) == 0 {
			w.report(c>>im.g.refBlockBits, 2)
		}
		p, _, err := im.refPage(c)
		if err != nil {
			return false, err
		}
		for i := int64(0); p != nil && i < perPage; i++ {
			count := loadRefcount(p.buf, i, im.g.refcountOrder)
			if count == 0 {
				continue
			}
			if count > w.g.maxRefcount() {
				return false, &ImageError{Kind: ErrTooLarge, Problem: fmt.Sprintf("Cannot decrease refcount entry width to %d bits: Cluster at offset %#x has a refcount of %d",
					1<<w.g.refcountOrder, (c+i)<<im.g.clusterBits, count)}
			}
			bi := (c + i) >> w.g.refBlockBits
			if _, ok := w.blocks[bi]; ok {
				continue
			}
			missed = true
			if w.blocks[bi], err = im.allocate(1); err != nil {
				return false, err
			}
			if p, _, err = im.refPage(c); err != nil { // it may be another now
				return false, err
			}
		}
	}
	w.report(int64(len(im.refTable)), 2)
	w.passes++
	return missed, nil
}

// write fills the new block with index bi from the present counts.
func (w *widening) write(bi, host int64) error {
	im := w.r.im
	buf := make([]byte, w.g.clusterSize)
	first := bi << w.g.refBlockBits
	for i := range int64(1) << w.g.refBlockBits {
		p, at, err := im.refPage(first + i)
		if err != nil {
			return err
		}
		if p != nil {
			storeRefcount(buf, i, w.g.refcountOrder, loadRefcount(p.buf, at, im.g.refcountOrder))
		}
	}
	return writeFull(im.f, buf, host)
}

package qcow2

import (
	"errors"
	"fmt"
	"slices"
)

// gain counts one more reference to everything that an L1 table refers to: L2
// tables, and what these refer to.
func (r *rootChange) gain(l1 []uint64) error {
	return r.walk(l1, r.gainRun)
}

// lose takes back what gain counts.
func (r *rootChange) lose(l1 []uint64) error {
	return r.walk(l1, func(off, n int64) error { return r.loseRun(off, n, r.im.passes(PassSnapshot)) })
}

// walk calls visit for every run of bytes that an L1 table refers to: once for
// entries in a row that refer to clusters in a row. A table that refers twice to
// the same L2 table is refused: that takes no time to make and forever to walk.
func (r *rootChange) walk(l1 []uint64, visit func(off, n int64) error) error {
	im := r.im
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	seen := make(map[int64]bool)
	for i, e := range l1 {
		table := int64(e & entryOffset)
		if table == 0 {
			continue
		}
		switch {
		case !im.g.aligned(table):
			return unalignedL2(table, int64(i))
		case table >= im.alloc.end:
			return fmt.Errorf("%w: L2 table %#x lies beyond the end of the file (L1 index %d)", ErrCorrupt, table, i)
		case seen[table]:
			return fmt.Errorf("%w: L2 table %#x is used twice (L1 index %d)", ErrCorrupt, table, i)
		}
		seen[table] = true
		if err := r.spill(); err != nil {
			return err
		}
		if err := readFull(im.f, *buf, table); err != nil {
			return fmt.Errorf("read L2 table: %w", err)
		}
		for j := int64(0); j < 1<<im.g.l2Bits; {
			n, err := r.walkRun(*buf, j, visit)
			if err != nil {
				if u := unalignedCluster(0); errors.As(err, &u) {
					return badEntry(table, j, err)
				}
				return fmt.Errorf("L2 table %#x, %s: %w", table, indices(j, n), err)
			}
			j += n
		}
		if err := visit(table, im.g.clusterSize); err != nil {
			return fmt.Errorf("L2 table %#x: %w", table, err)
		}
	}
	return nil
}

// walkRun calls visit for what L2 entry j refers to, and those behind it that go on
// from there. It returns how many entries these are.
func (r *rootChange) walkRun(table []byte, j int64, visit func(off, n int64) error) (int64, error) {
	g := &r.im.g
	e, n := g.word(table, j), g.inRow(table, j)
	if n == 1 || g.dataFile {
		return 1, r.walkEntry(e, visit)
	}
	return n, visit(int64(e&entryOffset), n<<g.clusterBits)
}

// indices names n entries of a table, from index j on.
func indices(j, n int64) string {
	if n == 1 {
		return fmt.Sprintf("index %d", j)
	}
	return fmt.Sprintf("indices %d to %d", j, j+n-1)
}

func (r *rootChange) walkEntry(e uint64, visit func(off, n int64) error) error {
	if r.im.g.dataFile {
		return nil // data there is not counted
	}
	kind, err := r.im.g.classify(e)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch kind {
	case kindNormal, kindZeroAlloc:
		return visit(int64(e&entryOffset), r.im.g.clusterSize)
	case kindCompressed:
		off, n, err := r.im.g.compressed(e)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return visit(off, n)
	}
	return nil
}

// gainRun counts one more reference to each of the clusters that n bytes at off lie in.
func (r *rootChange) gainRun(off, n int64) error {
	im := r.im
	order, most := im.g.refcountOrder, im.g.maxRefcount()
	return im.eachCounts(off, n, func(p *page, i, c, n int64) error {
		buf := im.refs.change(p)
		for end := c + n; c < end; c, i = c+1, i+1 {
			switch count := loadRefcount(buf, i, order); count {
			case 0:
				return im.uncounted(c)
			case most:
				return fmt.Errorf("%w: cluster %#x has %d references, refcounts of %d bits hold no more",
					ErrTooLarge, c<<im.g.clusterBits, count, 1<<order)
			default:
				storeRefcount(buf, i, order, count+1)
			}
		}
		return nil
	})
}

// loseRun takes a reference from the clusters that n bytes at off lie in. The
// last one stays in the refcount until after the switch. With punch the storage
// is given back then, too.
func (r *rootChange) loseRun(off, n int64, punch bool) error {
	im := r.im
	order := im.g.refcountOrder
	return im.eachCounts(off, n, func(p *page, i, c, n int64) error {
		for end := c + n; c < end; c, i = c+1, i+1 {
			switch count := loadRefcount(p.buf, i, order); count {
			case 0:
				return im.uncounted(c)
			case 1:
				r.bury(c, punch)
			default:
				storeRefcount(im.refs.change(p), i, order, count-1)
			}
		}
		return nil
	})
}

// bury enters a cluster that only the old state uses.
func (r *rootChange) bury(c int64, punch bool) {
	if n := len(r.dead); n > 0 {
		last := &r.dead[n-1]
		if last.cluster+last.count == c && last.punch == punch {
			last.count++
			return
		}
	}
	r.dead = append(r.dead, freeing{cluster: c, count: 1, epoch: r.im.epochs.now.Load(), punch: punch})
}

// eachCounts calls do for the refcounts of the clusters that n bytes at off lie in, a page at
// a time: those of n clusters from c on are the page's from index i on. A cluster that no
// page counts is an error.
func (im *Image) eachCounts(off, n int64, do func(p *page, i, c, n int64) error) error {
	if n == 0 {
		return nil
	}
	for c, end := off>>im.g.clusterBits, (off+n-1)>>im.g.clusterBits+1; c < end; {
		p, i, err := im.refPage(c)
		if err != nil {
			return err
		}
		if p == nil {
			return im.uncounted(c)
		}
		count := min(end-c, im.countsPerPage()-i)
		if err := do(p, i, c, count); err != nil {
			return err
		}
		c += count
	}
	return nil
}

// uncounted says that a cluster is referred to, but has no refcount.
func (im *Image) uncounted(c int64) error {
	return fmt.Errorf("%w: cluster %#x is in use, but its refcount is 0", ErrCorrupt, c<<im.g.clusterBits)
}

// countOf is the refcount of a cluster that is in use.
func (im *Image) countOf(c int64) (uint64, error) {
	count, err := im.refcount(c)
	if err == nil && count == 0 {
		err = im.uncounted(c)
	}
	return count, err
}

// differing returns what two L1 tables refer to that the other one does not: the
// entries of the same L2 table at the same place are left out of both.
func differing(a, b []uint64) (onlyA, onlyB []uint64) {
	onlyA, onlyB = slices.Clone(a), slices.Clone(b)
	for i := range min(len(a), len(b)) {
		if a[i]&entryOffset == b[i]&entryOffset {
			onlyA[i], onlyB[i] = 0, 0
		}
	}
	return onlyA, onlyB
}

package qcow2

import (
	"errors"
	"fmt"
	"slices"
)

// gain counts one more reference to everything that an L1 table refers to: L2
// tables, and what these refer to.
func (r *rootChange) gain(l1 []uint64) error {
	return r.walk(l1, func(off, n int64) error {
		for c := off >> r.im.g.clusterBits; c <= (off+n-1)>>r.im.g.clusterBits; c++ {
			if err := r.gainCluster(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// lose takes back what gain counts.
func (r *rootChange) lose(l1 []uint64) error {
	return r.walk(l1, func(off, n int64) error { return r.loseRun(off, n, r.im.passes(PassSnapshot)) })
}

// walk calls visit for every run of bytes that an L1 table refers to. A table
// that refers twice to the same L2 table is refused: that takes no time to make
// and forever to walk.
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
		for j := int64(0); j < 1<<im.g.l2Bits; j++ {
			err := r.walkEntry(im.g.word(*buf, j), visit)
			if err != nil {
				if u := unalignedCluster(0); errors.As(err, &u) {
					return badEntry(table, j, err)
				}
				return fmt.Errorf("L2 table %#x, index %d: %w", table, j, err)
			}
		}
		if err := visit(table, im.g.clusterSize); err != nil {
			return fmt.Errorf("L2 table %#x: %w", table, err)
		}
	}
	return nil
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

func (r *rootChange) gainCluster(c int64) error {
	im := r.im
	p, i, count, err := r.countOf(c)
	if err != nil {
		return err
	}
	if count == im.g.maxRefcount() {
		return fmt.Errorf("%w: cluster %#x has %d references, refcounts of %d bits hold no more",
			ErrTooLarge, c<<im.g.clusterBits, count, 1<<im.g.refcountOrder)
	}
	storeRefcount(im.refs.change(p), i, im.g.refcountOrder, count+1)
	return nil
}

// loseRun takes a reference from the clusters that n bytes at off lie in. The
// last one stays in the refcount until after the switch. With punch the storage
// is given back then, too.
func (r *rootChange) loseRun(off, n int64, punch bool) error {
	for c := off >> r.im.g.clusterBits; n > 0 && c <= (off+n-1)>>r.im.g.clusterBits; c++ {
		if err := r.loseCluster(c, punch); err != nil {
			return err
		}
	}
	return nil
}

func (r *rootChange) loseCluster(c int64, punch bool) error {
	im := r.im
	p, i, count, err := r.countOf(c)
	if err != nil {
		return err
	}
	if count > 1 {
		storeRefcount(im.refs.change(p), i, im.g.refcountOrder, count-1)
		return nil
	}
	if n := len(r.dead); n > 0 {
		last := &r.dead[n-1]
		if last.cluster+last.count == c && last.punch == punch {
			last.count++
			return nil
		}
	}
	r.dead = append(r.dead, freeing{cluster: c, count: 1, epoch: im.epochs.now.Load(), punch: punch})
	return nil
}

// countOf returns the refcount of a cluster that is in use, and where it is.
func (r *rootChange) countOf(c int64) (p *page, i int64, count uint64, err error) {
	im := r.im
	p, i, err = im.refPage(c)
	if err != nil {
		return nil, 0, 0, err
	}
	if p != nil {
		count = loadRefcount(p.buf, i, im.g.refcountOrder)
	}
	if count == 0 {
		return nil, 0, 0, fmt.Errorf("%w: cluster %#x is in use, but its refcount is 0", ErrCorrupt, c<<im.g.clusterBits)
	}
	return p, i, count, nil
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

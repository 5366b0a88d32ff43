package qcow2

import "fmt"

// expandZeroes makes the new state one without zero clusters: what replaces
// them reads the same. L2 tables that several L1 tables share stay shared. Progress is in L1
// entries.
func (r *rootChange) expandZeroes(progress Progress) error {
	im := r.im
	x := &expansion{r: r, tables: make(map[int64]int64), progress: progress, total: int64(len(im.l1))}
	for i := range im.snaps {
		x.total += im.snaps[i].l1Size
	}
	list := make([]snapshot, len(im.snaps))
	copy(list, im.snaps)
	moved := false
	err := im.eachL1(func(i int, l1 []uint64) error {
		changed, err := x.expand(l1)
		switch {
		case err != nil || i >= 0 && !changed:
			return err
		case i < 0:
			if err := r.dropL1(); err != nil {
				return err
			}
			return r.setL1(l1)
		}
		s := &list[i]
		if err := r.loseRun(s.l1Offset, s.l1Size*8, false); err != nil {
			return err
		}
		moved = true
		s.l1Offset, err = r.place(marshalTable(l1))
		return err
	})
	if err != nil || !moved {
		return err
	}
	return r.setSnapshots(list)
}

// expansion is the work of expandZeroes.
type expansion struct {
	r      *rootChange
	tables map[int64]int64 // the L2 table that takes the place of another

	progress    Progress
	done, total int64
}

// step reports one more L1 entry as done.
func (x *expansion) step() {
	x.done++
	x.progress.report(x.done, x.total)
}

// expand replaces L2 tables with zero clusters in an L1 table.
func (x *expansion) expand(l1 []uint64) (changed bool, err error) {
	im := x.r.im
	for i, e := range l1 {
		if i > 0 {
			x.step()
		}
		table := int64(e & entryOffset)
		if table == 0 {
			continue
		}
		if !im.g.aligned(table) {
			return false, unalignedL2(table, int64(i))
		}
		if table >= im.alloc.end {
			return false, fmt.Errorf("%w: L2 table offset %#x (L1 index %d)", ErrCorrupt, table, i)
		}
		if err := x.r.spill(); err != nil {
			return false, err
		}
		next, ok := x.tables[table]
		if !ok {
			if next, err = x.expandTable(table, int64(i)<<im.g.l1Shift); err != nil {
				return false, fmt.Errorf("L2 table %#x: %w", table, err)
			}
			x.tables[table] = next
		}
		if next != table {
			l1[i] = uint64(next)
			changed = true
		}
	}
	if len(l1) > 0 {
		x.step()
	}
	return changed, nil
}

// expandTable returns the L2 table to use in place of the given one, which maps
// what is at guest offset off: itself, if it has no zero clusters.
func (x *expansion) expandTable(table, off int64) (int64, error) {
	r, im := x.r, x.r.im
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	if err := readFull(im.f, *buf, table); err != nil {
		return 0, err
	}
	refs, err := im.countOf(table >> im.g.clusterBits)
	if err != nil {
		return 0, err
	}
	changed := false
	for i := int64(0); i < 1<<im.g.l2Bits; i++ {
		e := loadEntry(*buf, i)
		kind, err := im.g.classify(e)
		if err != nil {
			return 0, badEntry(table, i, err)
		}
		if kind != kindZero && kind != kindZeroAlloc {
			continue
		}
		e, err = x.expandEntry(e, kind, refs, off+i<<im.g.clusterBits)
		if err != nil {
			return 0, fmt.Errorf("index %d: %w", i, err)
		}
		storeEntry(*buf, i, e)
		changed = true
	}
	if !changed {
		return table, nil
	}
	for range refs {
		if err := r.loseRun(table, 1, false); err != nil {
			return 0, err
		}
	}
	host, err := r.place(*buf)
	if err != nil {
		return 0, err
	}
	return host, r.share(host, refs)
}

// expandEntry returns the entry to use in place of that of a zero cluster at
// guest offset off, in a table with the given number of references.
func (x *expansion) expandEntry(e uint64, kind clusterKind, refs uint64, off int64) (uint64, error) {
	r, im := x.r, x.r.im
	copied := uint64(0)
	if refs == 1 {
		copied = entryCopied
	}
	if kind == kindZeroAlloc {
		host := int64(e & entryOffset)
		count, err := im.countOf(host >> im.g.clusterBits)
		if err != nil {
			return 0, err
		}
		if count == refs { // nobody else sees what is there
			return uint64(host) | copied, im.zeroData(host, off, im.g.clusterSize)
		}
		for range refs {
			if err := r.loseRun(host, 1, true); err != nil {
				return 0, err
			}
		}
	}
	if im.backing == nil {
		return 0, nil
	}
	clean := im.alloc.end
	host, err := im.allocate(1)
	if err != nil {
		return 0, err
	}
	if host < clean || im.hdr.cryptMethod != cryptNone {
		if err := im.zeroData(host, off, im.g.clusterSize); err != nil {
			return 0, err
		}
	}
	im.alloc.dataEnd = max(im.alloc.dataEnd, host+im.g.clusterSize)
	return uint64(host) | copied, r.share(host, refs)
}

// share makes a new cluster one with the given number of references.
func (r *rootChange) share(host int64, refs uint64) error {
	for ; refs > 1; refs-- {
		if err := r.gainRun(host, 1); err != nil {
			return err
		}
	}
	return nil
}

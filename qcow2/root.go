package qcow2

import (
	"fmt"
	"slices"
)

// rootChange replaces all that the header refers to in one step: refcounts,
// active L1 table, snapshot table and disk size. Everything new is written to
// clusters that the old state leaves free, and then one write to the first
// sector of the file switches from the old state to the new one. So a crash
// leaves one or the other, and COPIED flags agree with refcounts in both.
//
// What only the old state uses keeps a reference in the new refcounts. Like any
// other cluster that lost its last reference, it is freed after the switch.
//
// Preconditions (as for all of this file, changeRoot aside): the image is
// paused and has nothing to commit; commitMu, reclaimMu and mu are held.
type rootChange struct {
	im *Image

	// What to go back to.
	hdr      header
	g        geometry
	l1       []uint64
	refTable []uint64
	snaps    []snapshot
	alloc    allocator

	dead []freeing // what only the old state uses
}

// changeRoot stops all other requests and makes the change that plan puts
// together. After an error the image is as it was.
func (im *Image) changeRoot(plan func(*rootChange) error) error {
	if im.readOnly {
		return ErrReadOnly
	}
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	err := im.changeRootPaused(plan)
	im.epochs.resume()
	if err != nil {
		return im.note(err)
	}
	// The change is durable. What it set free is given back by this flush and
	// the next; whatever fails here, they try again.
	_ = im.flush()
	return nil
}

func (im *Image) changeRootPaused(plan func(*rootChange) error) error {
	if err := im.drain(); err != nil {
		return err
	}
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.reclaimMu.Lock()
	defer im.reclaimMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.restoreHeader(); err != nil {
		return err
	}
	if im.corrupt.Load() {
		return ErrCorrupt
	}
	r := im.newRootChange()
	err := r.moveRefBlocks()
	if err == nil {
		err = plan(r)
	}
	if err == nil {
		err = r.write()
	}
	if err == nil {
		err = r.switchHeader()
	}
	if err != nil {
		r.undo()
		return err
	}
	r.settle()
	return nil
}

func (im *Image) newRootChange() *rootChange {
	r := &rootChange{
		im:       im,
		hdr:      *im.hdr,
		g:        im.g,
		l1:       im.l1,
		refTable: slices.Clone(im.refTable),
		snaps:    im.snaps,
		alloc:    im.alloc,
	}
	im.alloc.full = make(map[int64]bool)
	return r
}

// moveRefBlocks copies every refcount block that counts something to a new place. From then
// on refcounts change there only.
func (r *rootChange) moveRefBlocks() error {
	im := r.im
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	for bi, e := range r.refTable {
		old := int64(e & refTableOffset)
		if old == 0 {
			continue
		}
		// This also says whether the offset is valid.
		if _, _, err := im.refPage(int64(bi) << im.g.refBlockBits); err != nil {
			return err
		}
		if err := im.readRefBlock(*buf, old); err != nil {
			return err
		}
		if allZero(*buf) {
			im.refs.dropTable(old, im.g.clusterSize)
			im.refTable[bi] = 0
			continue
		}
		host, err := im.allocate(1)
		if err != nil {
			return err
		}
		if err := im.readRefBlock(*buf, old); err != nil { // it may count the new place
			return err
		}
		if err := writeFull(im.f, *buf, host); err != nil {
			return err
		}
		im.refs.dropTable(old, im.g.clusterSize)
		im.refTable[bi] = uint64(host)
		im.setMeta(host, 1, metaRefBlock)
	}
	// Only now do all refcounts count for the new state.
	for _, e := range r.refTable {
		if old := int64(e & refTableOffset); old != 0 {
			if err := r.loseRun(old, 1, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// readRefBlock reads a refcount block as it is in memory.
func (im *Image) readRefBlock(buf []byte, off int64) error {
	if err := readFull(im.f, buf, off); err != nil {
		return fmt.Errorf("read refcount block: %w", err)
	}
	for i := int64(0); i < im.g.clusterSize; i += im.g.pageSize {
		if p := im.refs.get(off + i); p != nil {
			copy(buf[i:], p.buf)
		}
	}
	return nil
}

// moveRefTable gives the refcount table a new place, unless it moved already
// because it had to grow.
func (r *rootChange) moveRefTable() error {
	im := r.im
	if im.hdr.refTable != r.hdr.refTable {
		return nil
	}
	clusters := int64(im.hdr.refClusters)
	host, err := im.allocate(clusters)
	if err != nil {
		return err
	}
	if im.hdr.refTable != r.hdr.refTable { // that made it grow
		im.giveBack(host>>im.g.clusterBits, clusters)
		return nil
	}
	im.hdr.refTable = uint64(host)
	im.setMeta(host, clusters, metaRefTable)
	return r.loseRun(int64(r.hdr.refTable), clusters<<im.g.clusterBits, false)
}

// setSnapshots makes list the snapshots of the new state.
func (r *rootChange) setSnapshots(list []snapshot) error {
	im := r.im
	b, err := marshalSnapshots(list)
	if err != nil {
		return err
	}
	if err := r.loseRun(int64(im.hdr.snapshots), snapshotTableSize(im.snaps), false); err != nil {
		return err
	}
	host, err := r.place(b)
	if err != nil {
		return err
	}
	im.snaps = list
	im.hdr.snapshots, im.hdr.snapshotCount = uint64(host), uint32(len(list))
	return nil
}

// dropL1 says that nothing refers to the old active L1 table in the new state.
func (r *rootChange) dropL1() error {
	return r.loseRun(int64(r.hdr.l1Offset), int64(r.hdr.l1Size)*8, false)
}

// setL1 makes l1 the active L1 table of the new state. What it refers to must
// be counted already; COPIED flags are made right here.
func (r *rootChange) setL1(l1 []uint64) error {
	im := r.im
	for i := range l1 {
		if err := r.spill(); err != nil {
			return err
		}
		var err error
		if l1[i], err = r.copied(l1[i]); err != nil {
			return err
		}
	}
	im.at(EventL1Update)
	host, err := r.place(marshalTable(l1))
	if err != nil {
		return err
	}
	im.l1 = l1
	im.hdr.l1Offset, im.hdr.l1Size = uint64(host), uint32(len(l1))
	return nil
}

// copied returns an L1 entry of the new state with its COPIED flag as it should
// be. If flags in the L2 table have to change, it refers to a copy of that.
func (r *rootChange) copied(e uint64) (uint64, error) {
	im := r.im
	table := int64(e & entryOffset)
	switch {
	case table == 0:
		return 0, nil
	case im.g.dataFile: // data there always has the flag
		return im.withCopied(uint64(table))
	}
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	if err := readFull(im.f, *buf, table); err != nil {
		return 0, fmt.Errorf("read L2 table: %w", err)
	}
	changed, err := im.flagTable(*buf)
	if err != nil {
		return 0, err
	}
	if !changed {
		return im.withCopied(uint64(table))
	}
	if err := r.loseRun(table, 1, false); err != nil {
		return 0, err
	}
	host, err := r.place(*buf)
	return uint64(host) | entryCopied, err
}

// flagTable makes the COPIED flags of an L2 table as they should be, and reports whether
// any was not.
func (im *Image) flagTable(table []byte) (changed bool, err error) {
	for i := int64(0); i < 1<<im.g.l2Bits; {
		e, n := im.g.word(table, i), im.g.inRow(table, i)
		if e&entryCompressed == 0 && e&entryOffset != 0 {
			here, err := im.flagRun(table, i, n)
			if err != nil {
				return false, err
			}
			changed = changed || here
		}
		i += n
	}
	return changed, nil
}

// flagRun is flagTable for n entries from index i on, which refer to clusters in a row.
func (im *Image) flagRun(table []byte, i, n int64) (changed bool, err error) {
	e := im.g.word(table, i)
	c := int64(e&entryOffset) >> im.g.clusterBits
	for n > 0 {
		p, at, err := im.refPage(c)
		if err != nil {
			return false, err
		}
		count := min(n, im.countsPerPage()-at)
		for j := range count {
			want := e &^ entryCopied
			if p != nil && loadRefcount(p.buf, at+j, im.g.refcountOrder) == 1 {
				want |= entryCopied
			}
			if want != e {
				im.g.setWord(table, i+j, want)
				changed = true
			}
			e += uint64(im.g.clusterSize)
		}
		c, i, n = c+count, i+count, n-count
	}
	return changed, nil
}

// withCopied returns an entry with the COPIED flag as the refcount of its
// cluster asks for.
func (im *Image) withCopied(e uint64) (uint64, error) {
	count, err := im.refcount(int64(e&entryOffset) >> im.g.clusterBits)
	if count == 1 {
		return e | entryCopied, err
	}
	return e &^ entryCopied, err
}

// place writes b to new clusters, the last filled up with zeroes, and returns
// their offset; 0 if b is empty.
func (r *rootChange) place(b []byte) (int64, error) {
	im := r.im
	if len(b) == 0 {
		return 0, nil
	}
	clusters := im.g.clusters(int64(len(b)))
	host, err := im.allocate(clusters)
	if err != nil {
		return 0, err
	}
	rest := make([]byte, clusters<<im.g.clusterBits-int64(len(b)))
	return host, im.f.WriteV([][]byte{b, rest}, host)
}

// spill writes refcounts out when there are many in memory.
func (r *rootChange) spill() error {
	im := r.im
	if len(im.refs.dirty) <= max(im.refs.limit, minDirtyPages) {
		return nil
	}
	return r.writeRefcounts()
}

// writeRefcounts writes all refcounts that are newer in memory. Nothing on disk
// refers to the blocks that they are in.
func (r *rootChange) writeRefcounts() error {
	im := r.im
	dirty := takeDirty(im.refs)
	list := make([]extent, 0, len(dirty))
	for _, p := range dirty {
		p.dirty, p.fresh = false, false
		list = append(list, extent{p.off, p.buf})
	}
	return im.writeExtents(&im.batch, list)
}

// write makes all of the new state durable but what refers to it.
func (r *rootChange) write() error {
	im := r.im
	if err := r.moveRefTable(); err != nil {
		return err
	}
	if err := r.checkDead(); err != nil {
		return err
	}
	im.at(EventRefblockUpdatePart)
	if err := r.writeRefcounts(); err != nil {
		return err
	}
	im.at(EventReftableUpdate)
	if err := writeFull(im.f, marshalTable(im.refTable), int64(im.hdr.refTable)); err != nil {
		return err
	}
	return im.sync()
}

// checkDead refuses to free metadata of the new state, as refcounts that are too
// low would have it.
func (r *rootChange) checkDead() error {
	im := r.im
	meta := im.collectMetadata()
	for _, d := range r.dead {
		for c := d.cluster; c < d.cluster+d.count; c++ {
			if k := meta[c]; k != 0 {
				return fmt.Errorf("%w: cluster %#x has too low a refcount, it holds %v", ErrCorrupt, c<<im.g.clusterBits, k)
			}
		}
	}
	return nil
}

// settle makes memory agree with the new state on disk.
func (r *rootChange) settle() {
	im := r.im
	im.size.Store(int64(im.hdr.size) &^ (sectorSize - 1))
	im.resizeBitmaps(im.Size())
	im.resizeCache(im.Size())
	im.writes.Add(1) // there is something to free
	r.forget(append(r.dead, im.changes.released...))
}

// undo makes memory what it was. What the new state wrote lies in clusters that
// are free again; they are not fresh any more.
func (r *rootChange) undo() {
	im := r.im
	end := im.alloc.end
	*im.hdr, im.g = r.hdr, r.g
	im.l1, im.refTable, im.snaps, im.alloc = r.l1, r.refTable, r.snaps, r.alloc
	im.alloc.end = end
	r.forget(nil)
}

// forget drops all that is known of the tables and is not in the present state.
func (r *rootChange) forget(retired []freeing) {
	im := r.im
	im.changes.refTable, im.changes.l1 = tableChanges{}, tableChanges{}
	im.changes.released, im.changes.barrier = nil, false
	im.changes.retired = retired
	im.changes.pressing.Store(false)
	im.l2.reset()
	im.refs.reset()
	im.meta = im.collectMetadata()
}

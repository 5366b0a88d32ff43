package qcow2

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// extent is a piece of metadata on its way to the file.
type extent struct {
	off int64
	buf []byte
}

// batch is one commit: all that was newer in memory than on disk at one moment,
// by the step in which it is written. It is reused.
type batch struct {
	early []extent // step 1: what nothing on disk refers to, and refcounts
	table []extent // step 2: references to refcount blocks
	late  []extent // step 3: references to everything else

	pages    []lentPage // cache pages among them
	refPages int        // how many of them are of refcount blocks
	fresh    []*page    // those of them that belonged to fresh tables
	refTable tableChanges
	l1       tableChanges
	barrier  bool
	released []freeing

	tableBegun bool // step 2 may have reached the disk
	lateBegun  bool // step 3 may have reached the disk
	vec        [][]byte
}

// lentPage is a page of the cache, and what it held when the commit began.
type lentPage struct {
	*page
	was []byte
}

// Flush makes every write that returned before durable. Concurrent flushes
// share their work.
func (im *Image) Flush() error {
	if im.epochs.isClosed() {
		return ErrClosed
	}
	return im.note(im.flush())
}

// flush is Flush for requests, which Close waits for.
func (im *Image) flush() error {
	if im.readOnly || im.synced.Load() >= im.writes.Load() {
		return nil
	}
	leads, err := im.flushes.do(im.commits)
	if leads && err == nil {
		err = im.reclaim()
	}
	return err
}

// commit writes all changes and makes them, and all earlier data, durable; of
// refcounts only what lazy refcounts ask for.
func (im *Image) commit() error { return im.commitChanges(true) }

// commitAll is commit with all refcounts.
func (im *Image) commitAll() error { return im.commitChanges(false) }

func (im *Image) commitChanges(lazily bool) error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	if im.done {
		return ErrClosed
	}
	im.at(EventFlushToOs)
	b := &im.batch
	im.mu.Lock()
	seq := im.writes.Load()
	lazily = lazily && im.mayPostpone()
	postponed := lazily && len(im.refs.dirty) > 0
	im.capture(b, !lazily)
	im.mu.Unlock()

	var err error
	if postponed {
		err = im.setDirtyBit()
	}
	if err == nil {
		err = im.writeOut(b)
	}

	im.mu.Lock()
	im.settleCommit(b, err)
	im.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	im.synced.Store(seq)
	return nil
}

// capture moves all changes into b, those of refcounts only if counts is set.
// Preconditions: mu is held exclusively.
func (im *Image) capture(b *batch, counts bool) {
	ch := &im.changes
	b.reset()
	if counts {
		for _, p := range takeDirty(im.refs) {
			b.addPage(p, &b.early)
		}
	}
	b.refPages = len(b.pages)
	for _, p := range takeDirty(im.l2) {
		if p.fresh {
			p.fresh = false
			b.fresh = append(b.fresh, p)
			b.addPage(p, &b.early)
		} else {
			b.addPage(p, &b.late)
		}
	}
	b.addTable(&ch.refTable, im.refTable, int64(im.hdr.refTable), &b.table)
	b.addTable(&ch.l1, im.l1, int64(im.hdr.l1Offset), &b.late)
	if ch.refTable.header {
		f := binary.BigEndian.AppendUint64(nil, im.hdr.refTable)
		f = binary.BigEndian.AppendUint32(f, im.hdr.refClusters)
		b.table = append(b.table, extent{hdrRefTable, f})
	}
	if ch.l1.header {
		f := binary.BigEndian.AppendUint32(nil, im.hdr.l1Size)
		f = binary.BigEndian.AppendUint64(f, im.hdr.l1Offset)
		b.late = append(b.late, extent{hdrL1, f})
	}
	b.refTable, b.l1 = ch.refTable, ch.l1
	ch.refTable, ch.l1 = tableChanges{}, tableChanges{}
	b.barrier, ch.barrier = ch.barrier, false
	b.released, ch.released = ch.released, b.released[:0]
	ch.pressing.Store(false)
}

// takeDirty empties a cache's list of dirty pages.
func takeDirty(c *cache) []*page {
	list := c.dirty[:0]
	for _, p := range c.dirty {
		if p.dirty {
			list = append(list, p)
		}
	}
	clear(c.dirty[len(list):])
	c.dirty = c.dirty[:0]
	return list
}

func (b *batch) reset() {
	for _, list := range []*[]extent{&b.early, &b.table, &b.late} {
		clear(*list)
		*list = (*list)[:0]
	}
	clear(b.pages)
	clear(b.fresh)
	b.pages, b.fresh = b.pages[:0], b.fresh[:0]
	b.tableBegun, b.lateBegun = false, false
}

// addPage takes a dirty page as it is: who changes it from now on changes a copy.
func (b *batch) addPage(p *page, list *[]extent) {
	p.dirty, p.busy, p.lent = false, true, true
	b.pages = append(b.pages, lentPage{p, p.buf})
	*list = append(*list, extent{p.off, p.buf})
}

// addTable copies the changed sectors of a table to list; all of it, and early,
// if it is at a place where nothing on disk refers to it.
func (b *batch) addTable(t *tableChanges, table []uint64, off int64, list *[]extent) {
	n := int64(len(table))
	if t.moved {
		b.early = append(b.early, extent{off, marshalTable(table)})
		return
	}
	for s := range t.sectors {
		i := s * entriesPerSector
		*list = append(*list, extent{off + i*8, marshalTable(table[i:min(i+entriesPerSector, n)])})
	}
}

func marshalTable(t []uint64) []byte {
	b := make([]byte, 0, len(t)*8)
	for _, e := range t {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}

// writeOut brings a batch to the disk, step by step. See the package comment.
func (im *Image) writeOut(b *batch) error {
	im.announceEarly(b)
	if err := im.writeExtents(b, b.early); err != nil {
		return err
	}
	referring := len(b.table) > 0 || len(b.late) > 0
	if referring && (len(b.early) > 0 || b.barrier) {
		if err := im.sync(); err != nil {
			return err
		}
	}
	if len(b.table) > 0 {
		b.tableBegun = true
		im.announceTable(b)
		if err := im.writeExtents(b, b.table); err != nil {
			return err
		}
		if len(b.late) > 0 {
			if err := im.f.Sync(); err != nil {
				return err
			}
		}
	}
	if len(b.late) > 0 {
		b.lateBegun = true
		im.announceLate(b)
		if err := im.writeExtents(b, b.late); err != nil {
			return err
		}
	}
	return im.sync()
}

// writeExtents writes a list, neighbours together.
func (im *Image) writeExtents(b *batch, list []extent) error {
	slices.SortFunc(list, func(x, y extent) int { return cmp.Compare(x.off, y.off) })
	for i := 0; i < len(list); {
		off, end := list[i].off, list[i].off
		b.vec = b.vec[:0]
		for ; i < len(list) && list[i].off == end; i++ {
			b.vec = append(b.vec, list[i].buf)
			end += int64(len(list[i].buf))
		}
		if err := im.f.WriteV(b.vec, off); err != nil {
			return err
		}
	}
	return nil
}

// settleCommit records the outcome of a batch. After a failure all of it is
// dirty again, and counts as referred to if the references may have been
// written. Preconditions: mu is held exclusively.
func (im *Image) settleCommit(b *batch, err error) {
	ch := &im.changes
	for _, p := range b.pages {
		p.busy = false
		if !p.lent {
			im.l2.recycle(p.was) // the page has a copy
		}
		p.lent = false
	}
	if err == nil {
		for _, p := range b.pages {
			im.l2.cleaned(p.page)
		}
		im.l2.shrink()
		ch.retired = append(ch.retired, b.released...)
		return
	}
	for _, p := range b.pages {
		switch p.page {
		case im.l2.pages[p.off]:
			im.l2.markDirty(p.page)
		case im.refs.pages[p.off]:
			im.refs.markDirty(p.page)
		}
	}
	if !b.lateBegun {
		for _, p := range b.fresh {
			p.fresh = true
		}
	}
	ch.refTable.restore(&b.refTable, b.tableBegun, len(im.refTable))
	ch.l1.restore(&b.l1, b.lateBegun, len(im.l1))
	ch.barrier = ch.barrier || b.barrier
	ch.released = append(b.released, ch.released...)
	b.released = nil
}

// restore merges changes that a failed commit took back in. When the commit may
// have written the reference to a moved table, the table of n entries is no
// longer free to be written early: all its sectors count as changed.
func (t *tableChanges) restore(old *tableChanges, begun bool, n int) {
	for s := range old.sectors {
		t.touch(s * entriesPerSector)
	}
	if t.moved {
		return // it moved again meanwhile: the new place is still unknown to the disk
	}
	t.header = t.header || old.header
	if !old.moved {
		return
	}
	if !begun {
		t.moved = true
		return
	}
	for i := int64(0); i < int64(n); i += entriesPerSector {
		t.touch(i)
	}
}

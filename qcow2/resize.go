package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Resize changes the capacity of the disk to size bytes, a multiple of 512,
// while it is in use: other requests wait meanwhile. What is added reads as
// zeroes, also where the backing file or a cluster that was cut before has
// other data; only an external data file that is raw, or in which clusters are
// preallocated, shows what it has there, as with QEMU. What is cut is gone; its
// storage goes back to the host, and the file ends behind the last cluster in use.
//
// It is one atomic change. When it returns it is durable, and functions given
// to OnResize have been called.
//
// Dirty bitmaps keep what they hold; what is added is clean. A disk with an
// inconsistent one can't change its size.
//
// The size of a version 2 image with snapshots can't change, as those do not
// say how large their disks are.
func (im *Image) Resize(size int64) error { return im.ResizeWith(size, ResizeOptions{}) }

// ResizeOptions says how ResizeWith changes the size of a disk.
type ResizeOptions struct {
	// Preallocation says what of the part that is added is there before it is
	// written to. A smaller disk has none, and one with a backing file would
	// hide that.
	Preallocation Preallocation
}

// ResizeWith is Resize with options.
func (im *Image) ResizeWith(size int64, o ResizeOptions) error {
	was := im.Size()
	err := im.resize(size, o.Preallocation)
	im.announceSize(was)
	if err != nil {
		return im.note(fmt.Errorf("resize to %d bytes: %w", size, err))
	}
	return nil
}

// OnResize has f called, with the new size in bytes, whenever the size of the
// disk has changed: by Resize, or because ApplySnapshot went back to a snapshot
// of another size. It replaces the function set before; nil sets none. f must
// not change the image.
func (im *Image) OnResize(f func(size int64)) {
	if f == nil {
		im.resized.Store(nil)
		return
	}
	im.resized.Store(&f)
}

// announceSize says that the size has changed, if it has.
func (im *Image) announceSize(was int64) {
	size := im.Size()
	if f := im.resized.Load(); f != nil && size != was {
		(*f)(size)
	}
}

func (im *Image) resize(size int64, mode Preallocation) error {
	switch {
	case im.readOnly:
		return ErrReadOnly
	case size < 0 || size%sectorSize != 0:
		return fmt.Errorf("the new size must be a multiple of %d", sectorSize)
	case im.g.l1Entries(size) > maxL1Bytes/8:
		return fmt.Errorf("%w: a disk of that size needs a larger cluster size than %d", ErrTooLarge, im.g.clusterSize)
	}
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	defer im.epochs.resume()
	if err := im.mayWrite(); err != nil {
		return err
	}
	if err := im.locked(); err != nil {
		return err
	}
	was := im.Size()
	if size == was {
		return nil
	}
	if err := im.canResizeBitmaps(size); err != nil {
		return err
	}
	switch {
	case im.g.version < 3 && len(im.snaps) > 0:
		return fmt.Errorf("%w: the size of a version 2 image with snapshots can't change", ErrUnsupported)
	case mode > PreallocateFull:
		return fmt.Errorf("%v", mode)
	case size > was:
		return im.extend(size, mode)
	case mode != PreallocateOff:
		return errors.New("preallocation can't be used for shrinking an image")
	}
	if err := im.changeRootPaused(func(r *rootChange) error { return r.cut(size) }); err != nil {
		return err
	}
	if im.g.dataFile {
		if err := im.data.Truncate(size); err != nil {
			return err
		}
	}
	return im.compact()
}

// mayWrite refuses to change an image that is not in a state for that.
func (im *Image) mayWrite() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.restoreHeader(); err != nil {
		return err
	}
	if im.corrupt.Load() {
		return ErrCorrupt
	}
	return nil
}

// extend makes the disk larger. Until its last step, which writes the size, all
// that it changes lies behind the end of the disk.
// Preconditions (as for all of this file): the image is paused.
func (im *Image) extend(size int64, mode Preallocation) error {
	was := im.Size()
	if err := im.growL1(im.g.l1Entries(size)); err != nil {
		return err
	}
	rq := im.requests.Get().(*request)
	err := im.zeroAdded(rq, was, size)
	rq.vec.release()
	im.requests.Put(rq)
	if err == nil {
		err = im.preallocate(was, size, im.needsPreallocation(mode))
	}
	im.writes.Add(1)
	if err != nil {
		return err
	}
	if err := im.drain(); err != nil {
		return err
	}
	if err := im.sync(); err != nil { // zeroes in place of data are no metadata
		return err
	}
	return im.setSize(size)
}

// setSize writes the size of the disk, for which all is ready.
func (im *Image) setSize(size int64) error {
	was := im.hdr.size
	im.hdr.size = uint64(size)
	if err := im.updateField(hdrSize, im.hdr.size); err != nil {
		im.hdr.size = was
		return err
	}
	im.size.Store(size)
	im.resizeCache(size)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.resizeBitmaps(size)
	return nil
}

// zeroAdded makes sure that what a larger disk gains reads as zeroes: the rest
// of the last cluster, clusters still mapped there, such as a machine's state
// that somebody left behind, and where the backing file would show through.
// There all of it becomes zero, as the backing file may itself grow.
func (im *Image) zeroAdded(rq *request, was, size int64) error {
	whole := im.g.roundUp(was)
	if !im.rawData() { // whose bytes show
		if err := im.zeroTail(rq, was, whole-was); err != nil {
			return err
		}
	}
	covered := int64(len(im.l1)) << im.g.l1Shift
	if mapped, err := im.anyMapped(whole, covered); err != nil {
		return err
	} else if mapped {
		nothing := func(l2Entry, clusterKind) l2Entry { return l2Entry{} }
		if err := im.changeEntries(whole, covered, nothing, true); err != nil {
			return err
		}
	}
	switch {
	case im.backed(was, 1) == 0 || whole >= size:
		return nil
	case im.g.version < 3:
		return im.writeExplicitZeroes(rq, whole, size-whole)
	}
	return im.changeEntries(whole, size, im.g.zeroUnmapping, true)
}

// zeroTail makes n bytes at off, the rest of a cluster, zero unless they are.
func (im *Image) zeroTail(rq *request, off, n int64) error {
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	p := (*buf)[:n]
	rq.vec.bufs, rq.vec.skip = [][]byte{p}, 0
	err := im.read(rq, off, n)
	if e := rq.aside.wait(); err == nil {
		err = e
	}
	if err != nil || allZero(p) {
		return err
	}
	return im.writeExplicitZeroes(rq, off, n)
}

func allZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeroes))
		if !bytes.Equal(p[:n], zeroes[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// anyMapped reports whether any cluster in [off, end) is mapped.
func (im *Image) anyMapped(off, end int64) (bool, error) {
	for off < end {
		im.mu.RLock()
		m, miss, err := im.lookup(off, end-off)
		im.mu.RUnlock()
		switch {
		case err != nil:
			return false, err
		case miss != 0:
			if err := im.fetch(miss); err != nil {
				return false, fmt.Errorf("read L2 table: %w", err)
			}
		case m.kind != kindUnallocated:
			return true, nil
		}
		off += m.length
	}
	return false, nil
}

// cut makes the disk of the new state smaller. The L1 table keeps its length.
func (r *rootChange) cut(size int64) error {
	im := r.im
	l1 := slices.Clone(im.l1)
	keep := im.g.l1Entries(size)
	if err := r.lose(l1[keep:]); err != nil {
		return err
	}
	clear(l1[keep:])
	if first := im.g.clusters(size) & (1<<im.g.l2Bits - 1); first != 0 && l1[keep-1]&entryOffset != 0 {
		table, err := r.cutTable(int64(l1[keep-1]&entryOffset), first)
		if err != nil {
			return err
		}
		l1[keep-1] = uint64(table)
	}
	if err := r.dropL1(); err != nil {
		return err
	}
	im.hdr.size = uint64(size)
	im.at(EventL1ShrinkWriteTable)
	return r.setL1(l1)
}

// cutTable returns the offset of an L2 table that is like the given one, but
// without entries from index first on.
func (r *rootChange) cutTable(table, first int64) (int64, error) {
	im := r.im
	if !im.g.aligned(table) || table >= im.alloc.end {
		return 0, fmt.Errorf("%w: L2 table offset %#x", ErrCorrupt, table)
	}
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	if err := readFull(im.f, *buf, table); err != nil {
		return 0, fmt.Errorf("read L2 table: %w", err)
	}
	changed := false
	for i := first; i < 1<<im.g.l2Bits; i++ {
		e := im.g.entry(*buf, i)
		if e == (l2Entry{}) {
			continue
		}
		err := r.walkEntry(e.word, func(off, n int64) error { return r.loseRun(off, n, true) })
		if err != nil {
			return 0, fmt.Errorf("L2 table %#x, index %d: %w", table, i, err)
		}
		im.g.setEntry(*buf, i, l2Entry{})
		changed = true
	}
	if !changed {
		return table, nil
	}
	if err := r.loseRun(table, 1, false); err != nil {
		return 0, err
	}
	return r.place(*buf)
}

// compact ends the file behind the last cluster in use. If there is free space
// before that, metadata moves there first: much of it was just written to the
// end, where it could not get in the way of the state before.
func (im *Image) compact() error {
	if err := im.drain(); err != nil {
		return err
	}
	last, used, err := im.usage()
	if err != nil {
		return err
	}
	// What is moved leaves refcount blocks behind that count nothing more, and those go with the
	// next change: once, as they lie behind all else then.
	for again := range 2 {
		idle, err := im.idleRefBlock()
		if err != nil {
			return err
		}
		if !idle && (again > 0 || used > last) {
			break
		}
		move := func(r *rootChange) error { return r.gather(used << im.g.clusterBits) }
		if err := im.changeRootPaused(move); err != nil {
			return err
		}
		if err := im.drain(); err != nil {
			return err
		}
		if last, used, err = im.usage(); err != nil {
			return err
		}
	}
	end := (last + 1) << im.g.clusterBits
	if size, err := im.f.Size(); err != nil || size <= end {
		return err
	}
	if err := im.f.Truncate(end); err != nil {
		return fmt.Errorf("shorten the file: %w", err)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.alloc.end, im.alloc.dataEnd = end, min(im.alloc.dataEnd, end)
	im.room.end = min(im.room.end, end)
	return nil
}

// idleRefBlock reports whether there is a refcount block that counts nothing. A change of the
// root leaves it out.
func (im *Image) idleRefBlock() (bool, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	perPage := im.countsPerPage()
	for bi := range im.refTable {
		idle, first := im.hasBlock(int64(bi)), int64(bi)<<im.g.refBlockBits
		for c := first; idle && c < first+1<<im.g.refBlockBits; c += perPage {
			p, _, err := im.refPage(c)
			if err != nil {
				return false, err
			}
			idle = allZero(p.buf)
		}
		if idle {
			return true, nil
		}
	}
	return false, nil
}

// gather moves the L1 table, and the L2 tables behind end that no snapshot
// shares, to the first clusters that are free.
func (r *rootChange) gather(end int64) error {
	im := r.im
	l1 := slices.Clone(im.l1)
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	for i, e := range l1 {
		table := int64(e & entryOffset)
		if table < end || e&entryCopied == 0 {
			continue
		}
		if err := readFull(im.f, *buf, table); err != nil {
			return fmt.Errorf("read L2 table: %w", err)
		}
		if err := r.loseRun(table, 1, false); err != nil {
			return err
		}
		host, err := r.place(*buf)
		if err != nil {
			return err
		}
		l1[i] = uint64(host) | entryCopied
	}
	if err := r.dropL1(); err != nil {
		return err
	}
	return r.setL1(l1)
}

// usage returns the last cluster with a refcount, and how many have one.
func (im *Image) usage() (last, used int64, err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if last, err = im.lastUsed(); err != nil {
		return 0, 0, err
	}
	perPage := im.countsPerPage()
	for first := int64(0); first <= last; first += perPage {
		p, _, err := im.refPage(first)
		if err != nil {
			return 0, 0, err
		}
		for i := int64(0); p != nil && i < perPage; i++ {
			if loadRefcount(p.buf, i, im.g.refcountOrder) != 0 {
				used++
			}
		}
	}
	return last, used, nil
}

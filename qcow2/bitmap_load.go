package qcow2

import (
	"fmt"
	"slices"
)

// maxBitmapMemory bounds the memory for all bitmaps of an image, in bytes.
const maxBitmapMemory = 1 << 30

// openBitmaps reads the list of bitmaps. An image that is only read can be read
// without them, so that broken ones are an error only of those who ask for one.
func (im *Image) openBitmaps() {
	im.bitmaps, im.badBitmaps = nil, nil
	if !im.hdr.hasBitmaps() {
		return
	}
	list, err := readBitmapDirectory(im.f, im.hdr)
	if err != nil {
		im.badBitmaps = fmt.Errorf("bitmaps: %w", err)
		return
	}
	for _, e := range list {
		im.bitmaps = append(im.bitmaps, &bitmap{entry: e, enabled: e.flags&bitmapAuto != 0, broken: !e.usable()})
	}
}

// startBitmaps takes charge of the bitmaps of an image that will be written:
// their contents move to memory, and those on disk are marked as being in use
// before anything else is written. What an earlier writer left marked so stays
// inconsistent; what a writer without bitmaps left behind is dropped.
//
// Preconditions: nobody else uses the image.
func (im *Image) startBitmaps() error {
	if im.bitmapsHeld {
		return nil
	}
	if err := im.takeBitmaps(); err != nil {
		return err
	}
	im.bitmapsHeld = true
	im.track()
	return nil
}

func (im *Image) takeBitmaps() error {
	im.openBitmaps()
	if im.badBitmaps != nil {
		return fmt.Errorf("%w (a repair removes them)", im.badBitmaps)
	}
	if !im.hdr.hasBitmaps() {
		if im.hdr.extension(extBitmaps) == nil {
			return nil
		}
		// Their clusters are no longer known to be theirs: a check frees them.
		return im.forgetBitmaps()
	}
	ext, err := im.hdr.bitmapExt()
	if err != nil {
		return err
	}
	l := bitmapLoader{im: im, owned: make(map[int64]bool), left: maxBitmapMemory}
	if err := l.own(int64(ext.off), int64(ext.size)); err != nil {
		return fmt.Errorf("bitmap directory: %w", err)
	}
	mark := false
	for _, b := range im.bitmaps {
		if err := l.load(b); err != nil {
			return err
		}
		mark = mark || b.entry.flags&bitmapInUse == 0
	}
	if !mark {
		return nil
	}
	// In place: a crash leaves some marked and others not, and all are right.
	var dir []byte
	for _, b := range im.bitmaps {
		b.entry.flags |= bitmapInUse
		dir = b.entry.marshal(dir)
	}
	if err := writeFull(im.f, dir, int64(ext.off)); err != nil {
		return fmt.Errorf("mark bitmaps as in use: %w", err)
	}
	if err := im.f.Sync(); err != nil {
		return fmt.Errorf("mark bitmaps as in use: %w", err)
	}
	return nil
}

// loseBitmaps follows a repair that removed the bitmaps from the image: those
// whose contents are known here will be stored anew.
func (im *Image) loseBitmaps() {
	if im.hdr.hasBitmaps() {
		return
	}
	im.bitmaps = slices.DeleteFunc(slices.Clone(im.bitmaps), func(b *bitmap) bool {
		b.entry.table = 0
		return b.bits == nil
	})
}

// forgetBitmaps removes the extension from the header, durably.
// Preconditions: mu is held exclusively, or nobody else uses the image.
func (im *Image) forgetBitmaps() error {
	h := *im.hdr
	h.autoclear &^= autoclearBitmaps
	h.setExtension(extBitmaps, nil)
	if err := im.putHeader(&h); err != nil {
		return err
	}
	*im.hdr = h
	return nil
}

// bitmapLoader reads bitmaps, and sees to it that no two share a cluster and
// none has one of other metadata: then all of them take no more memory than
// the file has data.
type bitmapLoader struct {
	im    *Image
	owned map[int64]bool
	left  int64 // bytes of memory
}

// own notes that n bytes at off belong to a bitmap.
func (l *bitmapLoader) own(off, n int64) error {
	g := &l.im.g
	if off+n > g.roundUp(l.im.alloc.end) {
		return fmt.Errorf("%w: %d bytes at %#x lie beyond the end of the file", ErrInvalid, n, off)
	}
	for c := off >> g.clusterBits; c <= (off+n-1)>>g.clusterBits; c++ {
		if k := l.im.meta[c]; k != 0 && k.class() != OverlapBitmapDirectory {
			return fmt.Errorf("%w: cluster %#x of it holds %v", ErrInvalid, c<<g.clusterBits, k)
		}
		if l.owned[c] {
			return fmt.Errorf("%w: cluster %#x is used twice", ErrInvalid, c<<g.clusterBits)
		}
		l.owned[c] = true
	}
	return nil
}

// load reads the contents of a bitmap, if they mean anything.
func (l *bitmapLoader) load(b *bitmap) error {
	im, e := l.im, &b.entry
	if err := l.own(int64(e.table), int64(e.entries)*8); err != nil {
		return fmt.Errorf("table of bitmap %.80q: %w", e.name, err)
	}
	table, err := readBitmapTable(im.f, &im.g, e)
	if err != nil {
		return err
	}
	for _, v := range table {
		if off := int64(v & entryOffset); off != 0 {
			if err := l.own(off, im.g.clusterSize); err != nil {
				return fmt.Errorf("bitmap %.80q: %w", e.name, err)
			}
		}
	}
	if b.broken {
		return nil
	}
	bits := newDirtyBits(e.granularity, im.Size())
	l.left -= int64(len(bits.chunks)) * 8
	perCluster := im.g.clusterSize * 8 // granules
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	for i, v := range table {
		at := int64(i) * perCluster
		switch off := int64(v & entryOffset); {
		case off != 0:
			if err := readFull(im.f, *buf, off); err != nil {
				return fmt.Errorf("read bitmap %.80q: %w", e.name, err)
			}
			l.left -= bits.load(*buf, at/8)
		case v&bitmapOnes != 0:
			bits.set(min(at, bits.granules), min(at+perCluster, bits.granules))
			l.left -= chunkBytes
		}
		if l.left < 0 {
			return fmt.Errorf("%w: its bitmaps need more than %d bytes of memory", ErrTooLarge, maxBitmapMemory)
		}
	}
	bits.changed.Store(false)
	b.bits = bits
	return nil
}

// bitmapBits returns the contents of a bitmap; of an image that is only read
// they come to memory now. Preconditions: mu is held exclusively.
func (im *Image) bitmapBits(name string) (*dirtyBits, error) {
	b := im.findBitmap(name)
	switch {
	case b == nil && im.badBitmaps != nil:
		return nil, im.badBitmaps
	case b == nil:
		return nil, ErrNoBitmap
	case b.broken:
		return nil, ErrBitmapInconsistent
	case b.bits != nil:
		return b.bits, nil
	}
	l := bitmapLoader{im: im, owned: make(map[int64]bool), left: maxBitmapMemory}
	if err := l.load(b); err != nil {
		return nil, err
	}
	return b.bits, nil
}

// resizeBitmaps makes all bitmaps those of a disk of size bytes.
// Preconditions: mu is held exclusively, and the image is paused.
func (im *Image) resizeBitmaps(size int64) {
	for _, b := range im.bitmaps {
		if b.bits != nil && b.bits.size != size {
			b.bits = b.bits.resized(size) // who reads the old ones goes on
		}
	}
	im.track()
}

// canResizeBitmaps refuses a change of the disk's size that a bitmap can't
// follow. Preconditions: the image is paused.
func (im *Image) canResizeBitmaps(size int64) error {
	for _, b := range im.bitmaps {
		if b.broken {
			return fmt.Errorf("%w: bitmap %.80q is inconsistent, and a disk with such bitmaps can't change its size", ErrUnsupported, b.entry.name)
		}
		if n := im.g.bitmapEntries(size, b.entry.granularity) << im.g.clusterBits; n > maxBitmapBytes {
			return fmt.Errorf("%w: bitmap %.80q would need %d bytes (at most %d)", ErrTooLarge, b.entry.name, n, maxBitmapBytes)
		}
	}
	return nil
}

package qcow2

import (
	"fmt"
	"slices"
)

// bitmapStore is one change of the bitmaps on disk: everything new is written
// to clusters of its own and made durable; then the header's extension switches
// to the new directory, and what only the old one referred to becomes free.
type bitmapStore struct {
	im      *Image
	taken   []freeing // clusters of the new state
	old     []freeing // clusters of the old one that the new does not use
	entries []bitmapEntry
}

// storeBitmaps makes list the bitmaps on disk. With final also their
// contents, which are no longer in use then; else what is on disk of a bitmap
// stays as it is, and new ones are left out.
//
// Preconditions: the image is paused, and mu is not held.
func (im *Image) storeBitmaps(list []*bitmap, final bool) error {
	if len(list) == 0 && im.hdr.extension(extBitmaps) == nil {
		return nil
	}
	if im.corrupt.Load() {
		return ErrCorrupt
	}
	s := bitmapStore{im: im}
	stored, err := s.prepare(list, final)
	var ext []byte
	if err == nil {
		ext, err = s.writeDirectory()
	}
	if err == nil {
		err = im.commitAll() // refcounts, and all that was written here
	}
	if err != nil {
		im.mu.Lock()
		defer im.mu.Unlock()
		for _, r := range s.taken {
			im.giveBack(r.cluster, r.count)
		}
		return fmt.Errorf("store bitmaps: %w", err)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	// After a failure here nobody knows which directory is the present one:
	// the clusters of both stay in use.
	if err := im.switchBitmaps(ext); err != nil {
		return fmt.Errorf("store bitmaps: %w", err)
	}
	for _, r := range s.taken[:max(0, len(s.taken)-1)] { // the last one is the directory
		im.setMeta(r.cluster<<im.g.clusterBits, r.count, metaBitmap)
	}
	for i, b := range stored {
		b.entry = s.entries[i]
		if final && b.bits != nil {
			b.bits.changed.Store(false)
		}
	}
	for _, r := range s.old {
		im.release(r.cluster, r.count, true)
	}
	im.writes.Add(1) // there is something to free
	return nil
}

// closeBitmaps stores the bitmaps for good. Those of an image that turned out to
// be corrupt stay marked as being in use: nobody is to trust them.
// Preconditions: the image is paused, and has nothing to commit.
func (im *Image) closeBitmaps() error {
	if !im.bitmapsHeld || im.corrupt.Load() {
		return nil
	}
	if err := im.storeBitmaps(im.bitmaps, true); err != nil {
		return err
	}
	return im.drain()
}

// prepare writes what changed of the contents, and lists the new directory.
func (s *bitmapStore) prepare(list []*bitmap, final bool) ([]*bitmap, error) {
	kept := make(map[uint64]bool) // tables that both states use
	var stored []*bitmap
	for _, b := range list {
		if b.transient || !final && b.entry.table == 0 {
			continue
		}
		e := b.entry
		if final && b.bits != nil {
			e.flags &^= bitmapInUse | bitmapAuto
			if b.enabled {
				e.flags |= bitmapAuto
			}
			if e.table == 0 || b.bits.changed.Load() {
				if err := s.writeBits(&e, b.bits); err != nil {
					return nil, err
				}
			}
		}
		kept[e.table] = true
		stored, s.entries = append(stored, b), append(s.entries, e)
	}
	return stored, s.findOld(kept)
}

// findOld lists the clusters that only the state on disk uses.
func (s *bitmapStore) findOld(kept map[uint64]bool) error {
	im := s.im
	if !im.hdr.hasBitmaps() {
		return nil
	}
	list, err := readBitmapDirectory(im.f, im.hdr)
	if err != nil {
		return err
	}
	ext, err := im.hdr.bitmapExt()
	if err != nil {
		return err
	}
	visit := func(off, n int64) error {
		s.old = append(s.old, freeing{cluster: off >> im.g.clusterBits, count: im.g.clusters(n)})
		return nil
	}
	_ = visit(int64(ext.off), int64(ext.size))
	for i := range list {
		if !kept[list[i].table] {
			if err := walkBitmap(im.f, &im.g, &list[i], visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// place writes b, which is not empty, to new clusters, the last filled up with
// zeroes.
func (s *bitmapStore) place(b []byte) (uint64, error) {
	im := s.im
	n := im.g.clusters(int64(len(b)))
	im.mu.Lock()
	host, err := im.allocate(n)
	im.mu.Unlock()
	if err != nil {
		return 0, err
	}
	s.taken = append(s.taken, freeing{cluster: host >> im.g.clusterBits, count: n})
	rest := make([]byte, n<<im.g.clusterBits-int64(len(b)))
	return uint64(host), im.f.WriteV([][]byte{b, rest}, host)
}

// writeBits writes the contents of a bitmap and its table.
func (s *bitmapStore) writeBits(e *bitmapEntry, bits *dirtyBits) error {
	im := s.im
	table := make([]uint64, im.g.bitmapEntries(bits.size, e.granularity))
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	for i := range table {
		var err error
		switch bits.store(*buf, int64(i)<<im.g.clusterBits) {
		case bitsFull:
			table[i] = bitmapOnes
		case bitsMixed:
			table[i], err = s.place(*buf)
		}
		if err != nil {
			return fmt.Errorf("bitmap %.80q: %w", e.name, err)
		}
	}
	off, err := s.place(marshalTable(table))
	if err != nil {
		return fmt.Errorf("table of bitmap %.80q: %w", e.name, err)
	}
	e.table, e.entries = off, uint32(len(table))
	return nil
}

// writeDirectory writes the new directory and returns the header extension that
// refers to it, nil if there are no bitmaps.
func (s *bitmapStore) writeDirectory() ([]byte, error) {
	var dir []byte
	for i := range s.entries {
		dir = s.entries[i].marshal(dir)
	}
	if len(dir) == 0 {
		return nil, nil
	}
	off, err := s.place(dir)
	return bitmapExt{uint32(len(s.entries)), uint64(len(dir)), off}.marshal(), err
}

// switchBitmaps makes ext the bitmaps extension of the header, durably; nil
// removes it. Preconditions: mu is held exclusively.
func (im *Image) switchBitmaps(ext []byte) error {
	if ext == nil {
		return im.forgetBitmaps()
	}
	h := *im.hdr
	h.autoclear |= autoclearBitmaps
	h.setExtension(extBitmaps, ext)
	if err := im.putHeader(&h); err != nil {
		return err
	}
	*im.hdr = h
	e, err := im.hdr.bitmapExt()
	if err == nil {
		im.setMeta(int64(e.off), im.g.clusters(int64(e.size)), metaBitmapDirectory)
	}
	return err
}

// setExtension replaces the extension of a kind, where it stands, or adds it;
// without data it removes it. Other headers keep the list they have.
func (h *header) setExtension(kind uint32, data []byte) {
	i := slices.IndexFunc(h.extensions, func(e extension) bool { return e.kind == kind })
	list := slices.Clone(h.extensions)
	switch {
	case data == nil && i < 0:
	case data == nil:
		list = slices.Delete(list, i, i+1)
	case i < 0:
		list = append(list, extension{kind, data})
	default:
		list[i].data = data
	}
	h.extensions = list
}

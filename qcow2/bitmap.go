package qcow2

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// bitmap is a dirty bitmap of an open image.
type bitmap struct {
	entry     bitmapEntry // as it is on disk, if entry.table is not 0
	enabled   bool        // writes are recorded
	transient bool        // not to be stored in the image
	bits      *dirtyBits  // nil if unknown: see broken and Image.bitmapBits
	broken    bool        // inconsistent: good for nothing but to be removed
}

// BitmapInfo describes a dirty bitmap.
type BitmapInfo struct {
	Name        string
	Granularity int64 // bytes of the disk that one bit stands for
	// Enabled says that writes are recorded ("auto" in the image).
	Enabled bool
	// InUse says that the image has the bitmap marked as being changed: by this
	// Image or, if that is read-only, by somebody else or before a crash.
	InUse bool
	// Inconsistent says that the contents are not known any more, since a
	// writer ended without storing them. It can only be removed.
	Inconsistent bool
	// Transient says that the bitmap is not stored in the image.
	Transient bool
}

// BitmapOptions describes a new dirty bitmap.
type BitmapOptions struct {
	// Granularity is how many bytes of the disk one bit stands for: a power of
	// two from 512 to 2 GiB. 0 chooses the cluster size, but 4 to 64 KiB.
	Granularity int64
	// Disabled begins without recording writes.
	Disabled bool
	// Transient makes a bitmap that ends with the Image. Without it the bitmap
	// is stored in the image by Close; that needs version 3.
	Transient bool
}

// Bitmaps lists the dirty bitmaps, in the order of the image. The error says
// that an image opened read-only has bitmaps which can't be read.
func (im *Image) Bitmaps() ([]BitmapInfo, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	return im.bitmapInfo(), im.badBitmaps
}

// bitmapInfo is Bitmaps. Preconditions: mu is held.
func (im *Image) bitmapInfo() []BitmapInfo {
	var list []BitmapInfo
	for _, b := range im.bitmaps {
		list = append(list, BitmapInfo{
			Name:         b.entry.name,
			Granularity:  1 << b.entry.granularity,
			Enabled:      b.enabled,
			InUse:        b.entry.flags&bitmapInUse != 0,
			Inconsistent: b.broken,
			Transient:    b.transient,
		})
	}
	return list
}

// AddBitmap makes a new bitmap that has no bits set. It reaches the image when
// that is closed.
func (im *Image) AddBitmap(name string, o BitmapOptions) error {
	granularity := o.Granularity
	if granularity == 0 {
		granularity = min(max(im.g.clusterSize, 4096), 65536)
	}
	if granularity < 0 || granularity&(granularity-1) != 0 || granularity < 1<<minGranularityBits || granularity > 1<<maxGranularityBits {
		return fmt.Errorf("add bitmap %.80q: granularity %d (a power of two from 512 to 2147483648 is allowed)", name, granularity)
	}
	if name == "" || len(name) > maxBitmapName || strings.ContainsRune(name, 0) {
		return fmt.Errorf("add bitmap %.80q: the name must have 1 to %d bytes, none of them zero", name, maxBitmapName)
	}
	err := im.changeBitmaps(func() error {
		if im.findBitmap(name) != nil {
			return ErrBitmapExists
		}
		e := bitmapEntry{name: name, granularity: uint(bits.TrailingZeros64(uint64(granularity)))}
		if err := im.fitsBitmap(&e, o.Transient); err != nil {
			return err
		}
		im.bitmaps = append(slices.Clone(im.bitmaps), &bitmap{
			entry: e, enabled: !o.Disabled, transient: o.Transient,
			bits: newDirtyBits(e.granularity, im.Size()),
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("add bitmap %.80q: %w", name, err)
	}
	return nil
}

// fitsBitmap reports whether the image can hold one more bitmap.
func (im *Image) fitsBitmap(e *bitmapEntry, transient bool) error {
	size, count := e.size(), 1
	for _, b := range im.bitmaps {
		if !b.transient {
			size, count = size+b.entry.size(), count+1
		}
	}
	bytes := im.g.bitmapEntries(im.Size(), e.granularity) << im.g.clusterBits
	switch {
	case bytes > maxBitmapBytes:
		return fmt.Errorf("%w: it needs %d bytes (at most %d); use a larger granularity", ErrTooLarge, bytes, maxBitmapBytes)
	case transient:
		return nil
	case im.g.version < 3:
		return fmt.Errorf("%w: version 2 images can't store bitmaps", ErrUnsupported)
	case count > maxBitmaps || size > maxBitmapDirectory:
		return fmt.Errorf("%w: %d bitmaps with a directory of %d bytes (at most %d, %d)", ErrTooLarge, count, size, maxBitmaps, maxBitmapDirectory)
	}
	h := *im.hdr
	h.setExtension(extBitmaps, make([]byte, bitmapExtSize))
	_, err := h.marshal() // is there room in the header?
	return err
}

// RemoveBitmap removes a bitmap, also an inconsistent one, from the image.
func (im *Image) RemoveBitmap(name string) error {
	err := im.withoutRequests(func() error {
		// Nobody else changes the list now.
		b := im.findBitmap(name)
		if b == nil {
			return ErrNoBitmap
		}
		rest := slices.DeleteFunc(slices.Clone(im.bitmaps), func(x *bitmap) bool { return x == b })
		if b.entry.table != 0 {
			if err := im.storeBitmaps(rest, false); err != nil {
				return err
			}
		}
		im.mu.Lock()
		defer im.mu.Unlock()
		im.bitmaps = rest
		im.track()
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove bitmap %.80q: %w", name, err)
	}
	// What it used is given back by this flush; if that fails the next one tries.
	_ = im.Flush()
	return nil
}

// ClearBitmap clears all bits of a bitmap.
func (im *Image) ClearBitmap(name string) error {
	return im.changeBitmap("clear", name, func(b *bitmap) error {
		b.bits.clear()
		return nil
	})
}

// EnableBitmap lets a bitmap record writes.
func (im *Image) EnableBitmap(name string) error {
	return im.changeBitmap("enable", name, func(b *bitmap) error {
		b.enabled = true
		return nil
	})
}

// DisableBitmap ends the recording of writes in a bitmap, which keeps its bits.
func (im *Image) DisableBitmap(name string) error {
	return im.changeBitmap("disable", name, func(b *bitmap) error {
		b.enabled = false
		return nil
	})
}

// MergeBitmap sets in bitmap name every bit that stands for a byte which is
// dirty in bitmap source of image from, which may be im itself. Both disks must
// be of one size; granularities may differ.
func (im *Image) MergeBitmap(name string, from *Image, source string) error {
	if from != im {
		from.mu.Lock()
		bits, err := from.bitmapBits(source)
		from.mu.Unlock()
		if err != nil {
			return fmt.Errorf("merge bitmap %.80q into %.80q: %w", source, name, err)
		}
		return im.changeBitmap("merge into", name, func(b *bitmap) error { return b.merge(bits) })
	}
	return im.changeBitmap("merge into", name, func(b *bitmap) error {
		bits, err := im.bitmapBits(source)
		if err != nil {
			return fmt.Errorf("bitmap %.80q: %w", source, err)
		}
		return b.merge(bits)
	})
}

func (b *bitmap) merge(from *dirtyBits) error {
	if from.size != b.bits.size {
		return fmt.Errorf("%w: bitmaps of disks of different sizes (%d and %d bytes) can't be merged", ErrUnsupported, b.bits.size, from.size)
	}
	from.ranges(func(off, n int64) bool {
		b.bits.mark(off, n)
		return true
	})
	return nil
}

// changeBitmap applies change to a bitmap of known contents.
func (im *Image) changeBitmap(what, name string, change func(*bitmap) error) error {
	err := im.changeBitmaps(func() error {
		if _, err := im.bitmapBits(name); err != nil {
			return err
		}
		return change(im.findBitmap(name))
	})
	if err != nil {
		return fmt.Errorf("%s bitmap %.80q: %w", what, name, err)
	}
	return nil
}

// changeBitmaps changes the list of bitmaps, or one of them, with mu held
// exclusively.
func (im *Image) changeBitmaps(change func() error) error {
	return im.withoutRequests(func() error {
		im.mu.Lock()
		defer im.mu.Unlock()
		err := change()
		im.track()
		return err
	})
}

// withoutRequests makes a change while the image is paused.
func (im *Image) withoutRequests(change func() error) error {
	if im.readOnly {
		return ErrReadOnly
	}
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	defer im.epochs.resume()
	if im.corrupt.Load() {
		return ErrCorrupt
	}
	return change()
}

// findBitmap returns the bitmap with a name, nil if there is none.
// Preconditions: mu is held.
func (im *Image) findBitmap(name string) *bitmap {
	for _, b := range im.bitmaps {
		if b.entry.name == name {
			return b
		}
	}
	return nil
}

// track makes writes be recorded in the bitmaps that are enabled.
// Preconditions: mu is held exclusively, and the image is paused.
func (im *Image) track() {
	var list []*dirtyBits
	for _, b := range im.bitmaps {
		if b.enabled && b.bits != nil {
			list = append(list, b.bits)
		}
	}
	if list == nil {
		im.tracked.Store(nil)
		return
	}
	im.tracked.Store(&list)
}

// markDirty records a write in the bitmaps. It is called inside the request, so
// that who pauses the image sees it.
func (im *Image) markDirty(off, n int64) {
	if list := im.tracked.Load(); list != nil {
		for _, b := range *list {
			b.mark(off, n)
		}
	}
}

// DirtyStatus reports whether the byte at off is dirty in a bitmap, and how many
// bytes from there on are the same, at most n.
func (im *Image) DirtyStatus(name string, off, n int64) (dirty bool, length int64, err error) {
	b, err := im.readBitmap(name)
	if err != nil {
		return false, 0, err
	}
	if off < 0 || n <= 0 || off > b.size-n {
		return false, 0, fmt.Errorf("%w: bitmap %.80q, %d bytes at %d", ErrRange, name, n, off)
	}
	dirty, length = b.status(off, n)
	return dirty, length, nil
}

// DirtyRanges calls visit for each run of dirty bytes in a bitmap, in order,
// until it returns false. Writes meanwhile may be seen or not.
func (im *Image) DirtyRanges(name string, visit func(off, n int64) bool) error {
	b, err := im.readBitmap(name)
	if err == nil {
		b.ranges(visit)
	}
	return err
}

// DirtyBytes is how many bytes are dirty in a bitmap, in whole granules.
func (im *Image) DirtyBytes(name string) (int64, error) {
	b, err := im.readBitmap(name)
	if err != nil {
		return 0, err
	}
	return b.count(), nil
}

// readBitmap returns the bits of a bitmap for reading. They stay as they are
// when the disk changes its size, for as long as the caller uses them.
func (im *Image) readBitmap(name string) (*dirtyBits, error) {
	if im.epochs.isClosed() {
		return nil, ErrClosed
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	b, err := im.bitmapBits(name)
	if err != nil {
		return nil, fmt.Errorf("bitmap %.80q: %w", name, err)
	}
	return b, nil
}

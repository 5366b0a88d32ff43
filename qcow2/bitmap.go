package qcow2

import (
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	bitmapExtSize      = 24
	bitmapEntryMinSize = 24
	maxBitmaps         = 65535
	maxBitmapDirectory = maxBitmaps * 1024
	maxBitmapTable     = 512 << 20 / 8 // entries, whatever the cluster size
	bitmapReserved     = 0xff000000000001fe
)

// walkBitmaps calls visit for each run of bytes that persistent bitmaps use:
// the directory, each bitmap's table, each cluster of bitmap data. An error
// means that the structures are broken.
func walkBitmaps(f File, h *header, visit func(off, n int64) error) error {
	ext := h.extension(extBitmaps)
	if ext == nil {
		return nil
	}
	be := binary.BigEndian
	if len(ext) != bitmapExtSize {
		return fmt.Errorf("%w: bitmaps extension of %d bytes (must be %d)", ErrInvalid, len(ext), bitmapExtSize)
	}
	count, size, off := be.Uint32(ext), be.Uint64(ext[8:]), be.Uint64(ext[16:])
	if count == 0 || count > maxBitmaps {
		return fmt.Errorf("%w: %d bitmaps (1 to %d are allowed)", ErrInvalid, count, maxBitmaps)
	}
	if err := h.checkTable("bitmap directory", off, size, maxBitmapDirectory); err != nil {
		return err
	}
	dir := make([]byte, size)
	if err := readFull(f, dir, int64(off)); err != nil {
		return fmt.Errorf("read bitmap directory: %w", err)
	}
	if err := visit(int64(off), int64(size)); err != nil {
		return err
	}
	for i := range count {
		if len(dir) < bitmapEntryMinSize {
			return fmt.Errorf("%w: bitmap directory ends before entry %d of %d", ErrInvalid, i, count)
		}
		n := bitmapEntryMinSize + uint64(be.Uint16(dir[18:])) + uint64(be.Uint32(dir[20:]))
		n = (n + 7) &^ 7
		if n > uint64(len(dir)) {
			return fmt.Errorf("%w: bitmap directory entry %d of %d bytes exceeds the directory", ErrInvalid, i, n)
		}
		if err := walkBitmap(f, h, be.Uint64(dir), be.Uint32(dir[8:]), visit); err != nil {
			return fmt.Errorf("bitmap %d: %w", i, err)
		}
		dir = dir[n:]
	}
	return nil
}

// walkBitmap visits the table and the data of one bitmap.
func walkBitmap(f File, h *header, off uint64, entries uint32, visit func(off, n int64) error) error {
	if err := h.checkTable("bitmap table", off, uint64(entries)*8, maxBitmapTable); err != nil {
		return err
	}
	if err := visit(int64(off), int64(entries)*8); err != nil {
		return err
	}
	table, err := readTable(f, int64(off), int64(entries))
	if err != nil {
		return fmt.Errorf("read bitmap table: %w", err)
	}
	clusterSize := int64(1) << h.clusterBits
	for i, e := range table {
		data := int64(e & entryOffset)
		if e&bitmapReserved != 0 || data&(clusterSize-1) != 0 {
			return fmt.Errorf("%w: bitmap table entry %d: %#x", ErrInvalid, i, e)
		}
		if data != 0 {
			if err := visit(data, clusterSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropBitmaps removes all persistent bitmaps: a writer that does not maintain
// them makes them wrong. First the header forgets them, then their clusters are
// freed. Broken bitmap structures are forgotten and leak.
func (im *Image) dropBitmaps() error {
	type run struct{ cluster, count int64 }
	var runs []run
	broken := walkBitmaps(im.f, im.hdr, func(off, n int64) error {
		runs = append(runs, run{off >> im.g.clusterBits, im.g.clusters(n)})
		return nil
	})
	im.hdr.autoclear &^= autoclearBitmaps
	im.hdr.extensions = slices.DeleteFunc(im.hdr.extensions, func(e extension) bool { return e.kind == extBitmaps })
	if err := im.rewriteHeader(); err != nil {
		return err
	}
	if broken == nil {
		im.mu.Lock()
		defer im.mu.Unlock()
		for _, r := range runs {
			im.release(r.cluster, r.count, true)
		}
	}
	return nil
}

// rewriteHeader writes the header with its extensions, and zeroes up to the end
// of the first cluster, durably.
func (im *Image) rewriteHeader() error {
	b, err := im.hdr.marshal()
	if err != nil {
		return err
	}
	first := make([]byte, im.g.clusterSize)
	copy(first, b)
	if err := writeFull(im.f, first, 0); err != nil {
		return fmt.Errorf("rewrite the header: %w", err)
	}
	return im.f.Sync()
}

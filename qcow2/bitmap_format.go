package qcow2

import (
	"encoding/binary"
	"fmt"
)

// The format of persistent bitmaps: section "Bitmaps" of the specification.
const (
	bitmapExtSize      = 24
	bitmapEntryMinSize = 24
	maxBitmaps         = 65535
	maxBitmapDirectory = maxBitmaps * 1024
	maxBitmapTable     = 512 << 20 / 8 // entries, whatever the cluster size
	maxBitmapBytes     = 512 << 20     // of a bitmap, in whole clusters
	maxBitmapName      = 1023
	minGranularityBits = 9
	maxGranularityBits = 31

	bitmapReserved        = 0xff000000000001fe // of a table entry
	bitmapOnes     uint64 = 1 << 0             // of a table entry without offset: all bits are set

	bitmapInUse      uint32 = 1 << 0 // a writer has not stored what it knows
	bitmapAuto       uint32 = 1 << 1 // writes are to be recorded
	bitmapCompatible uint32 = 1 << 2 // usable by those who don't know its extra data
	bitmapFlags             = bitmapInUse | bitmapAuto | bitmapCompatible

	bitmapDirtyTracking = 1 // the only type there is
)

// bitmapExt is the bitmaps header extension: where the directory is.
type bitmapExt struct {
	count uint32
	size  uint64 // of the directory, bytes
	off   uint64
}

func (h *header) bitmapExt() (bitmapExt, error) {
	b := h.extension(extBitmaps)
	be := binary.BigEndian
	if len(b) != bitmapExtSize {
		return bitmapExt{}, fmt.Errorf("%w: bitmaps extension of %d bytes (must be %d)", ErrInvalid, len(b), bitmapExtSize)
	}
	e := bitmapExt{be.Uint32(b), be.Uint64(b[8:]), be.Uint64(b[16:])}
	if v := be.Uint32(b[4:]); v != 0 {
		return e, fmt.Errorf("%w: bitmaps extension has its reserved field set: %#x", ErrInvalid, v)
	}
	if e.count == 0 || e.count > maxBitmaps {
		return e, fmt.Errorf("%w: %d bitmaps (1 to %d are allowed)", ErrInvalid, e.count, maxBitmaps)
	}
	if e.size == 0 || e.off == 0 {
		return e, fmt.Errorf("%w: bitmap directory of %d bytes at %#x", ErrInvalid, e.size, e.off)
	}
	return e, h.checkTable("Bitmap directory", e.off, e.size, maxBitmapDirectory)
}

func (e bitmapExt) marshal() []byte {
	b := binary.BigEndian.AppendUint32(nil, e.count)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, e.size)
	return binary.BigEndian.AppendUint64(b, e.off)
}

// hasBitmaps reports whether the header names bitmaps that are up to date: the
// bit is cleared by writers that do not know about bitmaps.
func (h *header) hasBitmaps() bool {
	return h.autoclear&autoclearBitmaps != 0 && h.extension(extBitmaps) != nil
}

// bitmapEntry is an entry of the bitmap directory.
type bitmapEntry struct {
	table       uint64 // offset of the bitmap table; 0: none on disk yet
	entries     uint32 // of the table
	flags       uint32
	granularity uint // log2 of bytes
	name        string
	extra       []byte // with a meaning that later versions of the format define
}

// size is the length of the entry in the directory.
func (e *bitmapEntry) size() int {
	return (bitmapEntryMinSize + len(e.extra) + len(e.name) + 7) &^ 7
}

func (e *bitmapEntry) marshal(b []byte) []byte {
	be := binary.BigEndian
	start := len(b)
	b = be.AppendUint64(b, e.table)
	b = be.AppendUint32(b, e.entries)
	b = be.AppendUint32(b, e.flags)
	b = append(b, bitmapDirtyTracking, byte(e.granularity))
	b = be.AppendUint16(b, uint16(len(e.name)))
	b = be.AppendUint32(b, uint32(len(e.extra)))
	b = append(b, e.extra...)
	b = append(b, e.name...)
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseBitmapEntry decodes the first entry of dir, and returns its length.
func parseBitmapEntry(dir []byte) (e bitmapEntry, n int, err error) {
	be := binary.BigEndian
	if len(dir) < bitmapEntryMinSize {
		return e, 0, invalid(brokenDirectory, "it ends in an entry")
	}
	nameLen, extraLen := uint64(be.Uint16(dir[18:])), uint64(be.Uint32(dir[20:]))
	need := (bitmapEntryMinSize + nameLen + extraLen + 7) &^ 7
	if need > uint64(len(dir)) {
		return e, 0, invalid(brokenDirectory, "an entry of %d bytes exceeds it", need)
	}
	rest := dir[bitmapEntryMinSize:]
	e = bitmapEntry{
		table:       be.Uint64(dir),
		entries:     be.Uint32(dir[8:]),
		flags:       be.Uint32(dir[12:]),
		granularity: uint(dir[17]),
		name:        string(rest[extraLen : extraLen+nameLen]),
	}
	if extraLen > 0 {
		e.extra = append(e.extra, rest[:extraLen]...)
	}
	switch {
	case dir[16] != bitmapDirtyTracking:
		err = e.refuse("type %d (%d is known)", dir[16], bitmapDirtyTracking)
	case e.flags&^bitmapFlags != 0:
		err = e.refuse("unknown flags: %#x", e.flags)
	case e.granularity < minGranularityBits || e.granularity > maxGranularityBits:
		err = e.refuse("granularity 2^%d (2^%d to 2^%d are allowed)", e.granularity, minGranularityBits, maxGranularityBits)
	case nameLen == 0 || nameLen > maxBitmapName:
		err = e.refuse("a name of %d bytes (1 to %d are allowed)", nameLen, maxBitmapName)
	case e.table == 0 || e.entries == 0:
		err = e.refuse("no table")
	}
	return e, int(need), err
}

// brokenDirectory is the problem with a directory that is not a list of entries.
const brokenDirectory = "Broken bitmap directory"

// refuse says why a bitmap can't be as its entry has it.
func (e *bitmapEntry) refuse(detail string, args ...any) error {
	return invalid(fmt.Sprintf("Bitmap '%.1023s' doesn't satisfy the constraints", printable(e.name)), detail, args...)
}

// usable reports whether the bits on disk are right and may be relied on.
func (e *bitmapEntry) usable() bool {
	return e.flags&bitmapInUse == 0 && (len(e.extra) == 0 || e.flags&bitmapCompatible != 0)
}

// bitmapEntries is the number of table entries of a bitmap for a disk of size
// bytes.
func (g *geometry) bitmapEntries(size int64, granularity uint) int64 {
	return max(1, g.clusters((granulesOf(size, granularity)+7)/8))
}

// readBitmapDirectory reads and validates the directory, and what it says about
// tables.
func readBitmapDirectory(f File, h *header) ([]bitmapEntry, error) {
	ext, err := h.bitmapExt()
	if err != nil {
		return nil, err
	}
	dir := make([]byte, ext.size)
	if err := readFull(f, dir, int64(ext.off)); err != nil {
		return nil, fmt.Errorf("read bitmap directory: %w", err)
	}
	g := newGeometry(h)
	size := int64(h.size) &^ (sectorSize - 1)
	var list []bitmapEntry
	names := make(map[string]bool)
	for i := range ext.count {
		if len(dir) == 0 {
			return nil, invalid("Less bitmaps found than specified in header extension", "%d instead of %d", i, ext.count)
		}
		e, n, err := parseBitmapEntry(dir)
		if err != nil {
			return nil, fmt.Errorf("bitmap directory entry %d of %d: %w", i, ext.count, err)
		}
		if err := h.checkTable("Bitmap table", e.table, uint64(e.entries)*8, maxBitmapTable*8); err != nil {
			return nil, e.refuse("%v", err)
		}
		if int64(e.entries)<<g.clusterBits > maxBitmapBytes {
			return nil, e.refuse("%d clusters (at most %d bytes)", e.entries, maxBitmapBytes)
		}
		if need := g.bitmapEntries(size, e.granularity); e.flags&bitmapInUse == 0 && need != int64(e.entries) {
			return nil, e.refuse("%d table entries (a disk of %d bytes needs %d)", e.entries, size, need)
		}
		if names[e.name] {
			return nil, e.refuse("another one has the same name")
		}
		names[e.name] = true
		list, dir = append(list, e), dir[n:]
	}
	if len(dir) != 0 {
		return nil, invalid("More bitmaps found than specified in header extension", "%d bytes of them after %d", len(dir), ext.count)
	}
	return list, nil
}

// readBitmapTable reads and validates the table of a bitmap.
func readBitmapTable(f File, g *geometry, e *bitmapEntry) ([]uint64, error) {
	table, err := readTable(f, int64(e.table), int64(e.entries))
	if err != nil {
		return nil, fmt.Errorf("read table of bitmap %.80q: %w", e.name, err)
	}
	for i, v := range table {
		off := v & entryOffset
		if v&bitmapReserved != 0 || off != 0 && v&bitmapOnes != 0 || !g.aligned(int64(off)) {
			return nil, fmt.Errorf("%w: bitmap %.80q, table entry %d: %#x", ErrInvalid, e.name, i, v)
		}
	}
	return table, nil
}

// walkBitmaps calls visit for each run of bytes that persistent bitmaps use:
// the directory, each bitmap's table, each cluster of bitmap data. An error
// means that the structures are broken.
func walkBitmaps(f File, h *header, visit func(off, n int64) error) error {
	list, err := readBitmapDirectory(f, h)
	if err != nil {
		return err
	}
	ext, err := h.bitmapExt()
	if err == nil {
		err = visit(int64(ext.off), int64(ext.size))
	}
	if err != nil {
		return err
	}
	g := newGeometry(h)
	for i := range list {
		if err := walkBitmap(f, &g, &list[i], visit); err != nil {
			return err
		}
	}
	return nil
}

// walkBitmap visits the table and the data of one bitmap.
func walkBitmap(f File, g *geometry, e *bitmapEntry, visit func(off, n int64) error) error {
	if err := visit(int64(e.table), int64(e.entries)*8); err != nil {
		return err
	}
	table, err := readBitmapTable(f, g, e)
	if err != nil {
		return err
	}
	for _, v := range table {
		if off := int64(v & entryOffset); off != 0 {
			if err := visit(off, g.clusterSize); err != nil {
				return err
			}
		}
	}
	return nil
}

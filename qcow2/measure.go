package qcow2

import "fmt"

// MeasureOptions describes the image to be made, as for Create, whose Size is
// that of the disk if there is no source.
type MeasureOptions struct {
	CreateOptions
	// AllData says that all clusters will be written, whatever the source has:
	// they are preallocated in full, or a source is not told apart from its
	// backing file.
	AllData bool
	// CryptoHeader is the length in bytes of the header of an encrypted image.
	CryptoHeader int64
}

// Measurement is how long the file of a new image will be, in bytes.
type Measurement struct {
	Required       int64 // with the data of the source, and room for all metadata
	FullyAllocated int64 // with all clusters written
	// Bitmaps is what the persistent bitmaps of the source need besides; -1 if
	// the source or the new image can't have any.
	Bitmaps int64
}

// Source is a disk that is to be converted.
type Source interface {
	Mapper
	Size() int64
}

// Measure computes how much storage a new image needs: for the data of source
// or, if that is nil, for a disk of o.Size bytes without data. The numbers are
// those of qemu-img measure.
func Measure(source Source, o MeasureOptions) (Measurement, error) {
	if source != nil {
		o.Size = source.Size()
	}
	h, err := o.header()
	if err != nil {
		return Measurement{}, fmt.Errorf("measure qcow2 image: %w", err)
	}
	g := newGeometry(h)
	size := g.roundUp(o.Size)
	if g.l1Entries(size) > maxL1Bytes/8 {
		return Measurement{}, fmt.Errorf("measure qcow2 image: %w: a disk of %d bytes needs a larger cluster size than %d",
			ErrTooLarge, o.Size, g.clusterSize)
	}
	data := size
	if !o.AllData && h.backingFile == "" {
		if data, err = g.dataClusters(source); err != nil {
			return Measurement{}, fmt.Errorf("measure the source: %w", err)
		}
	} else if source == nil && !o.AllData {
		data = 0
	}
	full := g.roundUp(o.CryptoHeader) + g.metadataSize(size) + size
	m := Measurement{Required: full - size + data, FullyAllocated: full, Bitmaps: -1}
	if im, ok := source.(*Image); ok && g.version >= 3 && im.g.version >= 3 {
		bitmaps, err := im.Bitmaps()
		if err != nil {
			return Measurement{}, fmt.Errorf("measure the source: %w", err)
		}
		m.Bitmaps = g.bitmapsSize(bitmaps, o.Size)
	}
	return m, nil
}

// bitmapsSize is the length of bitmaps of a disk of size bytes with all their
// data, tables and directory.
func (g *geometry) bitmapsSize(list []BitmapInfo, size int64) int64 {
	n, directory := int64(0), int64(0)
	for _, b := range list {
		if b.Transient {
			continue
		}
		bits := (size + b.Granularity - 1) / b.Granularity
		clusters := g.clusters((bits + 7) / 8)
		n += clusters + g.clusters(clusters*8)
		directory += (bitmapEntryMinSize + int64(len(b.Name)) + 7) &^ 7
	}
	return (n + g.clusters(directory)) << g.clusterBits
}

// dataClusters is the length in bytes of all clusters in which source has data
// that are not known to be zeroes.
func (g *geometry) dataClusters(source Source) (int64, error) {
	if source == nil {
		return 0, nil
	}
	n, done := int64(0), int64(0) // done: the end of the last cluster counted
	for e, err := range Extents(source, 0, source.Size()) {
		if err != nil {
			return 0, err
		}
		if e.Zero || !e.Data {
			continue
		}
		start := max(e.Offset&^(g.clusterSize-1), done)
		end := g.roundUp(e.Offset + e.Length)
		n += max(0, end-start)
		done = max(done, end)
	}
	return n, nil
}

// metadataSize is the length of all metadata of a disk of size bytes, whole
// clusters, with all its clusters in use.
func (g *geometry) metadataSize(size int64) int64 {
	perTable := int64(1) << g.l2Bits
	tables := (size>>g.clusterBits + perTable - 1) / perTable
	n := 1 + tables + g.clusters(tables*8) // header, L2 tables, L1 table
	blocks, table := g.refcountSize(n + size>>g.clusterBits)
	return (n + blocks + table) << g.clusterBits
}

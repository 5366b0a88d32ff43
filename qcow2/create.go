package qcow2

import (
	"fmt"
	"math/bits"
)

// CreateOptions describes a new image. Zero values choose the defaults.
type CreateOptions struct {
	// Size of the disk in bytes, rounded up to a multiple of 512.
	Size int64
	// Version of the format, 2 or 3 (default).
	Version int
	// ClusterSize in bytes: a power of two from 512 to 2 MiB. Default 64 KiB.
	ClusterSize int64
	// RefcountBits is the width of refcounts: a power of two up to 64, in
	// version 2 always 16. Default 16.
	RefcountBits int
	// ExtendedL2 divides clusters into 32 subclusters each, which are allocated one
	// by one: small writes to large clusters copy less. Version 3 only, clusters of
	// 16 KiB at least.
	ExtendedL2 bool
	// LazyRefcounts has writers leave refcounts in memory until the image is
	// closed, under the dirty bit. After a crash they are rebuilt by the next
	// writable open. Version 3 only.
	LazyRefcounts bool
	// Compression is how WriteCompressed compresses. Version 2 has only
	// CompressionZlib, the default.
	Compression Compression
	// BackingFile is the name recorded for the backing file, "" for none, and
	// BackingFormat the name of its format, which must be given with it.
	BackingFile   string
	BackingFormat string
	// Encryption, unless nil, has the data of the guest encrypted.
	Encryption *Encryption
	// DataFile is the name recorded for an external data file, "" for none, and
	// Data that file: Create makes it as long as the disk, and what was in it is
	// lost. Version 3 only.
	DataFile string
	Data     File
	// DataFileRaw makes the data file read as the disk does, for those who don't
	// know of the image. It implies PreallocateMetadata, and excludes a backing file.
	DataFileRaw bool
	// Preallocation says what is there before it is written to. Default: nothing.
	Preallocation Preallocation
}

// Defaults of CreateOptions.
const (
	DefaultVersion      = 3
	DefaultClusterSize  = 64 << 10
	DefaultRefcountBits = 16
)

// header validates the options and returns the header of an empty disk.
func (o *CreateOptions) header() (*header, error) {
	version, clusterSize, width := o.Version, o.ClusterSize, o.RefcountBits
	if version == 0 {
		version = DefaultVersion
	}
	if clusterSize == 0 {
		clusterSize = DefaultClusterSize
	}
	if width == 0 {
		width = DefaultRefcountBits
	}
	switch {
	case version != 2 && version != 3:
		return nil, fmt.Errorf("qcow2 version %d (2 or 3 is allowed)", version)
	case clusterSize < 1<<minClusterBits || clusterSize > 1<<maxClusterBits || clusterSize&(clusterSize-1) != 0:
		return nil, fmt.Errorf("cluster size %d (a power of two from 512 to 2 MiB is allowed)", clusterSize)
	case width < 1 || width > 64 || width&(width-1) != 0:
		return nil, fmt.Errorf("refcount width of %d bits (a power of two up to 64 is allowed)", width)
	case version == 2 && width != DefaultRefcountBits:
		return nil, fmt.Errorf("refcount width of %d bits (version 2 has 16)", width)
	case version == 2 && o.LazyRefcounts:
		return nil, fmt.Errorf("lazy refcounts need version 3")
	case o.Compression > CompressionZstd:
		return nil, fmt.Errorf("%v (zlib or zstd is allowed)", o.Compression)
	case version == 2 && o.Compression != CompressionZlib:
		return nil, fmt.Errorf("%v compression needs version 3", o.Compression)
	case o.Size < 0 || o.Size > 1<<63-sectorSize:
		return nil, fmt.Errorf("disk size %d", o.Size)
	case len(o.BackingFile) > maxBackingName:
		return nil, fmt.Errorf("backing file name of %d bytes (at most %d)", len(o.BackingFile), maxBackingName)
	case o.BackingFile != "" && o.BackingFormat == "":
		return nil, fmt.Errorf("backing file %q without backing format", o.BackingFile)
	case o.ExtendedL2 && version == 2:
		return nil, fmt.Errorf("extended L2 entries need version 3")
	case o.ExtendedL2 && clusterSize < 1<<minExtendedBits:
		return nil, fmt.Errorf("cluster size %d (with extended L2 entries at least %d)", clusterSize, 1<<minExtendedBits)
	case o.DataFile != "" && version == 2:
		return nil, fmt.Errorf("an external data file needs version 3")
	case (o.DataFile != "") != (o.Data != nil):
		return nil, fmt.Errorf("external data file %q: its name and the file must be given together", o.DataFile)
	case o.DataFileRaw && o.DataFile == "":
		return nil, fmt.Errorf("raw external data needs an external data file")
	case o.DataFileRaw && o.BackingFile != "":
		return nil, fmt.Errorf("raw external data excludes a backing file")
	case o.Preallocation > PreallocateFull:
		return nil, fmt.Errorf("%v", o.Preallocation)
	case o.Preallocation != PreallocateOff && o.BackingFile != "" && !o.ExtendedL2:
		return nil, fmt.Errorf("preallocation %v hides the backing file, except with extended L2 entries", o.Preallocation)
	case len(o.BackingFormat) > 15:
		return nil, fmt.Errorf("backing format %q (at most 15 bytes)", o.BackingFormat)
	}
	if o.Encryption != nil {
		if o.DataFileRaw {
			return nil, fmt.Errorf("raw external data of an encrypted disk: it would not read as the disk does")
		}
		if o.Preallocation != PreallocateOff && version < 3 {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, errNoiseAhead)
		}
		if err := o.Encryption.validate(); err != nil {
			return nil, err
		}
	}
	h := &header{
		version:       uint32(version),
		clusterBits:   uint32(bits.TrailingZeros64(uint64(clusterSize))),
		refTable:      uint64(clusterSize),
		refClusters:   1,
		refcountOrder: uint32(bits.TrailingZeros(uint(width))),
		backingFile:   o.BackingFile,
	}
	if o.BackingFormat != "" {
		h.extensions = append(h.extensions, extension{extBackingFormat, []byte(o.BackingFormat)})
	}
	if o.DataFile != "" {
		h.incompatible |= incompatDataFile
		h.extensions = append(h.extensions, extension{extDataFile, []byte(o.DataFile)})
	}
	if o.DataFileRaw {
		h.autoclear |= autoclearRawData
	}
	if version >= 3 {
		h.tail = make([]byte, headerSizeV3-headerMinSizeV3-1)
		if o.ExtendedL2 {
			h.incompatible |= incompatExtendedL2
		}
		if o.LazyRefcounts {
			h.compatible |= compatLazyRefcounts
		}
		if h.compression = o.Compression; h.compression != CompressionZlib {
			h.incompatible |= incompatCompression
		}
		if clusterSize > 4096 {
			h.extensions = append(h.extensions, extension{extFeatureNames, marshalFeatures(knownFeatures())})
		}
	}
	return h, nil
}

// Create makes f an empty image: whatever was in it is lost. The layout is that
// of qemu-img: header, refcount table, refcount block, L1 table.
func Create(f File, o CreateOptions) error {
	h, err := o.header()
	if err != nil {
		return fmt.Errorf("create qcow2 image: %w", err)
	}
	size := (o.Size + sectorSize - 1) &^ (sectorSize - 1)
	g := newGeometry(h)
	if n := g.l1Entries(size); n > maxL1Bytes/8 {
		return fmt.Errorf("create qcow2 image: %w: a disk of %d bytes needs a larger cluster size than %d",
			ErrTooLarge, size, g.clusterSize)
	}
	if err := fillNew(f, o, h, size); err != nil {
		return fmt.Errorf("create qcow2 image: %w", err)
	}
	return nil
}

// fillNew writes a new image for a disk of size bytes.
func fillNew(f File, o CreateOptions, h *header, size int64) error {
	g := newGeometry(h)
	if err := writeSkeleton(f, h, &g); err != nil {
		return err
	}
	if o.Data != nil {
		if err := o.Data.Truncate(0); err != nil {
			return err
		}
	}
	// Nothing has to survive a crash before all is there.
	im, err := Open(unsynced{f}, Options{NoBacking: true, DataFile: func(string) (File, error) { return o.Data, nil }})
	if err != nil {
		return err
	}
	if err := im.growWith(size, preallocation{mode: im.needsPreallocation(o.Preallocation), sealed: o.Encryption != nil}); err != nil {
		return err
	}
	if o.Encryption != nil {
		if err := im.encrypt(o.Encryption); err != nil {
			return err
		}
	}
	if o.Data != nil {
		if err := o.Data.Sync(); err != nil {
			return err
		}
	}
	return f.Sync()
}

// unsynced is a file whose writes need not be durable yet.
type unsynced struct{ File }

func (unsynced) Sync() error { return nil }

// Reserve implements reserver.
func (u unsynced) Reserve(off, n int64) error {
	return storage(u.File, off, off+n, PreallocateFalloc)
}

// writeSkeleton writes an image of a disk without any size: header, refcount
// table and one refcount block that counts these three clusters.
func writeSkeleton(f File, h *header, g *geometry) error {
	b, err := h.marshal()
	if err != nil {
		return err
	}
	table := make([]byte, 8)
	storeEntry(table, 0, uint64(2*g.clusterSize))
	counts := make([]byte, 3*8)
	for i := range int64(3) {
		storeRefcount(counts, i, g.refcountOrder, 1)
	}
	var img cursor
	for _, start := range [][]byte{b, table, counts} {
		img.out = append(img.out, start)
		img.zero(g.clusterSize - int64(len(start)))
	}
	if n, err := f.Size(); err != nil || n != 0 {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	return f.WriteV(img.piece(), 0)
}

// grow makes the disk larger: a longer L1 table first, then what is to be there
// in advance, then the size. Preconditions: nobody else uses the image.
func (im *Image) grow(size int64, mode Preallocation) error {
	return im.growWith(size, preallocation{mode: mode, sealed: im.encrypted()})
}

func (im *Image) growWith(size int64, p preallocation) error {
	p.fresh = true
	if err := im.growL1(im.g.l1Entries(size)); err != nil {
		return err
	}
	if err := im.preallocateWith(p, im.Size(), size); err != nil {
		return err
	}
	if err := im.drain(); err != nil {
		return err
	}
	return im.setSize(size)
}

// growL1 moves the L1 table to new clusters, n entries long.
func (im *Image) growL1(n int64) error {
	was := int64(len(im.l1))
	if n <= was {
		return nil
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.at(EventL1GrowAllocTable)
	clusters := im.g.clusters(n * 8)
	host, err := im.allocate(clusters)
	if err != nil {
		return err
	}
	if was > 0 {
		im.release(int64(im.hdr.l1Offset)>>im.g.clusterBits, im.g.clusters(was*8), false)
	}
	im.l1 = append(im.l1, make([]uint64, n-was)...)
	im.setMeta(host, clusters, metaL1)
	im.hdr.l1Offset, im.hdr.l1Size = uint64(host), uint32(n)
	im.changes.l1.move()
	return nil
}

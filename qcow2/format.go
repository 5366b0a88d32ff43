package qcow2

import (
	"encoding/binary"
	"fmt"
)

// Limits of the format, and of what is sane to load into memory.
const (
	minClusterBits   = 9
	maxClusterBits   = 21
	maxRefcountOrder = 6
	maxL1Bytes       = 32 << 20
	maxRefTableBytes = 8 << 20
	maxSnapshots     = 65536
	maxSnapshotBytes = 64 << 20
	maxBackingName   = 1023
	maxHostOffset    = 1<<56 - 1 // what an L1 or L2 entry can hold
	sectorSize       = 512       // unit of compressed lengths and of table updates
)

// Bits of L1, L2 and refcount table entries (all big-endian 64-bit words).
const (
	entryZero       uint64 = 1 << 0 // L2: reads as zeroes (version 3)
	entryCompressed uint64 = 1 << 62
	entryCopied     uint64 = 1 << 63 // refcount is exactly one: writable in place
	entryOffset     uint64 = 0x00fffffffffffe00
	l1Reserved      uint64 = 0x7f000000000001ff
	l2Reserved      uint64 = 0x3f000000000001fe
	refTableOffset  uint64 = 0xfffffffffffffe00
)

// geometry holds the sizes that follow from the header and never change.
type geometry struct {
	version       uint32
	clusterBits   uint
	clusterSize   int64
	entryBits     uint // log2 of the bytes of an L2 entry
	l2Bits        uint // log2 of the entries of an L2 table
	l1Shift       uint // guest offset >> l1Shift is the L1 index
	refcountOrder uint
	refBlockBits  uint   // log2 of the entries of a refcount block
	pageSize      int64  // unit of metadata caching: a cluster, at most 4 KiB
	encryption    string // EncryptionLUKS or EncryptionAES; "" without
	dataFile      bool   // guest data is in an external file, at the guest's offsets
}

func newGeometry(h *header) geometry {
	cb, eb := uint(h.clusterBits), uint(3)
	if h.incompatible&incompatExtendedL2 != 0 {
		eb = 4
	}
	g := geometry{
		version:       h.version,
		clusterBits:   cb,
		clusterSize:   1 << cb,
		entryBits:     eb,
		l2Bits:        cb - eb,
		l1Shift:       cb + cb - eb,
		refcountOrder: uint(h.refcountOrder),
		refBlockBits:  cb + 3 - uint(h.refcountOrder),
		encryption:    h.encryption(),
		dataFile:      h.incompatible&incompatDataFile != 0,
	}
	g.pageSize = min(g.clusterSize, 4096)
	return g
}

// clusters is the number of clusters that n bytes fill, the last maybe in part.
func (g *geometry) clusters(n int64) int64 {
	return n>>g.clusterBits + b2i(n&(g.clusterSize-1) != 0)
}

// roundUp rounds n up to a whole number of clusters.
func (g *geometry) roundUp(n int64) int64 { return g.clusters(n) << g.clusterBits }

// l1Entries is the number of L1 entries that a disk of size bytes needs.
func (g *geometry) l1Entries(size int64) int64 {
	return size>>g.l1Shift + b2i(size&(1<<g.l1Shift-1) != 0)
}

func (g *geometry) aligned(off int64) bool { return off&(g.clusterSize-1) == 0 }

// maxRefcount is the largest count that the image's refcount width can hold.
func (g *geometry) maxRefcount() uint64 {
	return ^uint64(0) >> (64 - 1<<g.refcountOrder)
}

// compressed decodes the L2 entry of a compressed cluster: where its data
// starts, and how many bytes may belong to it. The format counts whole sectors,
// so that the stream usually ends earlier.
func (g *geometry) compressed(entry uint64) (off, n int64, err error) {
	shift := 62 - (g.clusterBits - 8)
	o := entry & (1<<shift - 1)
	if o > maxHostOffset {
		return 0, 0, fmt.Errorf("%w: compressed cluster at %#x (entry %#x)", ErrInvalid, o, entry)
	}
	sectors := int64(entry>>shift&(1<<(g.clusterBits-8)-1)) + 1
	return int64(o), sectors*sectorSize - int64(o)%sectorSize, nil
}

// clusterKind says where the contents of a guest cluster are.
type clusterKind uint8

const (
	kindUnallocated clusterKind = iota // in the backing file, else zeroes
	kindZero                           // zeroes, no host cluster
	kindZeroAlloc                      // zeroes, with a host cluster kept
	kindNormal                         // in a host cluster
	kindCompressed                     // compressed, somewhere in the file
)

// classify interprets an L2 entry. The error says what is wrong with it, not
// where it was found.
func (g *geometry) classify(e uint64) (clusterKind, error) {
	if e&entryCompressed != 0 {
		if g.dataFile {
			return 0, fmt.Errorf("compressed cluster entry %#x in an image with an external data file", e)
		}
		return kindCompressed, nil
	}
	off := e & entryOffset
	if off&uint64(g.clusterSize-1) != 0 {
		return 0, unalignedCluster(off)
	}
	switch {
	case g.extended(): // the bitmap says more
		if g.refersTo(e) {
			return kindNormal, nil
		}
		return kindUnallocated, nil
	case e&entryZero != 0 && g.version < 3:
		return 0, fmt.Errorf("zero cluster entry %#x in a version 2 image", e)
	case e&entryZero != 0 && !g.refersTo(e):
		return kindZero, nil
	case e&entryZero != 0:
		return kindZeroAlloc, nil
	case !g.refersTo(e):
		return kindUnallocated, nil
	}
	return kindNormal, nil
}

// inRow is how many entries of an L2 table, from entry i on, differ by nothing but that
// each refers to the host cluster behind that of the one before; 1 at least.
func (g *geometry) inRow(table []byte, i int64) int64 {
	e := g.word(table, i)
	kind, err := g.classify(e)
	if err != nil || kind != kindNormal && kind != kindZeroAlloc {
		return 1
	}
	n, most := int64(1), maxHostOffset>>g.clusterBits-int64(e&entryOffset)>>g.clusterBits+1
	for e += uint64(g.clusterSize); n < most && i+n < 1<<g.l2Bits && g.word(table, i+n) == e; n++ {
		e += uint64(g.clusterSize)
	}
	return n
}

// refersTo reports whether an L2 entry, not of a compressed cluster, names a host
// cluster. Offset 0 is one of an external data file, if the entry has COPIED.
func (g *geometry) refersTo(e uint64) bool {
	return e&entryOffset != 0 || g.dataFile && e&entryCopied != 0
}

// misplaced refuses an entry by which guest data would not be at its own offset
// in an external data file. Preconditions: e is of kind kindNormal or
// kindZeroAlloc.
func (g *geometry) misplaced(e uint64, cluster int64) error {
	if off := int64(e & entryOffset); g.dataFile && off != cluster<<g.clusterBits {
		return fmt.Errorf("host offset %#x in the external data file is not the guest's, %#x", off, cluster<<g.clusterBits)
	}
	return nil
}

func loadEntry(b []byte, i int64) uint64     { return binary.BigEndian.Uint64(b[i*8:]) }
func storeEntry(b []byte, i int64, v uint64) { binary.BigEndian.PutUint64(b[i*8:], v) }

// loadRefcount returns entry i of (a page of) a refcount block.
func loadRefcount(b []byte, i int64, order uint) uint64 {
	switch order {
	case 3:
		return uint64(b[i])
	case 4:
		return uint64(binary.BigEndian.Uint16(b[i*2:]))
	case 5:
		return uint64(binary.BigEndian.Uint32(b[i*4:]))
	case 6:
		return binary.BigEndian.Uint64(b[i*8:])
	}
	// Narrower than a byte: the lowest bits hold the first entry.
	bit := i << order
	return uint64(b[bit>>3]) >> (bit & 7) & (1<<(1<<order) - 1)
}

// storeRefcount sets entry i of (a page of) a refcount block.
func storeRefcount(b []byte, i int64, order uint, v uint64) {
	switch order {
	case 3:
		b[i] = byte(v)
	case 4:
		binary.BigEndian.PutUint16(b[i*2:], uint16(v))
	case 5:
		binary.BigEndian.PutUint32(b[i*4:], uint32(v))
	case 6:
		binary.BigEndian.PutUint64(b[i*8:], v)
	default:
		bit := i << order
		mask := byte(1<<(1<<order)-1) << (bit & 7)
		b[bit>>3] = b[bit>>3]&^mask | byte(v)<<(bit&7)&mask
	}
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

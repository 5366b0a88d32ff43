package qcow2

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	headerMagic     = 0x514649fb // "QFI\xfb"
	headerSizeV2    = 72
	headerMinSizeV3 = 104
	headerSizeV3    = 112
)

// Offsets of header fields that are updated on their own, as one write each.
const (
	hdrSize      = 24 // disk size, 8 bytes
	hdrL1        = 36 // L1 entries (4), L1 offset (8)
	hdrRefTable  = 48 // refcount table offset (8), its clusters (4)
	hdrSnapshots = 60 // number of snapshots, 4 bytes
	hdrIncompat  = 72 // incompatible features, 8 bytes
	hdrCompat    = 80 // compatible features, 8 bytes
	hdrAutoclear = 88 // autoclear features, 8 bytes
)

// Encryption methods (crypt_method).
const (
	cryptNone = 0
	cryptAES  = 1
	cryptLUKS = 2
)

// header is the image header with its extensions and the backing file name.
type header struct {
	version       uint32
	clusterBits   uint32
	size          uint64 // of the disk, bytes
	cryptMethod   uint32
	l1Size        uint32 // entries
	l1Offset      uint64
	refTable      uint64 // offset
	refClusters   uint32 // clusters of the refcount table
	snapshotCount uint32
	snapshots     uint64 // offset of the snapshot table
	incompatible  uint64
	compatible    uint64
	autoclear     uint64
	refcountOrder uint32
	compression   Compression

	// tail is what follows the last field above, up to the header length of
	// the image: padding, and fields of later versions of the format.
	tail        []byte
	extensions  []extension
	backingFile string
}

// readHeader reads and validates the header of the image in f.
func readHeader(f File) (*header, error) { return readHeaderFor(f, false) }

// readHeaderFor is readHeader, or if it is to be repaired takes a header that counts more
// snapshots than there may be.
func readHeaderFor(f File, repair bool) (*header, error) {
	fixed := make([]byte, headerSizeV3)
	if err := readFull(f, fixed, 0); err != nil {
		return nil, fmt.Errorf("read qcow2 header: %w", err)
	}
	clusterSize, err := checkPreamble(fixed)
	if err != nil {
		return nil, err
	}
	first := make([]byte, clusterSize)
	if err := readFirst(f, first); err != nil {
		return nil, fmt.Errorf("read qcow2 header: %w", err)
	}
	return parseHeaderFor(first, repair)
}

// readFirst reads of the first cluster what the header has in it, which is a small part of
// it; the rest of first stays zero.
func readFirst(f File, first []byte) error {
	if cluster := int64(len(first)); cluster > headerPiece {
		start := first[:headerPiece]
		if err := readFull(f, start, 0); err != nil {
			return err
		}
		if headerEnd(start, cluster) <= headerPiece {
			return nil
		}
	}
	return readFull(f, first, 0)
}

// headerPiece is how much of the first cluster is looked at first, in bytes.
const headerPiece = 4 << 10

// headerEnd is where the last of header, extensions and backing file name ends, for all that
// can be told from b, where the first cluster begins; at most cluster, its size.
func headerEnd(b []byte, cluster int64) int64 {
	be := binary.BigEndian
	at, end := int64(headerSizeV2), int64(0)
	if be.Uint32(b[4:]) >= 3 {
		at = int64(be.Uint32(b[100:]))
	}
	if name := be.Uint64(b[8:]); name != 0 {
		end = int64(min(name, uint64(cluster))) + int64(be.Uint32(b[16:]))
	}
	for at <= int64(len(b))-8 {
		if kind := be.Uint32(b[at:]); kind == extEnd {
			return min(max(at+8, end), cluster)
		}
		at += 8 + (int64(be.Uint32(b[at+4:]))+7)&^7
	}
	return cluster
}

// checkPreamble validates what must hold before the first cluster can be read,
// and returns the cluster size.
func checkPreamble(b []byte) (int64, error) {
	be := binary.BigEndian
	if be.Uint32(b) != headerMagic {
		return 0, ErrFormat
	}
	if v := be.Uint32(b[4:]); v != 2 && v != 3 {
		return 0, unknownKind(fmt.Sprintf("Unsupported qcow2 version %d", v), "2 and 3 are supported")
	}
	bits := be.Uint32(b[20:])
	if bits < minClusterBits || bits > maxClusterBits {
		return 0, invalid(fmt.Sprintf("Unsupported cluster size: 2^%d", bits), "2^%d to 2^%d are allowed", minClusterBits, maxClusterBits)
	}
	return 1 << bits, nil
}

// parseHeader decodes the first cluster of an image.
func parseHeader(b []byte) (*header, error) { return parseHeaderFor(b, false) }

func parseHeaderFor(b []byte, repair bool) (*header, error) {
	be := binary.BigEndian
	if len(b) < 1<<minClusterBits {
		return nil, ErrFormat
	}
	size, err := checkPreamble(b)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < size {
		return nil, fmt.Errorf("%w: first cluster is cut off", ErrInvalid)
	}
	b = b[:size]
	h := &header{
		version:       be.Uint32(b[4:]),
		clusterBits:   be.Uint32(b[20:]),
		size:          be.Uint64(b[24:]),
		cryptMethod:   be.Uint32(b[32:]),
		l1Size:        be.Uint32(b[36:]),
		l1Offset:      be.Uint64(b[40:]),
		refTable:      be.Uint64(b[48:]),
		refClusters:   be.Uint32(b[56:]),
		snapshotCount: be.Uint32(b[60:]),
		snapshots:     be.Uint64(b[64:]),
		refcountOrder: 4,
	}
	length := uint32(headerSizeV2)
	if h.version >= 3 {
		if length, err = h.parseV3(b); err != nil {
			return nil, err
		}
	}
	if err := h.parseTrailer(b, length); err != nil {
		return nil, err
	}
	return h, h.validate(repair)
}

// parseV3 decodes the fields that version 3 added and returns the header length.
func (h *header) parseV3(b []byte) (uint32, error) {
	be := binary.BigEndian
	h.incompatible = be.Uint64(b[72:])
	h.compatible = be.Uint64(b[80:])
	h.autoclear = be.Uint64(b[88:])
	h.refcountOrder = be.Uint32(b[96:])
	length := be.Uint32(b[100:])
	switch {
	case length < headerMinSizeV3:
		return 0, invalid("qcow2 header too short", "%d bytes (at least %d)", length, headerMinSizeV3)
	case int64(length) > int64(len(b)):
		return 0, invalid("qcow2 header exceeds cluster size", "%d bytes", length)
	case length%8 != 0:
		return 0, fmt.Errorf("%w: qcow2 header length %d is not a multiple of 8", ErrInvalid, length)
	}
	if length > headerMinSizeV3 {
		h.compression = Compression(b[104])
		h.tail = slices.Clone(b[105:length])
	}
	return length, nil
}

// parseTrailer decodes extensions and backing file name.
func (h *header) parseTrailer(b []byte, length uint32) error {
	be := binary.BigEndian
	nameOff, nameLen := be.Uint64(b[8:]), be.Uint32(b[16:])
	end := uint64(len(b))
	if nameOff > end {
		return invalid("Invalid backing file offset", "%#x (at most the cluster size, %#x)", nameOff, end)
	}
	if nameOff != 0 {
		if nameLen > maxBackingName || uint64(nameLen) > end-nameOff {
			return invalid("Backing file name too long", "%d bytes", nameLen)
		}
		h.backingFile = string(b[nameOff : nameOff+uint64(nameLen)])
		end = nameOff
	}
	var err error
	if uint64(length) <= end {
		if h.extensions, err = parseExtensions(b, int64(length), int64(end)); err != nil {
			return err
		}
	}
	return nil
}

// validate refuses what is impossible or not built. Every later computation
// with header fields relies on it: no table is larger than its limit, every
// offset is aligned and below 2^63. A header to be repaired may count too many snapshots.
func (h *header) validate(repair bool) error {
	if h.compression > CompressionZstd {
		return unknownKind(fmt.Sprintf("qcow2: unknown compression type: %d", uint8(h.compression)), "0, zlib, and 1, zstd, are supported")
	}
	if h.compression != CompressionZlib != (h.incompatible&incompatCompression != 0) {
		return invalid("qcow2: Compression type incompatible feature bit must "+map[bool]string{true: "not be set", false: "be set"}[h.compression == CompressionZlib], "the type is %v", h.compression)
	}
	if mask := h.incompatible &^ incompatBuilt; mask != 0 {
		return unsupportedFeatures(mask, h.extension(extFeatureNames))
	}
	if err := h.validateEncryption(); err != nil {
		return err
	}
	if h.incompatible&incompatExtendedL2 != 0 && h.clusterBits < minExtendedBits {
		return invalid(fmt.Sprintf("Unsupported subcluster size: %d", 1<<h.clusterBits/subclusters), "at least %d", 1<<minClusterBits)
	}
	if h.autoclear&autoclearRawData != 0 && h.incompatible&incompatDataFile == 0 {
		return invalid("data-file-raw requires a data file", "")
	}
	if h.refcountOrder > maxRefcountOrder {
		return invalid("Reference count entry width too large; may not exceed 64 bits", "2^%d", h.refcountOrder)
	}
	if err := h.checkTable("Reference count table", h.refTable, uint64(h.refClusters)<<h.clusterBits, maxRefTableBytes); err != nil {
		return err
	}
	if h.snapshotCount > maxSnapshots && !repair {
		return invalid("Snapshot table too large", "%d snapshots (at most %d)", h.snapshotCount, maxSnapshots)
	}
	if err := h.checkTable("Snapshot table", h.snapshots, uint64(min(h.snapshotCount, maxSnapshots))*snapshotMinSize, maxSnapshotBytes); err != nil {
		return err
	}
	if err := h.checkTable("Active L1 table", h.l1Offset, uint64(h.l1Size)*8, maxL1Bytes); err != nil {
		return err
	}
	const tooBig = "Image is too big"
	if h.size > math.MaxInt64 {
		return invalid(tooBig, "%d bytes", h.size)
	}
	g := newGeometry(h)
	switch need := g.l1Entries(int64(h.size)); {
	case need > math.MaxInt32:
		return invalid(tooBig, "%d bytes need %d L1 entries", h.size, need)
	case need > int64(h.l1Size):
		return invalid("L1 table is too small", "%d entries for a disk of %d bytes (needs %d)", h.l1Size, h.size, need)
	}
	return nil
}

// checkTable validates the place of a metadata table of n bytes. What it is begins with a
// capital letter.
func (h *header) checkTable(what string, off, n, limit uint64) error {
	if n > limit {
		return invalid(what+" too large", "%d bytes (at most %d)", n, limit)
	}
	if off&(1<<h.clusterBits-1) != 0 || off > maxHostOffset-n {
		return invalid(what+" offset invalid", "%#x", off)
	}
	return nil
}

// extension returns the data of the first extension of a kind, nil if none.
func (h *header) extension(kind uint32) []byte {
	for _, e := range slices.Backward(h.extensions) {
		if e.kind == kind {
			return e.data
		}
	}
	return nil
}

// backingFormat is the recorded driver name of the backing file, "" if none.
func (h *header) backingFormat() string { return string(h.extension(extBackingFormat)) }

// dataFile is the recorded name of the external data file, "" if none.
func (h *header) dataFile() string { return string(h.extension(extDataFile)) }

// marshal encodes header, extensions and backing name: the used part of the
// first cluster. Every field that was read is written.
func (h *header) marshal() ([]byte, error) {
	be := binary.BigEndian
	b := make([]byte, headerSizeV2, 1024)
	be.PutUint32(b[0:], headerMagic)
	be.PutUint32(b[4:], h.version)
	be.PutUint32(b[20:], h.clusterBits)
	be.PutUint64(b[24:], h.size)
	be.PutUint32(b[32:], h.cryptMethod)
	be.PutUint32(b[36:], h.l1Size)
	be.PutUint64(b[40:], h.l1Offset)
	be.PutUint64(b[48:], h.refTable)
	be.PutUint32(b[56:], h.refClusters)
	be.PutUint32(b[60:], h.snapshotCount)
	be.PutUint64(b[64:], h.snapshots)
	if h.version >= 3 {
		b = be.AppendUint64(b, h.incompatible)
		b = be.AppendUint64(b, h.compatible)
		b = be.AppendUint64(b, h.autoclear)
		b = be.AppendUint32(b, h.refcountOrder)
		b = be.AppendUint32(b, 0)
		if h.tail != nil {
			b = append(b, byte(h.compression))
			b = append(b, h.tail...)
		}
		be.PutUint32(b[100:], uint32(len(b)))
	}
	for _, e := range h.extensions {
		b = appendExtension(b, e.kind, e.data)
	}
	b = appendExtension(b, extEnd, nil)
	if h.backingFile != "" {
		putBackingName(b, len(b), len(h.backingFile))
		b = append(b, h.backingFile...)
	}
	if len(b) > 1<<h.clusterBits {
		return nil, fmt.Errorf("%w: header with extensions and backing file name needs %d bytes, a cluster has %d",
			ErrTooLarge, len(b), 1<<h.clusterBits)
	}
	return b, nil
}

// putBackingName says in a header where the name of the backing file is.
func putBackingName(b []byte, off, n int) {
	binary.BigEndian.PutUint64(b[8:], uint64(off))
	binary.BigEndian.PutUint32(b[16:], uint32(n))
}

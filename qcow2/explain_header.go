package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// explainHeader tells the fields of the header, the extensions and the name of the
// backing file, and whether the image would open.
func (e *explainer) explainHeader() {
	e.begin("header")
	e.explainFixed()
	if e.h.version >= 3 {
		e.explainV3()
	}
	if !e.sane {
		e.complain("", "without a cluster size nothing else can be found")
		return
	}
	if name := e.backingName(); name != nil {
		off, n := binary.BigEndian.Uint64(e.first[8:]), binary.BigEndian.Uint32(e.first[16:])
		e.note(Note{Offset: int64(off), Raw: name, Name: "backing file", Text: fmt.Sprintf("%q", name),
			Problem: when(int64(n) > int64(len(name)), "cut off: %d bytes", n)})
	}
	e.explainExtensions()
	e.begin("verdict")
	h, err := readHeader(e.f)
	if err == nil {
		_, err = readSnapshots(e.f, h)
	}
	if err != nil {
		e.complain("", "the image does not open: %v", err)
		return
	}
	text := "the header is valid"
	if h.incompatible&incompatBad != 0 {
		text += ", and asks for a repair"
	}
	e.say("", "%s (the file has %d bytes)", text, e.size)
}

// explainFixed tells the fields that all versions have.
func (e *explainer) explainFixed() {
	h, f := e.h, fields{e, e.first, 0}
	b := e.first
	name, length := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])
	f.add(0, 4, "magic", fmt.Sprintf("%q", b[:4]), when(binary.BigEndian.Uint32(b) != headerMagic, `must be "QFI\xfb"`))
	f.add(4, 4, "version", fmt.Sprint(h.version), when(h.version != 2 && h.version != 3, "2 and 3 are known"))
	text := fmt.Sprintf("%#x", name)
	if name == 0 {
		text = "no backing file"
	}
	f.add(8, 8, "backing_file_offset", text, when(e.sane && name > uint64(e.g.clusterSize), "not in the first cluster"))
	f.add(16, 4, "backing_file_size", plural(int64(length), "byte"), when(length > maxBackingName, "at most %d bytes", maxBackingName))
	text = fmt.Sprint(h.clusterBits)
	if e.sane {
		text = "clusters of " + plural(e.g.clusterSize, "byte")
	}
	f.add(20, 4, "cluster_bits", text, when(!e.sane, "%d to %d are allowed", minClusterBits, maxClusterBits))
	f.add(24, 8, "size", fmt.Sprintf("the disk has %s", plural(int64(h.size), "byte")), when(int64(h.size) < 0, "too large"))
	methods := []string{"not encrypted", "encrypted: AES-128-CBC, the old way", "encrypted: LUKS"}
	text = "unknown method"
	if int64(h.cryptMethod) < int64(len(methods)) {
		text = methods[h.cryptMethod]
	}
	f.add(32, 4, "crypt_method", text, when(h.cryptMethod > cryptLUKS, "0 to 2 are known"))
	need := int64(0)
	if e.sane && int64(h.size) >= 0 {
		need = e.g.l1Entries(int64(h.size))
	}
	p := when(int64(h.l1Size) < need, "a disk of this size needs %d", need)
	if h.l1Size > maxL1Bytes/8 {
		p = fmt.Sprintf("at most %d", maxL1Bytes/8)
	}
	f.add(36, 4, "l1_size", plural(int64(h.l1Size), "entry"), p)
	f.add(40, 8, "l1_table_offset", fmt.Sprintf("%#x", h.l1Offset), e.placeIf(h.l1Offset, uint64(h.l1Size)*8))
	f.add(48, 8, "refcount_table_offset", fmt.Sprintf("%#x", h.refTable), e.placeIf(h.refTable, uint64(h.refClusters)<<e.g.clusterBits))
	p = when(h.refClusters == 0, "an image needs a refcount table")
	if e.sane && uint64(h.refClusters)<<h.clusterBits > maxRefTableBytes {
		p = fmt.Sprintf("at most %d bytes", maxRefTableBytes)
	}
	f.add(56, 4, "refcount_table_clusters", plural(int64(h.refClusters), "cluster"), p)
	f.add(60, 4, "nb_snapshots", plural(int64(h.snapshotCount), "snapshot"), when(h.snapshotCount > maxSnapshots, "at most %d", maxSnapshots))
	f.add(64, 8, "snapshots_offset", fmt.Sprintf("%#x", h.snapshots), e.placeIf(h.snapshots, uint64(h.snapshotCount)*snapshotMinSize))
}

// placeIf is place, if clusters are known.
func (e *explainer) placeIf(off, n uint64) string {
	if !e.sane {
		return ""
	}
	return e.place(off, n)
}

// explainV3 tells the fields that version 3 added.
func (e *explainer) explainV3() {
	h, f := e.h, fields{e, e.first, 0}
	f.add(hdrIncompat, 8, "incompatible_features", e.featureNames(featIncompatible, h.incompatible),
		when(h.incompatible&^incompatBuilt != 0, "unknown: nobody may open the image without knowing them: %#x", h.incompatible&^incompatBuilt))
	f.add(hdrCompat, 8, "compatible_features", e.featureNames(featCompatible, h.compatible), "")
	f.add(hdrAutoclear, 8, "autoclear_features", e.featureNames(featAutoclear, h.autoclear), "")
	text := fmt.Sprint(h.refcountOrder)
	if h.refcountOrder <= maxRefcountOrder {
		text = fmt.Sprintf("refcounts of %s", plural(1<<h.refcountOrder, "bit"))
	}
	f.add(96, 4, "refcount_order", text, when(h.refcountOrder > maxRefcountOrder, "at most %d, for 64 bits", maxRefcountOrder))
	n := e.headerLength
	p := when(n%8 != 0, "must be a multiple of 8")
	if n < headerMinSizeV3 || e.sane && n > e.g.clusterSize {
		p = fmt.Sprintf("at least %d, at most a cluster", headerMinSizeV3)
	}
	f.add(100, 4, "header_length", plural(n, "byte"), p)
	if n <= headerMinSizeV3 {
		return
	}
	kind := Compression(e.first[104])
	p = when(kind > CompressionZstd, "0 and 1 are known")
	if p == "" && (kind != CompressionZlib) != (h.incompatible&incompatCompression != 0) {
		p = "contradicts the feature bit \"compression type\""
	}
	f.add(104, 1, "compression_type", kind.String(), p)
	if n > 105 && n <= int64(len(e.first)) {
		text := "zero"
		if len(bytes.Trim(e.first[105:n], "\x00")) > 0 {
			text = "not zero: fields of a later version"
		}
		f.add(105, int(n)-105, "padding", text, "")
	}
}

// featureNames names the bits of a set: as the format does, else as the image.
func (e *explainer) featureNames(kind uint8, set uint64) string {
	if set == 0 {
		return "none"
	}
	var own []feature
	if e.sane {
		own = parseFeatures(e.extensionData(extFeatureNames))
	}
	var list []string
	for ; set != 0; set &= set - 1 {
		bit := uint8(bits.TrailingZeros64(set))
		name := "unknown"
		for _, f := range append(knownFeatures(), own...) {
			if f.kind == kind && f.bit == bit {
				name = f.name
				break
			}
		}
		list = append(list, fmt.Sprintf("bit %d (%.*q)", bit, featureNameSize, name))
	}
	return strings.Join(list, ", ")
}

// backingName is the name of the backing file, as much of it as there is.
func (e *explainer) backingName() []byte {
	off, n := binary.BigEndian.Uint64(e.first[8:]), binary.BigEndian.Uint32(e.first[16:])
	if off == 0 || off > uint64(e.g.clusterSize) {
		return nil
	}
	return e.first[off:min(off+uint64(n), off+maxBackingName, uint64(e.g.clusterSize))]
}

// extensionsEnd is where the header extensions end at the latest.
func (e *explainer) extensionsEnd() int64 {
	end := e.g.clusterSize
	if off := binary.BigEndian.Uint64(e.first[8:]); off != 0 && off < uint64(end) {
		end = int64(off)
	}
	return end
}

// walkExtensions calls visit for each header extension, with the place of its
// first byte and its data, as much as there is.
func (e *explainer) walkExtensions(visit func(at int64, kind, length uint32, data []byte) bool) {
	end := e.extensionsEnd()
	if e.headerLength < headerSizeV2 || e.headerLength > end {
		return
	}
	for at := e.headerLength; at+8 <= end; {
		kind, n := binary.BigEndian.Uint32(e.first[at:]), binary.BigEndian.Uint32(e.first[at+4:])
		data := e.first[at+8 : min(at+8+int64(n), end)]
		if !visit(at, kind, n, data) || kind == extEnd || int64(n) > int64(len(data)) {
			return
		}
		at += 8 + (int64(n)+7)&^7
	}
}

// extensionData is the data of the first extension of a kind, nil if none.
func (e *explainer) extensionData(kind uint32) (found []byte) {
	e.walkExtensions(func(_ int64, k, n uint32, data []byte) bool {
		if k == kind && int(n) == len(data) {
			found = data
		}
		return found == nil
	})
	return found
}

// explainExtensions tells the header extensions.
func (e *explainer) explainExtensions() {
	e.begin("header extensions")
	count := 0
	e.walkExtensions(func(at int64, kind, n uint32, data []byte) bool {
		if count++; count > fewRecords && !e.o.All {
			e.say("...", "more extensions from %#x on", at)
			return false
		}
		names := map[uint32]string{
			extEnd: "end", extBackingFormat: "backing format", extFeatureNames: "feature names", extBitmaps: "bitmaps",
			extCrypto: "encryption header", extDataFile: "external data file",
		}
		name, known := names[kind]
		text := fmt.Sprintf("%s, %s", name, plural(int64(n), "byte"))
		if !known {
			text = fmt.Sprintf("unknown (kept as it is), %s", plural(int64(n), "byte"))
		}
		e.note(Note{Offset: at, Raw: e.first[at : at+8], Name: "type and length", Text: text,
			Problem: when(int64(n) > int64(len(data)), "only %s left in the first cluster", plural(int64(len(data)), "byte"))})
		e.explainExtension(kind, fields{e, data, at + 8})
		return e.err == nil
	})
}

// explainExtension tells the data of an extension.
func (e *explainer) explainExtension(kind uint32, f fields) {
	be, n := binary.BigEndian, len(f.b)
	switch {
	case n == 0:
	case kind == extBackingFormat || kind == extDataFile:
		f.add(0, n, "name", fmt.Sprintf("%.1024q", f.b), when(kind == extBackingFormat && n > 15, "at most 15 bytes"))
	case kind == extFeatureNames:
		for i, row := range parseFeatures(f.b) {
			if i == fewRecords*2 && !e.o.All {
				e.say("...", "more names")
				return
			}
			sets := []string{"incompatible", "compatible", "autoclear"}
			set := fmt.Sprintf("set %d", row.kind)
			if int(row.kind) < len(sets) {
				set = sets[row.kind]
			}
			f.add(i*featureRowSize, featureRowSize, "feature", fmt.Sprintf("%s bit %d: %q", set, row.bit, row.name), "")
		}
	case kind == extCrypto && n == cryptoExtSize:
		off, length := be.Uint64(f.b), be.Uint64(f.b[8:])
		f.add(0, 8, "offset", fmt.Sprintf("%#x", off), e.place(off, length))
		f.add(8, 8, "length", plural(int64(length), "byte"), when(length > maxCryptoHeader, "at most %d", maxCryptoHeader))
	case kind == extBitmaps && n == bitmapExtSize:
		off, length := be.Uint64(f.b[16:]), be.Uint64(f.b[8:])
		f.add(0, 4, "nb_bitmaps", plural(int64(be.Uint32(f.b)), "bitmap"), when(be.Uint32(f.b) > maxBitmaps, "at most %d", maxBitmaps))
		f.add(4, 4, "reserved", "", when(be.Uint32(f.b[4:]) != 0, "must be zero"))
		f.add(8, 8, "directory size", plural(int64(length), "byte"), when(length > maxBitmapDirectory, "at most %d", maxBitmapDirectory))
		f.add(16, 8, "directory offset", fmt.Sprintf("%#x", off), e.place(off, length))
		if e.h.autoclear&autoclearBitmaps == 0 {
			e.complain("", "the feature bit \"bitmaps\" is clear: a writer that does not know them was here, they are stale")
		}
	default:
		f.add(0, n, "data", "", when(kind == extCrypto || kind == extBitmaps, "the wrong length"))
	}
}

// plural is a number of things.
func plural(n int64, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "y"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

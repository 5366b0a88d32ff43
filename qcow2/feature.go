package qcow2

import (
	"bytes"
	"fmt"
	"math/bits"
	"strings"
	"unicode"
)

// Feature bits of the version 3 header.
const (
	incompatDirty       uint64 = 1 << 0 // refcounts may be stale
	incompatCorrupt     uint64 = 1 << 1 // do not write
	incompatDataFile    uint64 = 1 << 2
	incompatCompression uint64 = 1 << 3 // compression_type is not zero
	incompatExtendedL2  uint64 = 1 << 4
	incompatBad                = incompatDirty | incompatCorrupt // a repair clears these
	incompatBuilt              = incompatBad | incompatDataFile | incompatCompression | incompatExtendedL2

	compatLazyRefcounts uint64 = 1 << 0

	autoclearBitmaps uint64 = 1 << 0
	autoclearRawData uint64 = 1 << 1 // the external data file reads as the disk does
)

// Kinds of feature bits, as the feature name table numbers them.
const (
	featIncompatible = 0
	featCompatible   = 1
	featAutoclear    = 2
)

// feature is a row of the feature name table.
type feature struct {
	kind, bit uint8
	name      string
}

const (
	featureRowSize  = 48
	featureNameSize = 46
)

// knownFeatures is the table that Create writes, in the order QEMU uses.
func knownFeatures() []feature {
	return []feature{
		{featIncompatible, 0, "dirty bit"},
		{featIncompatible, 1, "corrupt bit"},
		{featIncompatible, 2, "external data file"},
		{featIncompatible, 3, "compression type"},
		{featIncompatible, 4, "extended L2 entries"},
		{featCompatible, 0, "lazy refcounts"},
		{featAutoclear, 0, "bitmaps"},
		{featAutoclear, 1, "raw external data"},
	}
}

func marshalFeatures(fs []feature) []byte {
	b := make([]byte, len(fs)*featureRowSize)
	for i, f := range fs {
		row := b[i*featureRowSize:]
		row[0], row[1] = f.kind, f.bit
		copy(row[2:featureRowSize], f.name)
	}
	return b
}

// parseFeatures decodes a feature name table, up to a row without a name. What the last
// row lacks is zero.
func parseFeatures(b []byte) []feature {
	var fs []feature
	for len(b) > 2 {
		row := b[:min(featureRowSize, len(b))]
		b = b[len(row):]
		name, _, _ := bytes.Cut(row[2:], []byte{0})
		if len(name) == 0 {
			break
		}
		fs = append(fs, feature{row[0], row[1], string(name)})
	}
	return fs
}

// unsupportedFeatures returns the error for the incompatible bits in mask: by
// the image's own names for them, else by the ones the format defines.
func unsupportedFeatures(mask uint64, table []byte) error {
	names := make(map[uint8]string)
	for _, f := range append(knownFeatures(), parseFeatures(table)...) {
		if f.kind == featIncompatible && f.name != "" {
			names[f.bit] = f.name
		}
	}
	var list []string
	unknown := uint64(0)
	for ; mask != 0; mask &= mask - 1 {
		bit := uint8(bits.TrailingZeros64(mask))
		if name, ok := names[bit]; ok {
			list = append(list, printable(name))
		} else {
			unknown |= 1 << bit
		}
	}
	if unknown != 0 {
		list = append(list, fmt.Sprintf("Unknown incompatible feature: %x", unknown))
	}
	return unknownKind("Unsupported qcow2 feature(s): "+strings.Join(list, ", "), "")
}

// printable returns a name from an image without what a terminal might obey.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

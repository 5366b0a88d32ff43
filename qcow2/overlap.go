package qcow2

import (
	"fmt"
	"slices"
	"strings"
)

// Overlap is a set of classes of metadata which guest data must not be written
// over, and tables must not share clusters with. A write that would do that
// shows that the image is corrupt: it is marked so, and not written any more.
//
// All checks are made against a map of the metadata in memory; what a class
// costs is the memory for its clusters.
type Overlap uint16

// Classes of metadata, by the names and with the bits that QEMU has for them.
const (
	OverlapMainHeader      Overlap = 1 << iota // with the encryption header
	OverlapActiveL1                            //
	OverlapActiveL2                            //
	OverlapRefcountTable                       //
	OverlapRefcountBlock                       //
	OverlapSnapshotTable                       //
	OverlapInactiveL1                          // L1 tables of snapshots
	OverlapInactiveL2                          // L2 tables of snapshots
	OverlapBitmapDirectory                     // with tables and contents of bitmaps

	// QEMU's templates. It uses OverlapCached unless told otherwise; here all
	// checks cost the same.
	OverlapNone     Overlap = 0
	OverlapConstant         = OverlapMainHeader | OverlapActiveL1 | OverlapRefcountTable | OverlapSnapshotTable | OverlapBitmapDirectory
	OverlapCached           = OverlapConstant | OverlapActiveL2 | OverlapRefcountBlock | OverlapInactiveL1
	OverlapAll              = OverlapCached | OverlapInactiveL2
)

// overlapNames are QEMU's names of the classes, by bit.
var overlapNames = [...]string{"main-header", "active-l1", "active-l2", "refcount-table", "refcount-block",
	"snapshot-table", "inactive-l1", "inactive-l2", "bitmap-directory"}

// String lists the classes.
func (o Overlap) String() string {
	var list []string
	for i, name := range overlapNames {
		if o&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ",")
}

// ParseOverlap returns the set that QEMU's options overlap-check.template and
// overlap-check.CLASS ask for. template is none, constant, cached, all or, for
// all, empty; the classes that the map names are then put in or taken out.
func ParseOverlap(template string, classes map[string]bool) (Overlap, error) {
	var set Overlap
	switch template {
	case "none":
		set = OverlapNone
	case "constant":
		set = OverlapConstant
	case "cached":
		set = OverlapCached
	case "all", "":
		set = OverlapAll
	default:
		return 0, fmt.Errorf("overlap check %q (none, constant, cached and all are allowed)", template)
	}
	for name, on := range classes {
		i := slices.Index(overlapNames[:], name)
		if i < 0 {
			return 0, fmt.Errorf("overlap check of %q (%s are allowed)", name, strings.Join(overlapNames[:], ", "))
		}
		if set &^= 1 << i; on {
			set |= 1 << i
		}
	}
	return set, nil
}

// class is the class of a kind of metadata.
func (k metaKind) class() Overlap {
	switch k {
	case metaHeader, metaCrypto:
		return OverlapMainHeader
	case metaL1:
		return OverlapActiveL1
	case metaL2, metaL2Twice:
		return OverlapActiveL2
	case metaRefTable:
		return OverlapRefcountTable
	case metaRefBlock:
		return OverlapRefcountBlock
	case metaSnapshots:
		return OverlapSnapshotTable
	case metaSnapshotL1:
		return OverlapInactiveL1
	case metaSnapshotL2:
		return OverlapInactiveL2
	case metaBitmapDirectory, metaBitmap:
		return OverlapBitmapDirectory
	}
	return 0
}

// checkData refuses a write of guest data that would hit metadata.
// Preconditions: mu is held, shared at least.
func (im *Image) checkData(host, n int64) error {
	if im.g.dataFile {
		return nil // it is in another file
	}
	for c := host >> im.g.clusterBits; c <= (host+n-1)>>im.g.clusterBits; c++ {
		if k := im.meta[c]; k != 0 && k.class()&im.unchecked == 0 {
			return overlaps(k, "a guest cluster is mapped to host offset %#x, which holds %v", c<<im.g.clusterBits, k)
		}
	}
	return nil
}

// checkL2 refuses to change an L2 table that is also something else.
// Preconditions: mu is held.
func (im *Image) checkL2(table, l1i int64) error {
	if k := im.meta[table>>im.g.clusterBits]; k != metaL2 && k.class()&im.unchecked == 0 {
		return overlaps(k, "L2 table %#x (L1 index %d) overlaps %v", table, l1i, k)
	}
	return nil
}

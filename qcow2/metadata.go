package qcow2

import (
	"errors"
	"fmt"
)

// metaKind is what a cluster of metadata holds.
type metaKind uint8

const (
	metaHeader metaKind = iota + 1
	metaL1
	metaL2
	metaRefTable
	metaRefBlock
	metaSnapshots
	metaSnapshotL1
	metaCrypto
	metaBitmapDirectory
)

func (k metaKind) String() string {
	return [...]string{"nothing", "the header", "the active L1 table", "an active L2 table",
		"the refcount table", "a refcount block", "the snapshot table", "a snapshot's L1 table",
		"the encryption header", "the bitmap directory"}[k]
}

// maxSnapshotL1Bytes bounds how much of the snapshots' L1 tables is watched, so
// that an image can't make Open slow by listing many large ones.
const maxSnapshotL1Bytes = 256 << 20

// collectMetadata finds the clusters that guest data must never be written to.
// The L2 tables of snapshots are not among them.
func (im *Image) collectMetadata() map[int64]metaKind {
	m := make(map[int64]metaKind)
	add := func(off, n int64, k metaKind) {
		for c := off >> im.g.clusterBits; n > 0; c++ {
			m[c] = k
			n -= im.g.clusterSize
		}
	}
	if im.hdr.hasBitmaps() {
		if e, err := im.hdr.bitmapExt(); err == nil {
			add(int64(e.off), min(int64(e.size), im.alloc.end-int64(e.off)), metaBitmapDirectory)
		}
	}
	budget := int64(maxSnapshotL1Bytes)
	for _, s := range im.snaps {
		if budget -= s.l1Size * 8; budget >= 0 {
			// Beyond the end of the file there is nothing to protect.
			add(s.l1Offset, min(s.l1Size*8, im.alloc.end-s.l1Offset), metaSnapshotL1)
		}
	}
	add(int64(im.hdr.snapshots), snapshotTableSize(im.snaps), metaSnapshots)
	off, n := im.hdr.cryptoHeader()
	add(off, n, metaCrypto)
	for _, e := range im.l1 {
		if e&entryOffset != 0 {
			add(int64(e&entryOffset), 1, metaL2)
		}
	}
	for _, e := range im.refTable {
		if e&refTableOffset != 0 {
			add(int64(e&refTableOffset), 1, metaRefBlock)
		}
	}
	add(int64(im.hdr.l1Offset), int64(len(im.l1))*8, metaL1)
	add(int64(im.hdr.refTable), int64(len(im.refTable))*8, metaRefTable)
	add(0, 1, metaHeader)
	return m
}

// setMeta records that n clusters at host hold metadata now.
func (im *Image) setMeta(host, n int64, k metaKind) {
	for c := host >> im.g.clusterBits; n > 0; c, n = c+1, n-1 {
		im.meta[c] = k
	}
}

// checkData refuses a write of guest data that would hit metadata.
// Preconditions: mu is held, shared at least.
func (im *Image) checkData(host, n int64) error {
	if im.g.dataFile {
		return nil // it is in another file
	}
	for c := host >> im.g.clusterBits; c <= (host+n-1)>>im.g.clusterBits; c++ {
		if k := im.meta[c]; k != 0 {
			return fmt.Errorf("%w: a guest cluster is mapped to host offset %#x, which holds %v", ErrCorrupt, c<<im.g.clusterBits, k)
		}
	}
	return nil
}

// note looks at the error of a request. When it shows that the image is
// corrupt, writes are refused from then on, also by whoever opens it next.
func (im *Image) note(err error) error {
	if err == nil || im.readOnly || !errors.Is(err, ErrCorrupt) {
		return err
	}
	var below *backingError
	if errors.As(err, &below) || im.corrupt.Swap(true) {
		return err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.g.version >= 3 {
		im.hdr.incompatible |= incompatCorrupt
		if e := im.updateField(hdrIncompat, im.hdr.incompatible); e != nil {
			return errors.Join(err, fmt.Errorf("mark the image corrupt: %w", e))
		}
	}
	return err
}

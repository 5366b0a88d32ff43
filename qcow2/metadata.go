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
	metaBitmap
	metaSnapshotL2
	metaL2Twice
)

func (k metaKind) String() string {
	return [...]string{"nothing", "the header", "the active L1 table", "an active L2 table",
		"the refcount table", "a refcount block", "the snapshot table", "a snapshot's L1 table",
		"the encryption header", "the bitmap directory", "a bitmap",
		"a snapshot's L2 table", "an L2 table that is used twice"}[k]
}

// maxSnapshotL1Bytes bounds how much of the snapshots' L1 tables is watched, so
// that an image can't make Open slow by listing many large ones.
const maxSnapshotL1Bytes = 256 << 20

// maxSnapshotL2Bytes bounds how much of the snapshots' L1 tables is read to find
// their L2 tables, for the same reason. 8 MiB refer to 512 TiB of disks with
// 64 KiB clusters.
const maxSnapshotL2Bytes = 8 << 20

// collectMetadata finds the clusters that guest data must never be written to.
// Tables that can't be read are left out: they are found bad when they are used.
func (im *Image) collectMetadata() map[int64]metaKind {
	m := make(map[int64]metaKind)
	add := func(off, n int64, k metaKind) {
		for c := off >> im.g.clusterBits; n > 0; c++ {
			m[c] = k
			n -= im.g.clusterSize
		}
	}
	im.eachBitmapRun(func(off, n int64, k metaKind) { add(off, n, k) })
	im.eachSnapshotL2(func(table int64) { add(table, 1, metaSnapshotL2) })
	budget := int64(maxSnapshotL1Bytes)
	for _, s := range im.snaps {
		if s.checkL1(im.hdr) != nil {
			continue
		}
		if budget -= s.l1Size * 8; budget >= 0 {
			// Beyond the end of the file there is nothing to protect.
			add(s.l1Offset, min(s.l1Size*8, im.alloc.end-s.l1Offset), metaSnapshotL1)
		}
	}
	add(int64(im.hdr.snapshots), snapshotTableSize(im.snaps), metaSnapshots)
	off, n := im.hdr.cryptoHeader()
	add(off, n, metaCrypto)
	for _, e := range im.l1 {
		switch table := int64(e & entryOffset); {
		case table == 0:
		case m[table>>im.g.clusterBits] == metaL2:
			add(table, 1, metaL2Twice)
		default:
			add(table, 1, metaL2)
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

// eachSnapshotL2 calls visit for the L2 tables of snapshots in the file.
func (im *Image) eachSnapshotL2(visit func(table int64)) {
	budget := int64(maxSnapshotL2Bytes)
	for i := range im.snaps {
		s := &im.snaps[i]
		if s.checkL1(im.hdr) != nil {
			continue
		}
		n := min(s.l1Size*8, max(0, im.alloc.end-s.l1Offset)) / 8
		if budget -= n * 8; budget < 0 {
			return
		}
		l1, err := readTable(im.f, s.l1Offset, n)
		if err != nil {
			continue
		}
		for _, e := range l1 {
			if table := int64(e & entryOffset); table != 0 && table < im.alloc.end {
				visit(table)
			}
		}
	}
}

// eachBitmapRun calls visit for what belongs to bitmaps.
func (im *Image) eachBitmapRun(visit func(off, n int64, k metaKind)) {
	if !im.hdr.hasBitmaps() {
		return
	}
	k := metaBitmapDirectory // comes first
	budget := im.alloc.end   // no cluster belongs to two of them
	_ = walkBitmaps(im.f, im.hdr, func(off, n int64) error {
		if budget -= n; budget < 0 || off > im.alloc.end-n {
			return ErrInvalid
		}
		visit(off, n, k)
		k = metaBitmap
		return nil
	})
}

// setMeta records that n clusters at host hold metadata now.
func (im *Image) setMeta(host, n int64, k metaKind) {
	for c := host >> im.g.clusterBits; n > 0; c, n = c+1, n-1 {
		im.meta[c] = k
	}
}

// note looks at the error of a request. When it shows that the image is
// corrupt, writes are refused from then on, also by whoever opens it next.
func (im *Image) note(err error) error {
	if err == nil || !errors.Is(err, ErrCorrupt) {
		return err
	}
	var below *backingError
	if errors.As(err, &below) || !im.readOnly && im.corrupt.Swap(true) {
		return err
	}
	if im.tell(err); im.readOnly {
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

// tell tells who wants to know that the image is corrupt.
func (im *Image) tell(err error) {
	if im.corruption == nil || im.told.Swap(true) {
		return
	}
	problem := err.Error()
	if e := (*ImageError)(nil); errors.As(err, &e) {
		problem = e.Problem
	}
	im.corruption(problem, !im.readOnly)
}

package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// switchHeader makes the header on disk that of the new state. When it fails
// the old header is written again; until that succeeds, nobody writes.
func (r *rootChange) switchHeader() error {
	im := r.im
	err := im.writeRoot(im.hdr)
	if err == nil {
		return nil
	}
	im.stray = &r.hdr
	im.corrupt.Store(true)
	return errors.Join(err, im.restoreHeader())
}

// restoreHeader writes the old header after a switch of which nobody knows
// whether it reached the disk.
func (im *Image) restoreHeader() error {
	if im.stray == nil {
		return nil
	}
	if err := im.writeRoot(im.stray); err != nil {
		return fmt.Errorf("the image can't be written until its header is restored: %w", err)
	}
	im.stray = nil
	im.corrupt.Store(false)
	return nil
}

// writeRoot writes the fields of the header that a rootChange may change, from
// the disk size to the width of refcounts, and makes them durable. They are all
// in the first sector.
func (im *Image) writeRoot(h *header) error {
	be := binary.BigEndian
	b := be.AppendUint64(nil, h.size)
	b = be.AppendUint32(b, h.cryptMethod)
	b = be.AppendUint32(b, h.l1Size)
	b = be.AppendUint64(b, h.l1Offset)
	b = be.AppendUint64(b, h.refTable)
	b = be.AppendUint32(b, h.refClusters)
	b = be.AppendUint32(b, h.snapshotCount)
	b = be.AppendUint64(b, h.snapshots)
	if h.version >= 3 {
		b = be.AppendUint64(b, h.incompatible)
		b = be.AppendUint64(b, h.compatible)
		b = be.AppendUint64(b, h.autoclear)
		b = be.AppendUint32(b, h.refcountOrder)
	}
	if err := writeFull(im.f, b, hdrSize); err != nil {
		return fmt.Errorf("write the header: %w", err)
	}
	return im.f.Sync()
}

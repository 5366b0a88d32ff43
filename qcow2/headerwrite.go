package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// replaceHeader makes h the header of the image, durably: its fields, its
// extensions and the name of the backing file. Only a sector is sure to be
// written as a whole; so what lies behind the first one changes while a header
// is in place that does not need it. A crash leaves the old header, maybe
// without the table of feature names, or the new one.
//
// A header with so much in it that there is no room for that is written at once.
//
// Preconditions: the image is paused and has nothing to commit.
func (im *Image) replaceHeader(h *header) error {
	if err := im.putHeader(h); err != nil {
		return err
	}
	im.mu.Lock()
	*im.hdr = *h
	im.mu.Unlock()
	return nil
}

// putHeader does on disk what replaceHeader does.
func (im *Image) putHeader(h *header) error {
	b, err := h.marshal()
	if err != nil {
		return err
	}
	old := make([]byte, im.g.clusterSize)
	if err := readFull(im.f, old, 0); err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	next := make([]byte, im.g.clusterSize)
	copy(next, b)
	if err := im.writeHeader(old, next); err != nil {
		return fmt.Errorf("rewrite the header: %w", err)
	}
	return nil
}

// writeHeader replaces the first cluster, old, by next.
func (im *Image) writeHeader(old, next []byte) error {
	if bytes.Equal(old[sectorSize:], next[sectorSize:]) {
		return im.switchSector(next[:sectorSize], old[:sectorSize])
	}
	free := max(usedBytes(old), usedBytes(next), sectorSize)
	bridge, name, ok := im.hdr.bridge(free, len(old))
	if !ok {
		return im.writeThrough(next, 0)
	}
	if name != "" {
		if err := im.writeThrough([]byte(name), int64(free)); err != nil {
			return err
		}
	}
	err := im.cross(bridge, next, free)
	if err != nil {
		// Memory must know what header there is: the old one again.
		if e := im.cross(bridge, old, free); e != nil {
			im.corrupt.Store(true)
			err = errors.Join(err, fmt.Errorf("the image can't be written until it is opened again: %w", e))
		}
	}
	if name != "" && !im.corrupt.Load() {
		// Nothing refers to it any more, whatever comes of this.
		_ = writeFull(im.f, make([]byte, len(name)), int64(free))
	}
	return err
}

// cross replaces the first cluster of the file, up to free, by header, while
// bridge is its first sector.
func (im *Image) cross(bridge, header []byte, free int) error {
	if err := im.writeThrough(bridge, 0); err != nil {
		return err
	}
	if err := im.writeThrough(header[sectorSize:free], sectorSize); err != nil {
		return err
	}
	return im.writeThrough(header[:sectorSize], 0)
}

// bridge returns a first sector that means the same as the header, but for the
// table of feature names, and needs nothing behind it: the name of the backing
// file, if it is not in the sector, stands at offset free of the cluster.
func (h *header) bridge(free, cluster int) (sector []byte, name string, ok bool) {
	b := *h
	b.backingFile = ""
	b.extensions = slices.DeleteFunc(slices.Clone(h.extensions), func(e extension) bool { return e.kind == extFeatureNames })
	bytes, err := b.marshal()
	if err != nil || len(bytes) > sectorSize {
		return nil, "", false
	}
	at := len(bytes)
	switch {
	case h.backingFile == "":
		at = 0
	case at+len(h.backingFile) <= sectorSize:
		bytes = append(bytes, h.backingFile...)
	case free+len(h.backingFile) <= cluster:
		at, name = free, h.backingFile
	default:
		return nil, "", false
	}
	putBackingName(bytes, at, len(h.backingFile))
	return append(bytes, make([]byte, sectorSize-len(bytes))...), name, true
}

// switchSector writes the first sector of the file. When nobody knows whether
// that is done, it goes back to old; if that fails, too, writes are refused.
func (im *Image) switchSector(next, old []byte) error {
	err := im.writeThrough(next, 0)
	if err == nil {
		return nil
	}
	if e := im.writeThrough(old, 0); e != nil {
		im.corrupt.Store(true)
		err = errors.Join(err, fmt.Errorf("the image can't be written until it is opened again: %w", e))
	}
	return err
}

// writeThrough writes p at off, durably.
func (im *Image) writeThrough(p []byte, off int64) error {
	if err := writeFull(im.f, p, off); err != nil {
		return err
	}
	return im.f.Sync()
}

// usedBytes is the length of p without the zeroes at its end.
func usedBytes(p []byte) int { return len(bytes.TrimRight(p, "\x00")) }

package qcow2

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// snapshotTable is what was found in a snapshot table that is to be checked, and
// maybe repaired.
type snapshotTable struct {
	broken error    // it can't be read without losing something; the first reason
	loses  []string // what a repair loses, one line for each
	cut    int64    // records that lose a part in a repair
	over   int64    // records at the end that a repair drops
}

// TooManySnapshots is the problem that a SnapshotTableError has with a header which counts more
// than there may be; those of other problems begin with a capital letter.
const TooManySnapshots = "snapshot table too large"

// readDamaged reads a snapshot table as far as that goes. Places of L1 tables are
// not looked at. Records and what is left out of them count with all their bytes.
func readDamaged(f File, h *header) (list []snapshot, t snapshotTable) {
	lose := func(count *int64, n int64, why error, format string, args ...any) {
		if t.broken == nil {
			t.broken = why
		}
		*count += n
		t.loses = append(t.loses, fmt.Sprintf(format, args...))
	}
	count := h.snapshotCount
	if over := int64(count) - maxSnapshots; over > 0 {
		lose(&t.over, over, &ImageError{
			Kind: ErrInvalid, Problem: TooManySnapshots, Detail: fmt.Sprintf("%d snapshots (at most %d)", count, maxSnapshots),
			Hint: fmt.Sprintf("You can force-remove all %d overhanging snapshots with qemu-img check -r all", over),
		}, "Discarding %d overhanging snapshots", over)
		count = maxSnapshots
	}
	// What counts is how large the table is without what it loses.
	r, size := newTableReader(f, h, math.MaxInt32), int64(0)
	for i := range count {
		s, err := readSnapshot(r, h.size)
		size += (s.record - max(0, s.extra-maxSnapshotExtra) + 7) &^ 7
		if err == nil && size > maxSnapshotBytes {
			err = io.ErrUnexpectedEOF
		}
		if s.extra > maxSnapshotExtra {
			lose(&t.cut, 1, longEntry(&s, i), "Discarding too much extra metadata in snapshot table entry %d (%d > %d)", i, s.extra, maxSnapshotExtra)
		}
		if err != nil {
			lose(&t.over, int64(count-i), unreadEntry(err, h, i), "Discarding %d overhanging snapshots (snapshot table is too big)", count-i)
			return list, t
		}
		list = append(list, s)
	}
	return list, t
}

// incomplete returns the indices of records that do not say how large the disk
// is, which all must from version 3 on.
func (im *Image) incomplete() []int {
	var list []int
	for i := range im.snaps {
		if im.g.version >= 3 && im.snaps[i].extra < snapshotMinExtra {
			list = append(list, i)
		}
	}
	return list
}

// reportSnapshotTable says what is wrong with the records of snapshots.
// Preconditions: the image is paused.
func (im *Image) reportSnapshotTable(o *CheckOptions) {
	if o.Report == nil {
		return
	}
	for _, line := range im.snapTable.loses {
		o.Report(line)
	}
	word := "ERROR"
	if o.Repair == RepairAll {
		word = "Repairing"
	}
	for _, i := range im.incomplete() {
		o.Report(fmt.Sprintf("%s snapshot table entry %d is incomplete", word, i))
	}
}

// dropOverhang makes the header name no more snapshots than can be read. What the others refer
// to are leaks then. Preconditions: the image is paused, and is to be repaired.
func (im *Image) dropOverhang(res *CheckResult) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.snapTable.over == 0 {
		return nil
	}
	if err := im.writeThrough(binary.BigEndian.AppendUint32(nil, uint32(len(im.snaps))), hdrSnapshots); err != nil {
		return fmt.Errorf("repair the snapshot table: %w", err)
	}
	im.hdr.snapshotCount = uint32(len(im.snaps))
	res.CorruptionsFixed += im.snapTable.over
	im.snapTable.over = 0
	if im.snapTable.cut == 0 {
		im.snapTable = snapshotTable{}
	}
	return nil
}

// checkSnapshotTable counts what is wrong with the records of snapshots, and
// makes it good if that is asked for and there is no other error left.
// Preconditions: the image is paused, and was checked with the given result.
func (im *Image) checkSnapshotTable(o *CheckOptions, res *CheckResult) error {
	wrong := int64(len(im.incomplete())) + im.snapTable.cut
	if wrong == 0 {
		return nil
	}
	if o.Repair != RepairAll || im.corrupt.Load() {
		res.Corruptions += wrong
		return nil
	}
	err := im.changeRootPaused(func(r *rootChange) error { return r.setSnapshots(slices.Clone(im.snaps)) })
	if err == nil {
		err = im.drain()
	}
	if err != nil {
		return fmt.Errorf("repair the snapshot table: %w", err)
	}
	im.snapTable = snapshotTable{}
	res.CorruptionsFixed += wrong
	return nil
}

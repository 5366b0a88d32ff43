package qcow2

import (
	"fmt"
	"io"
	"slices"
)

// snapshotTable is what was found in a snapshot table that is to be checked, and
// maybe repaired.
type snapshotTable struct {
	broken error    // it can't be read without losing something
	loses  []string // what a repair loses, one line for each
}

// readDamaged reads a snapshot table as far as that goes. Places of L1 tables are
// not looked at. Records and what is left out of them count with all their bytes.
func readDamaged(f File, h *header) (list []snapshot, t snapshotTable) {
	r := newTableReader(f, h)
	for i := range h.snapshotCount {
		s, err := readSnapshot(r, h.size, true)
		if err != nil {
			t.broken = err
			t.loses = append(t.loses, fmt.Sprintf("Discarding %d overhanging snapshots (snapshot table is too big)", h.snapshotCount-i))
			return list, t
		}
		if s.extra > maxSnapshotExtra {
			t.broken = fmt.Errorf("%w: too much extra metadata in snapshot table entry %d: %d bytes (at most %d)", ErrInvalid, i, s.extra, maxSnapshotExtra)
			t.loses = append(t.loses, fmt.Sprintf("Discarding too much extra metadata in snapshot table entry %d (%d > %d)", i, s.extra, maxSnapshotExtra))
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

// checkSnapshotTable reports what is wrong with the records of snapshots, and
// makes it good if that is asked for and there is no other error left.
// Preconditions: the image is paused, and was checked with the given result.
func (im *Image) checkSnapshotTable(o *CheckOptions, res *CheckResult) error {
	report := func(format string, args ...any) {
		if o.Report != nil {
			o.Report(fmt.Sprintf(format, args...))
		}
	}
	incomplete := im.incomplete()
	wrong := int64(len(incomplete) + len(im.snapTable.loses))
	if wrong == 0 {
		return nil
	}
	fix := o.Repair == RepairAll && !im.corrupt.Load()
	for _, line := range im.snapTable.loses {
		report("%s", line)
	}
	for _, i := range incomplete {
		if fix {
			report("Repairing snapshot table entry %d is incomplete", i)
		} else {
			report("ERROR snapshot table entry %d is incomplete", i)
		}
	}
	if !fix {
		res.Corruptions += wrong
		return nil
	}
	im.mu.Lock()
	im.hdr.snapshotCount = uint32(len(im.snaps)) // what is beyond them is not read
	im.mu.Unlock()
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

// skip reads n bytes and drops them.
func skip(r io.Reader, n int64) error {
	if n <= 0 {
		return nil // io.CopyN would take a buffer for it
	}
	_, err := io.CopyN(io.Discard, r, n)
	return err
}

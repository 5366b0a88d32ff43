package qcow2

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// snapshot is what a reader and writer of the active disk needs to know of an
// internal snapshot: where its L1 table is.
type snapshot struct {
	l1Offset int64
	l1Size   int64 // entries
	id, name string
	record   int64 // bytes of its record in the snapshot table
}

const (
	snapshotMinSize  = 40   // of a record in the table
	maxSnapshotExtra = 1024 // bytes
)

// readSnapshots reads the snapshot table. A snapshot whose L1 table can't be
// where the record says is refused here, so that nobody trusts it later.
func readSnapshots(f File, h *header) ([]snapshot, error) {
	if h.snapshotCount == 0 {
		return nil, nil
	}
	r := bufio.NewReaderSize(io.LimitReader(&fileReader{f, int64(h.snapshots)}, maxSnapshotBytes), 16<<10)
	var list []snapshot
	for i := range h.snapshotCount {
		s, err := readSnapshot(r)
		if err == nil {
			what := fmt.Sprintf("L1 table of snapshot %q (%q)", s.id, s.name)
			err = h.checkTable(what, uint64(s.l1Offset), uint64(s.l1Size)*8, maxL1Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot table entry %d: %w", i, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func readSnapshot(r io.Reader) (snapshot, error) {
	var fixed [snapshotMinSize]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return snapshot{}, tableTooBig(err)
	}
	be := binary.BigEndian
	s := snapshot{l1Offset: int64(be.Uint64(fixed[0:])), l1Size: int64(be.Uint32(fixed[8:]))}
	idLen, nameLen := int64(be.Uint16(fixed[12:])), int64(be.Uint16(fixed[14:]))
	extra := int64(be.Uint32(fixed[36:]))
	if extra > maxSnapshotExtra {
		return s, fmt.Errorf("%w: too much extra metadata: %d bytes (at most %d)", ErrInvalid, extra, maxSnapshotExtra)
	}
	used := snapshotMinSize + extra + idLen + nameLen
	s.record = (used + 7) &^ 7
	rest := make([]byte, s.record-snapshotMinSize)
	if _, err := io.ReadFull(r, rest); err != nil {
		return s, tableTooBig(err)
	}
	s.id = string(rest[extra : extra+idLen])
	s.name = string(rest[extra+idLen : extra+idLen+nameLen])
	return s, nil
}

func tableTooBig(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: snapshot table is too big (at most %d bytes)", ErrInvalid, maxSnapshotBytes)
	}
	return err
}

// snapshotTableSize is the length of the snapshot table in bytes.
func snapshotTableSize(list []snapshot) int64 {
	var n int64
	for _, s := range list {
		n += s.record
	}
	return n
}

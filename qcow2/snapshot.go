package qcow2

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// snapshot is a record of the snapshot table.
type snapshot struct {
	l1Offset  int64
	l1Size    int64 // entries
	id, name  string
	dateSec   uint32 // since 1970
	dateNsec  uint32
	vmClock   uint64 // nanoseconds that the machine had run
	vmState   uint64 // bytes of machine state behind the disk
	diskSize  uint64 // bytes
	icount    uint64 // instructions that the machine had executed; noIcount: unknown
	laterData []byte // extra data of later versions of the format
	record    int64  // bytes of the record in the table on disk
	extra     int64  // bytes of its extra data there
}

const (
	snapshotMinSize  = 40             // of a record in the table
	snapshotMinExtra = 16             // bytes of extra data that version 3 asks for
	snapshotExtra    = 24             // bytes of extra data that have a meaning here
	maxSnapshotExtra = 1024           // bytes
	noIcount         = math.MaxUint64 // no instruction count was recorded
)

// readSnapshots reads the snapshot table. Where a record says that an L1 table is, it need
// not be: see snapshotL1.
func readSnapshots(f File, h *header) ([]snapshot, error) {
	if h.snapshotCount == 0 {
		return nil, nil
	}
	r := newTableReader(f, h, maxSnapshotBytes)
	var list []snapshot
	for i := range h.snapshotCount {
		s, err := readSnapshot(r, h.size)
		if s.extra > maxSnapshotExtra { // whether it could be read or not
			return nil, longEntry(&s, i)
		}
		if err != nil {
			return nil, unreadEntry(err, h, i)
		}
		list = append(list, s)
	}
	return list, nil
}

// checkL1 refuses an L1 table that can't be where the record of the snapshot says. The disk
// and other snapshots can be used whatever one record says.
func (s *snapshot) checkL1(h *header) error {
	return h.checkTable("Snapshot L1 table", uint64(s.l1Offset), uint64(s.l1Size)*8, maxL1Bytes)
}

// snapshotL1 reads the L1 table of a snapshot.
func (im *Image) snapshotL1(s *snapshot) ([]uint64, error) {
	if err := s.checkL1(im.hdr); err != nil {
		return nil, err
	}
	l1, err := readTable(im.f, s.l1Offset, s.l1Size)
	if err != nil {
		return nil, fmt.Errorf("read L1 table of snapshot %q: %w", s.name, err)
	}
	return l1, nil
}

// tableReader reads a snapshot table in order, up to a bound.
type tableReader struct {
	src  *fileReader
	buf  *bufio.Reader // of src
	left int64         // bytes
}

func newTableReader(f File, h *header, most int64) *tableReader {
	src := &fileReader{f, int64(h.snapshots)}
	return &tableReader{src, bufio.NewReaderSize(src, 16<<10), most}
}

func (r *tableReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n, err := r.buf.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
}

// skip leaves n bytes out.
func (r *tableReader) skip(n int64) error {
	if n > r.left {
		r.left = 0
		return io.ErrUnexpectedEOF
	}
	r.left -= n
	ready := min(n, int64(r.buf.Buffered()))
	r.src.off += n - ready // none, unless the buffer is empty then
	_, err := r.buf.Discard(int(ready))
	return err
}

// skip reads n bytes and drops them.
func skip(r io.Reader, n int64) error {
	switch t, ok := r.(*tableReader); {
	case n <= 0:
		return nil // io.CopyN would take a buffer for it
	case ok:
		return t.skip(n)
	}
	_, err := io.CopyN(io.Discard, r, n)
	return err
}

// readSnapshot decodes the next record. Disk size is that of a snapshot which
// does not tell. Of extra data no more is kept than there may be. An error that wraps io.EOF
// or io.ErrUnexpectedEOF means that the table is too big.
func readSnapshot(r io.Reader, diskSize uint64) (snapshot, error) {
	var fixed [snapshotMinSize]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return snapshot{}, err
	}
	be := binary.BigEndian
	s := snapshot{
		l1Offset: int64(be.Uint64(fixed[0:])),
		l1Size:   int64(be.Uint32(fixed[8:])),
		dateSec:  be.Uint32(fixed[16:]),
		dateNsec: be.Uint32(fixed[20:]),
		vmClock:  be.Uint64(fixed[24:]),
		vmState:  uint64(be.Uint32(fixed[32:])),
		diskSize: diskSize,
		icount:   noIcount,
	}
	idLen, nameLen := int64(be.Uint16(fixed[12:])), int64(be.Uint16(fixed[14:]))
	extra := int64(be.Uint32(fixed[36:]))
	s.extra = extra
	used := snapshotMinSize + extra + idLen + nameLen
	s.record = (used + 7) &^ 7
	kept := make([]byte, min(extra, maxSnapshotExtra))
	if _, err := io.ReadFull(r, kept); err != nil {
		return s, err
	}
	s.parseExtra(kept)
	if err := skip(r, extra-int64(len(kept))); err != nil {
		return s, err
	}
	rest := make([]byte, s.record-snapshotMinSize-extra)
	if _, err := io.ReadFull(r, rest); err != nil {
		return s, err
	}
	s.id = string(rest[:idLen])
	s.name = string(rest[idLen : idLen+nameLen])
	return s, nil
}

// parseExtra decodes the extra data, as much of it as there is.
func (s *snapshot) parseExtra(b []byte) {
	be := binary.BigEndian
	if len(b) >= 8 {
		s.vmState = be.Uint64(b)
	}
	if len(b) >= 16 {
		s.diskSize = be.Uint64(b[8:])
	}
	if len(b) >= snapshotExtra {
		s.icount = be.Uint64(b[16:])
		s.laterData = b[snapshotExtra:]
	}
}

// marshal appends the record to b, every field that was read in it.
func (s *snapshot) marshal(b []byte) []byte {
	be := binary.BigEndian
	start := len(b)
	b = be.AppendUint64(b, uint64(s.l1Offset))
	b = be.AppendUint32(b, uint32(s.l1Size))
	b = be.AppendUint16(b, uint16(len(s.id)))
	b = be.AppendUint16(b, uint16(len(s.name)))
	b = be.AppendUint32(b, s.dateSec)
	b = be.AppendUint32(b, s.dateNsec)
	b = be.AppendUint64(b, s.vmClock)
	short := uint32(s.vmState)
	if s.vmState > math.MaxUint32 {
		short = 0
	}
	b = be.AppendUint32(b, short)
	b = be.AppendUint32(b, uint32(snapshotExtra+len(s.laterData)))
	b = be.AppendUint64(b, s.vmState)
	b = be.AppendUint64(b, s.diskSize)
	b = be.AppendUint64(b, s.icount)
	b = append(b, s.laterData...)
	b = append(b, s.id...)
	b = append(b, s.name...)
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// marshalSnapshots encodes a snapshot table and notes the size of each record.
func marshalSnapshots(list []snapshot) ([]byte, error) {
	if len(list) > maxSnapshots {
		return nil, fmt.Errorf("%w: %d snapshots (at most %d)", ErrTooLarge, len(list), maxSnapshots)
	}
	var b []byte
	for i := range list {
		start := len(b)
		b = list[i].marshal(b)
		list[i].record = int64(len(b) - start)
		list[i].extra = snapshotExtra + int64(len(list[i].laterData))
	}
	if len(b) > maxSnapshotBytes {
		return nil, fmt.Errorf("%w: snapshot table of %d bytes (at most %d)", ErrTooLarge, len(b), maxSnapshotBytes)
	}
	return b, nil
}

// unreadEntry is the error of reading entry i of the snapshot table: err, or that the table has
// more bytes than it may.
func unreadEntry(err error, h *header, i uint32) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("snapshot table entry %d: %w", i, err)
	}
	return &ImageError{
		Kind: ErrInvalid, Problem: "Snapshot table is too big", Detail: fmt.Sprintf("entry %d ends behind byte %d", i, maxSnapshotBytes),
		Hint: fmt.Sprintf("You can force-remove all %d overhanging snapshots with qemu-img check -r all", h.snapshotCount-i),
	}
}

// longEntry says that entry i of the snapshot table has too much extra data.
func longEntry(s *snapshot, i uint32) error {
	return &ImageError{
		Kind: ErrInvalid, Problem: fmt.Sprintf("Too much extra metadata in snapshot table entry %d", i),
		Detail: fmt.Sprintf("%d bytes (at most %d)", s.extra, maxSnapshotExtra),
		Hint:   "You can force-remove this extra metadata with qemu-img check -r all",
	}
}

// snapshotTableSize is the length of the snapshot table in bytes.
func snapshotTableSize(list []snapshot) int64 {
	var n int64
	for _, s := range list {
		n += s.record
	}
	return n
}

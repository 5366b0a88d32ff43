package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/govmm/govmm/qcow2/luks"
)

// explainSnapshots tells the snapshot table.
func (e *explainer) explainSnapshots() {
	if e.h.snapshotCount == 0 {
		return
	}
	e.begin("snapshot table")
	if p := e.place(e.h.snapshots, snapshotMinSize); p != "" {
		e.complain("", "at %#x: %s", e.h.snapshots, p)
	}
	err := e.walkSnapshots(func(i int64, at int64, b []byte, s *snapshot) bool {
		if i == fewRecords && !e.o.All {
			e.say("...", "%d more snapshots", int64(e.h.snapshotCount)-i)
			return false
		}
		e.begin("snapshot %d", i)
		e.explainSnapshot(fields{e, b, at}, s)
		if uint64(s.l1Offset) <= maxHostOffset {
			e.showL1(uint64(s.l1Offset), e.l1Entries(uint64(s.l1Size)), e.o.All)
		}
		return e.err == nil
	})
	if err != nil {
		e.begin("snapshot table")
		e.complain("", "%v", err)
	}
}

// walkSnapshots calls visit with each record of the snapshot table, its bytes as
// far as they have a meaning, and what they say. It ends where the table can't go
// on.
func (e *explainer) walkSnapshots(visit func(i, at int64, b []byte, s *snapshot) bool) error {
	at := int64(e.h.snapshots)
	if e.h.snapshots > maxHostOffset {
		return nil
	}
	start := at
	for i := range min(int64(e.h.snapshotCount), maxSnapshots) {
		var fixed [snapshotMinSize]byte
		if at >= e.size || at-start > maxSnapshotBytes {
			return fmt.Errorf("record %d would lie at %#x: beyond the end of the file, or of what a table may have", i, at)
		}
		if err := e.load(fixed[:], at); err != nil {
			return fmt.Errorf("can't read record %d at %#x: %w", i, at, err)
		}
		be := binary.BigEndian
		strs := int(be.Uint16(fixed[12:])) + int(be.Uint16(fixed[14:]))
		extra := int64(be.Uint32(fixed[36:]))
		b := make([]byte, snapshotMinSize+min(extra, maxSnapshotExtra)+int64(strs))
		copy(b, fixed[:])
		head := b[snapshotMinSize : snapshotMinSize+min(extra, maxSnapshotExtra)]
		tail := b[len(b)-strs:]
		err := e.load(head, at+snapshotMinSize)
		if err == nil {
			err = e.load(tail, at+snapshotMinSize+extra)
		}
		var s snapshot
		if err == nil {
			whole := append(append([]byte(nil), b...), make([]byte, 8)...)
			be.PutUint32(whole[36:], uint32(len(head)))
			s, err = readSnapshot(bytes.NewReader(whole), e.h.size)
		}
		if err != nil {
			return fmt.Errorf("can't read record %d at %#x: %w", i, at, err)
		}
		s.extra = extra
		if !visit(i, at, b, &s) {
			return nil
		}
		at += (snapshotMinSize + extra + int64(strs) + 7) &^ 7
	}
	return nil
}

// explainSnapshot tells the fields of a record.
func (e *explainer) explainSnapshot(f fields, s *snapshot) {
	be := binary.BigEndian
	l1 := be.Uint64(f.b)
	f.add(0, 8, "l1_table_offset", fmt.Sprintf("%#x", l1), e.place(l1, uint64(s.l1Size)*8))
	f.add(8, 4, "l1_size", plural(s.l1Size, "entry"), when(s.l1Size > maxL1Bytes/8, "at most %d", maxL1Bytes/8))
	f.add(12, 2, "id_str_size", plural(int64(len(s.id)), "byte"), "")
	f.add(14, 2, "name_size", plural(int64(len(s.name)), "byte"), "")
	date := time.Unix(int64(s.dateSec), int64(s.dateNsec)).UTC().Format("2006-01-02 15:04:05.000 UTC")
	f.add(16, 4, "date_sec", date, "")
	f.add(20, 4, "date_nsec", fmt.Sprint(s.dateNsec), when(s.dateNsec >= 1e9, "more than a second"))
	f.add(24, 8, "vm_clock_nsec", fmt.Sprintf("%d.%09d s", s.vmClock/1e9, s.vmClock%1e9), "")
	f.add(32, 4, "vm_state_size", plural(int64(be.Uint32(f.b[32:])), "byte"), "")
	f.add(36, 4, "extra_data_size", plural(s.extra, "byte"), when(s.extra > maxSnapshotExtra, "at most %d", maxSnapshotExtra))
	if e.h.version >= 3 && s.extra < snapshotMinExtra {
		e.complain("", "version 3 asks for %d bytes of extra data", snapshotMinExtra)
	}
	kept := min(s.extra, maxSnapshotExtra)
	at := snapshotMinSize
	for i, x := range []struct {
		name string
		text func() string
	}{
		{"vm_state_size_large", func() string { return fmt.Sprintf("%d bytes", s.vmState) }},
		{"disk_size", func() string { return fmt.Sprintf("%d bytes", s.diskSize) }},
		{"icount", func() string {
			if s.icount == noIcount {
				return "not known"
			}
			return fmt.Sprint(s.icount)
		}},
	} {
		if kept >= int64(i+1)*8 {
			f.add(at, 8, x.name, x.text(), "")
			at += 8
		}
	}
	if left := snapshotMinSize + int(kept) - at; left > 0 {
		f.add(at, left, "extra data", "of later versions", "")
	}
	at = len(f.b) - len(s.id) - len(s.name)
	strs := fields{f.e, f.b[at:], f.base + snapshotMinSize + s.extra}
	strs.add(0, len(s.id), "id", fmt.Sprintf("%.1024q", s.id), "")
	strs.add(len(s.id), len(s.name), "name", fmt.Sprintf("%.1024q", s.name), "")
}

// bitmapPlace is where the directory of bitmaps is, not ok if it can't be looked
// at.
func (e *explainer) bitmapPlace() (off, n int64, count uint32, ok bool) {
	b := e.extensionData(extBitmaps)
	if len(b) != bitmapExtSize {
		return 0, 0, 0, false
	}
	be := binary.BigEndian
	size, at := be.Uint64(b[8:]), be.Uint64(b[16:])
	if size > maxBitmapDirectory || at > maxHostOffset {
		return 0, 0, 0, false
	}
	return int64(at), int64(size), be.Uint32(b), true
}

// walkBitmapEntries calls visit with each entry of the directory of bitmaps, and
// what is wrong with it.
func (e *explainer) walkBitmapEntries(visit func(i uint32, at int64, b []byte, entry *bitmapEntry, err error) bool) error {
	off, n, count, ok := e.bitmapPlace()
	if !ok || off >= e.size {
		return nil
	}
	dir := make([]byte, min(n, e.size-off))
	if err := e.load(dir, off); err != nil {
		return fmt.Errorf("can't read the directory at %#x: %w", off, err)
	}
	for i := range min(count, maxBitmaps) {
		entry, length, err := parseBitmapEntry(dir)
		if length <= 0 || length > len(dir) {
			return fmt.Errorf("entry %d of %d, at %#x: %w", i, count, off, err)
		}
		if !visit(i, off, dir[:length], &entry, err) {
			return nil
		}
		dir, off = dir[length:], off+int64(length)
	}
	return nil
}

// explainBitmaps tells the directory of bitmaps and their tables.
func (e *explainer) explainBitmaps() {
	if e.extensionData(extBitmaps) == nil {
		return
	}
	e.begin("bitmap directory")
	off, n, _, ok := e.bitmapPlace()
	if !ok {
		e.complain("", "the header extension does not say where it is")
		return
	}
	if p := e.place(uint64(off), uint64(n)); p != "" {
		e.complain("", "at %#x: %s", off, p)
	}
	err := e.walkBitmapEntries(func(i uint32, at int64, b []byte, entry *bitmapEntry, err error) bool {
		if i == fewRecords && !e.o.All {
			e.say("...", "more bitmaps")
			return false
		}
		e.begin("bitmap %d", i)
		f := fields{e, b, at}
		f.add(0, 8, "bitmap_table_offset", fmt.Sprintf("%#x", entry.table), e.place(entry.table, uint64(entry.entries)*8))
		f.add(8, 4, "bitmap_table_size", plural(int64(entry.entries), "entry"), "")
		f.add(12, 4, "flags", bitmapFlagNames(entry.flags), when(entry.flags&^bitmapFlags != 0, "unknown: %#x", entry.flags&^bitmapFlags))
		f.add(16, 1, "type", fmt.Sprint(b[16]), when(b[16] != bitmapDirtyTracking, "1, dirty tracking, is known"))
		f.add(17, 1, "granularity_bits", fmt.Sprintf("a bit for 2^%d bytes", entry.granularity),
			when(entry.granularity < minGranularityBits || entry.granularity > maxGranularityBits, "%d to %d are allowed", minGranularityBits, maxGranularityBits))
		f.add(18, 2, "name_size", plural(int64(len(entry.name)), "byte"), when(len(entry.name) == 0 || len(entry.name) > maxBitmapName, "1 to %d are allowed", maxBitmapName))
		f.add(20, 4, "extra_data_size", plural(int64(len(entry.extra)), "byte"), "")
		if len(entry.extra) > 0 {
			f.add(bitmapEntryMinSize, len(entry.extra), "extra data", "", "")
		}
		f.add(bitmapEntryMinSize+len(entry.extra), len(entry.name), "name", fmt.Sprintf("%.1024q", entry.name), "")
		if err != nil {
			e.complain("", "%v", err)
		}
		e.showBitmapTable(entry)
		return e.err == nil
	})
	if err != nil {
		e.begin("bitmap directory")
		e.complain("", "%v", err)
	}
}

func bitmapFlagNames(flags uint32) string {
	var list []string
	for i, name := range []string{"in_use (stale: its writer did not store it)", "auto (enabled)", "extra_data_compatible"} {
		if flags>>i&1 != 0 {
			list = append(list, name)
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

// bitmapTableEntries is the number of entries of a bitmap's table that may be looked at.
func (e *explainer) bitmapTableEntries(entry *bitmapEntry) int64 {
	return min(int64(entry.entries), maxBitmapBytes>>e.g.clusterBits)
}

func (e *explainer) showBitmapTable(entry *bitmapEntry) {
	if entry.table > maxHostOffset {
		return
	}
	e.showRuns(int64(entry.table), e.bitmapTableEntries(entry), 3, entryOffset, e.o.All, func(r *run) (string, string) {
		off := r.entry.word & entryOffset
		p := when(r.entry.word&bitmapReserved != 0, "reserved bits are set: %#x", r.entry.word&bitmapReserved)
		switch {
		case off != 0:
			if p == "" {
				p = when(r.entry.word&bitmapOnes != 0, "\"all ones\" in an entry with a cluster")
			}
			if p == "" {
				p = e.place(off+uint64((r.n-1)*e.g.clusterSize), uint64(e.g.clusterSize))
			}
			return "bits at host " + hexSpan(int64(off), r.n*e.g.clusterSize), p
		case r.entry.word&bitmapOnes != 0:
			return "all ones", p
		}
		return "all zeroes", p
	})
}

// luksPlace is where the LUKS header is, not ok if it can't be looked at.
func (e *explainer) luksPlace() (off, n int64, ok bool) {
	b := e.extensionData(extCrypto)
	if len(b) != cryptoExtSize {
		return 0, 0, false
	}
	at, size := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return int64(at), int64(min(size, maxCryptoHeader)), at <= maxHostOffset
}

// Layout of a LUKS1 header, in bytes.
const (
	luksHeaderSize = 592
	luksFirstSlot  = 208
	luksSlotSize   = 48
)

// explainLUKS tells the LUKS header.
func (e *explainer) explainLUKS() {
	off, _, ok := e.luksPlace()
	if !ok {
		return
	}
	e.begin("LUKS header")
	b := make([]byte, luksHeaderSize)
	if err := e.load(b, off); err != nil {
		e.complain("", "can't read it at %#x: %v", off, err)
		return
	}
	if _, err := luks.ReadHeader(bytes.NewReader(b)); err != nil {
		e.complain("", "%v", err)
	}
	be, f := binary.BigEndian, fields{e, b, off}
	str := func(at, n int, name string) {
		text, _, _ := strings.Cut(string(b[at:at+n]), "\x00")
		f.add(at, n, name, fmt.Sprintf("%q", text), "")
	}
	number := func(at int, name, what string) { f.add(at, 4, name, plural(int64(be.Uint32(b[at:])), what), "") }
	str(0, 6, "magic")
	f.add(6, 2, "version", fmt.Sprint(be.Uint16(b[6:])), "")
	str(8, 32, "cipher-name")
	str(40, 32, "cipher-mode")
	str(72, 32, "hash-spec")
	f.add(104, 4, "payload-offset", plural(int64(be.Uint32(b[104:])), "sector")+"; without a meaning in qcow2", "")
	number(108, "key-bytes", "byte")
	f.add(112, 20, "mk-digest", "digest of the master key", "")
	f.add(132, 32, "mk-digest-salt", "", "")
	number(164, "mk-digest-iter", "iteration")
	str(168, 40, "uuid")
	for i := range luks.Slots {
		at := luksFirstSlot + i*luksSlotSize
		name := func(s string) string { return fmt.Sprintf("slot %d %s", i, s) }
		state := map[uint32]string{0x00ac71f3: "in use", 0x0000dead: "free"}[be.Uint32(b[at:])]
		f.add(at, 4, name("active"), state, when(state == "", "neither in use nor free"))
		number(at+4, name("iterations"), "iteration")
		f.add(at+8, 32, name("salt"), "", "")
		material := int64(be.Uint32(b[at+40:])) * luks.SectorSize
		f.add(at+40, 4, name("material"), fmt.Sprintf("key material at %#x of the area, host %#x", material, off+material), "")
		number(at+44, name("stripes"), "stripe")
	}
}

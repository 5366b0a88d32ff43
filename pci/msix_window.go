package pci

import "encoding/binary"

// span is a range of offsets.
type span struct{ start, size uint64 }

func (s span) within(size uint64) bool { return s.start <= size && s.size <= size-s.start }
func (s span) overlaps(t span) bool {
	return s.start < t.start+t.size && t.start < s.start+s.size
}

// contains reports whether t lies wholly inside s.
func (s span) contains(t span) bool {
	return s.start <= t.start && t.start+t.size <= s.start+s.size
}

// msixWindow is the Region of a BAR that holds an MSI-X table and its pending
// bits: it answers for those, and leaves the rest to the device. Registers of
// the table can be accessed in any width, though PCI promises a guest only dwords
// and qwords. An access that straddles an edge reads as ones and is ignored when
// written.
type msixWindow struct {
	f          *Function
	msix       *msix
	table, pba span
	under      Region
}

// Read implements Region.
func (w *msixWindow) Read(off uint64, p []byte) {
	access := span{off, uint64(len(p))}
	switch {
	case w.table.contains(access):
		w.eachEntry(off-w.table.start, p, func(n, at int, part []byte) {
			entry := w.msix.entry(n)
			copy(part, entry[at:])
		})
	case w.pba.contains(access):
		w.readPending(off-w.pba.start, p)
	case w.table.overlaps(access) || w.pba.overlaps(access):
		ones(p)
	default:
		w.under.Read(off, p)
	}
}

// Write implements Region.
func (w *msixWindow) Write(off uint64, p []byte) {
	access := span{off, uint64(len(p))}
	switch {
	case w.table.contains(access):
		w.eachEntry(off-w.table.start, p, func(n, at int, part []byte) {
			w.msix.setEntry(w.f, n, at, part)
		})
	case w.table.overlaps(access) || w.pba.overlaps(access):
		// The pending bits are read-only.
	default:
		w.under.Write(off, p)
	}
}

// eachEntry cuts an access to the table at off into accesses to entries: part
// begins at byte at of entry n.
func (w *msixWindow) eachEntry(off uint64, p []byte, visit func(n, at int, part []byte)) {
	for len(p) > 0 {
		at := int(off % msixEntrySize)
		length := min(len(p), msixEntrySize-at)
		visit(int(off/msixEntrySize), at, p[:length])
		off, p = off+uint64(length), p[length:]
	}
}

func (w *msixWindow) readPending(off uint64, p []byte) {
	for i := range p {
		at := off + uint64(i)
		p[i] = byte(w.msix.pending[at/8].Load() >> (8 * (at % 8)))
	}
}

// entry is entry n of the table as the guest sees it.
func (m *msix) entry(n int) [msixEntrySize]byte {
	v := &m.vectors[n]
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.encode()
}

// setEntry writes part at byte at of entry n, and sends its message if that was
// pending and is not masked any more.
func (m *msix) setEntry(f *Function, n, at int, part []byte) {
	v := &m.vectors[n]
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.encode()
	copy(e[at:], part)
	v.addr = binary.LittleEndian.Uint64(e[0:]) &^ 3
	v.data = binary.LittleEndian.Uint32(e[8:])
	v.masked = binary.LittleEndian.Uint32(e[12:])&msixVectorMask != 0
	m.release(f, n)
}

// Preconditions: v.mu is held.
func (v *vector) encode() (e [msixEntrySize]byte) {
	binary.LittleEndian.PutUint64(e[0:], v.addr)
	binary.LittleEndian.PutUint32(e[8:], v.data)
	if v.masked {
		e[12] = msixVectorMask
	}
	return e
}

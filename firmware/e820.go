package firmware

import "encoding/binary"

// BIOSMap is the memory map for a BIOS: all RAM, out of which the BIOS takes what
// it needs and what it knows to be no RAM, and what is not RAM for a reason that
// a BIOS can't know.
func (l Layout) BIOSMap() []E820Entry {
	entries := []E820Entry{
		{l.LowRAM(), E820RAM},
		{Range{IdentityMapBase, hypervisorPages * pageSize}, E820Reserved},
	}
	if high := l.HighRAM(); high.Size > 0 {
		entries = append(entries, E820Entry{high, E820RAM})
	}
	return entries
}

// EncodeE820 writes a memory map as BIOS calls and the zero page have it: {u64
// base, u64 size, u32 type} for each entry, little-endian.
func EncodeE820(entries []E820Entry) []byte {
	var p []byte
	for _, e := range entries {
		p = binary.LittleEndian.AppendUint64(p, e.Base)
		p = binary.LittleEndian.AppendUint64(p, e.Size)
		p = binary.LittleEndian.AppendUint32(p, uint32(e.Type))
	}
	return p
}

package bios

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// checkSMBIOS holds that an operating system finds the entry point in the BIOS
// segment, and behind it structures of ours and the BIOS's own.
func checkSMBIOS(t *testing.T, m *machine) {
	t.Helper()
	const segment, size, align, entrySize = 0xF0000, 0x10000, 16, 24
	a := tables{t, m}
	bios := a.read(segment, size)
	for at := 0; at <= size-entrySize; at += align {
		e := bios[at:][:entrySize]
		if !bytes.HasPrefix(e, []byte("_SM3_")) || sum(e) != 0 {
			continue
		}
		p := a.read(binary.LittleEndian.Uint64(e[16:]), int(binary.LittleEndian.Uint32(e[12:])))
		for _, want := range []string{"SeaBIOS", "GOVMM PC", "DIMM 0"} {
			if !bytes.Contains(p, []byte(want)) {
				t.Errorf("no %q in the SMBIOS structures %q", want, p)
			}
		}
		return
	}
	t.Error("no SMBIOS entry point in the BIOS segment")
}

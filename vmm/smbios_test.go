package vmm

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/internal/payload"
)

// A kernel that is started without a BIOS finds the machine's SMBIOS tables where
// a BIOS would have them.
func TestKernelFindsSMBIOS(t *testing.T) {
	p := payload.New()
	p.PowerOff()
	m := newMachine(t, p, Config{CPUs: 2, UUID: UUID{1, 2, 3, 4, 5, 6, 7, 8, 9}})
	runTo(t, m, PowerOff)
	entry := make([]byte, 24)
	if err := m.DMA().ReadAt(entry, 0xF0000); err != nil {
		t.Fatal(err)
	}
	var sum byte
	for _, b := range entry {
		sum += b
	}
	if !bytes.HasPrefix(entry, []byte("_SM3_")) || sum != 0 {
		t.Fatalf("entry point % x", entry)
	}
	structures := make([]byte, binary.LittleEndian.Uint32(entry[12:]))
	if err := m.DMA().ReadAt(structures, binary.LittleEndian.Uint64(entry[16:])); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GOVMM PC", "CPU 0", "DIMM 0", "\x04\x03\x02\x01\x06\x05\x08\x07\x09"} {
		if !bytes.Contains(structures, []byte(want)) {
			t.Errorf("no %q in %q", want, structures)
		}
	}
}

package pci_test

import (
	"testing"

	"github.com/govmm/govmm/pci"
)

func TestChipsetHeaders(t *testing.T) {
	m := newMachine()
	functions := []struct {
		slot, fn int
		f        *pci.Function
		want     map[int]uint32 // dwords at reset
	}{
		{0, 0, pci.NewHostBridge(nil), map[int]uint32{
			0x00: 0x12378086, 0x04: 0, 0x08: 0x06000002, 0x2C: 0x11001AF4, 0x3C: 0, 0x58: 0, 0x70: 0x00020000,
		}},
		{1, 0, pci.NewPIIX3(nil), map[int]uint32{
			0x00: 0x70008086, 0x04: 0x02000000, 0x08: 0x06010000, 0x0C: 0x00800000, 0x2C: 0x11001AF4,
			0x4C: 0x0003004D, 0x60: 0x80808080, 0x68: 0x00000200, 0x70: 0x00000080, 0x74: 0x0C0C0000,
			0x78: 0x02, 0xA0: 0x08, 0xA8: 0x0F,
		}},
		{1, 3, pci.NewPIIX4PM(nil), map[int]uint32{
			0x00: 0x71138086, 0x04: 0x02800000, 0x08: 0x06800003, 0x2C: 0x11001AF4, 0x3C: 0x0100,
			0x40: 1, 0x58: 0x02000000, 0x5C: 0x10000000, 0x60: 0x60000000, 0x64: 0x08000000, 0x80: 0, 0x90: 1,
		}},
	}
	for _, tt := range functions {
		if err := m.bus.Attach(tt.slot, tt.fn, tt.f); err != nil {
			t.Fatal(err)
		}
		d := device{m, tt.slot, tt.fn}
		for reg, want := range tt.want {
			if got := d.read(reg, 4); got != want {
				t.Errorf("%s: dword at %#x is %#08x, want %#08x", tt.f.Name(), reg, got, want)
			}
		}
	}
}

func TestPIRQRoutes(t *testing.T) {
	m := newMachine()
	var routes [4]pci.PIRQRoute
	calls := 0
	d := attach(t, m, 1, pci.NewPIIX3(func(r [4]pci.PIRQRoute) { routes, calls = r, calls+1 }))
	for i, v := range []uint32{0x0A, 0x0A, 0x0B, 0xFB} { // as firmware writes them: bytes
		d.write(0x60+i, 1, v)
	}
	if want := [4]pci.PIRQRoute{0x0A, 0x0A, 0x0B, 0x8B}; routes != want {
		t.Errorf("routes %x, want %x", routes, want)
	}
	if irq, ok := routes[2].IRQ(); irq != 11 || !ok {
		t.Errorf("PIRQC goes to %d, %v", irq, ok)
	}
	if _, ok := routes[3].IRQ(); ok {
		t.Error("PIRQD is routed though it is disabled")
	}
	d.write(0x64, 4, 0)
	if calls != 4 {
		t.Errorf("%d calls for 4 writes", calls)
	}
	m.bus.Reset()
	if routes != [4]pci.PIRQRoute{0x80, 0x80, 0x80, 0x80} {
		t.Errorf("routes after a reset: %x", routes)
	}
}

func TestPMBase(t *testing.T) {
	m := newMachine()
	var base uint16
	var enabled bool
	d := attach(t, m, 1, pci.NewPIIX4PM(func(b uint16, e bool) { base, enabled = b, e }))
	d.write(0x40, 4, 0xFFFF0601)
	d.write(0x80, 1, 1)
	if base != 0x600 || !enabled {
		t.Errorf("power management at %#x, %v", base, enabled)
	}
	if got := d.read(0x40, 4); got != 0x601 {
		t.Errorf("PMBASE reads %#x, want 0x601", got)
	}
	d.write(0x41, 1, 0xB0)
	if base != 0xB000 {
		t.Errorf("power management at %#x after a byte write, want 0xb000", base)
	}
	m.bus.Reset()
	if base != 0 || enabled {
		t.Errorf("power management at %#x, %v after a reset", base, enabled)
	}
}

func TestPAMHook(t *testing.T) {
	m := newMachine()
	f := pci.NewHostBridge(nil)
	var pam0 uint32
	f.OnConfigWrite(func(off int, v uint32) {
		if off == 0x58 {
			pam0 = v >> 8 & 0xFF
		}
	})
	d := attach(t, m, 0, f)
	d.write(0x58, 4, 0x33333000)
	if pam0 != 0x30 || d.read(0x59, 1) != 0x30 || d.read(0x5A, 1) != 0x33 {
		t.Errorf("PAM0 is %#x for the hook, registers 59 and 5A are %#x and %#x",
			pam0, d.read(0x59, 1), d.read(0x5A, 1))
	}
}

// Each nibble of the PAM registers is for 16 KiB, but for the BIOS's 64 KiB. A write to
// any of them, and a reset, tells of all.
func TestPAM(t *testing.T) {
	m := newMachine()
	var pam pci.PAM
	calls := 0
	f := pci.NewHostBridge(func(p pci.PAM) { pam = p; calls++ })
	attach(t, m, 0, f)
	f.WriteConfig(0x58, []byte{0xff, 0x13, 0x21, 0x03})
	f.WriteConfig(0x5f, []byte{0x30})
	if want := (pci.PAM{0x10, 0x21, 0x03, 0, 0, 0, 0x30}); pam != want || calls != 2 {
		t.Errorf("%d calls, the last with % x, want 2 and % x", calls, pam, want)
	}
	for addr, want := range map[uint64][2]bool{
		0xc0000: {true, false}, 0xc3fff: {true, false}, 0xc4000: {false, true}, 0xc8000: {true, true}, 0xcc000: {false, false},
		0xe8000: {false, false}, 0xec000: {true, true}, 0xf0000: {true, false}, 0xfffff: {true, false},
	} {
		if reads, writes := pam.RAM(addr); reads != want[0] || writes != want[1] {
			t.Errorf("%#x: reads from RAM %v, writes to RAM %v, want %v", addr, reads, writes, want)
		}
	}
	f.WriteConfig(0x58, []byte{0})
	if calls != 2 {
		t.Error("called for a register that is not one of them")
	}
	m.bus.Reset()
	if pam != (pci.PAM{}) {
		t.Errorf("% x after a reset", pam)
	}
}

package pci_test

import (
	"testing"

	"github.com/govmm/govmm/pci"
)

// size32 sizes a BAR as Linux does: decoders off, all ones, read, restore.
func size32(d device, reg int, mask uint32) uint32 {
	cmd := d.read(command, 2)
	d.write(command, 2, cmd&^(cmdIO|cmdMemory))
	old := d.read(reg, 4)
	d.write(reg, 4, 0xFFFFFFFF)
	v := d.read(reg, 4)
	d.write(reg, 4, old)
	d.write(command, 2, cmd)
	return -(v & mask)
}

func TestBARSizing(t *testing.T) {
	m := newMachine()
	f := pci.NewFunction(pci.Config{Name: "x"})
	f.AddBAR(0, pci.IO, 256, nil)
	f.AddBAR(1, pci.Mem64|pci.Prefetchable, 1<<33, nil)
	f.AddBAR(3, pci.Mem32, 16, nil)
	f.AddBAR(4, pci.Mem64, 0x4000, nil)
	d := attach(t, m, 3, f)
	d.write(command, 2, cmdIO|cmdMemory)
	tests := []struct {
		reg              int
		kind, size, mask uint32
	}{
		{0x10, 0x1, 256, ^uint32(3)},
		{0x14, 0xC, 0, ^uint32(15)}, // the low half of 8 GiB has no writable bit
		{0x18, 0x0, 2, ^uint32(0)},  // ... and one read-only bit is in the high half
		{0x1C, 0x0, 16, ^uint32(15)},
		{0x20, 0x4, 0x4000, ^uint32(15)},
		{0x24, 0x0, 1, ^uint32(0)},
		{0x30, 0x0, 0, ^uint32(0)}, // no expansion ROM
	}
	for _, tt := range tests {
		if got := d.read(tt.reg, 4); got != tt.kind {
			t.Errorf("BAR at %#x reads %#x at reset, want %#x", tt.reg, got, tt.kind)
		}
		if got := size32(d, tt.reg, tt.mask); got != tt.size {
			t.Errorf("BAR at %#x has size %#x, want %#x", tt.reg, got, tt.size)
		}
	}
}

func TestDecodeFollowsRegisters(t *testing.T) {
	m := newMachine()
	d := attach(t, m, 5, newController())
	decoded := func(want bool, base uint64, what string) {
		t.Helper()
		if _, ok := m.at(&m.memory, base); (m.read32(base) != 0xFFFFFFFF) != want {
			t.Errorf("%s: memory at %#x decoded: %v, want %v", what, base, ok, want)
		}
	}
	d.write(bar1, 4, 0xC0000000)
	decoded(false, 0xC0000000, "memory disabled")
	d.write(command, 2, cmdIO)
	decoded(false, 0xC0000000, "only I/O enabled")
	d.write(command, 2, cmdMemory)
	decoded(true, 0xC0000000, "enabled")
	m.write32(0xC0000010, 0x12345678)

	d.write(bar1, 4, 0xC8000000)
	decoded(false, 0xC0000000, "after the move")
	decoded(true, 0xC8000000, "moved")
	if got := m.read32(0xC8000010); got != 0x12345678 {
		t.Errorf("the device's register reads %#x after the move", got)
	}
	d.write(bar2, 4, 0x10)
	decoded(false, 0xC8000000, "after the move above 4 GiB")
	decoded(true, 0x10_C8000000, "above 4 GiB")

	d.write(pmCap+4, 1, 3)
	decoded(false, 0x10_C8000000, "D3hot")
	d.write(pmCap+4, 1, 1) // D1 does not exist
	if got := d.read(pmCap+4, 1); got != 0x0B {
		t.Errorf("power state register is %#x, want 0xb", got)
	}
	d.write(pmCap+4, 1, 0)
	decoded(true, 0x10_C8000000, "back in D0")
	if got := m.read32(0x10_C8000010); got != 0x12345678 {
		t.Errorf("the device's register reads %#x after D3hot", got)
	}
	d.write(command, 2, 0)
	decoded(false, 0x10_C8000000, "disabled")
}

func TestIODecode(t *testing.T) {
	m := newMachine()
	d := attach(t, m, 5, newController())
	d.write(command, 2, cmdIO)
	for _, tt := range []struct {
		bar  uint32
		want bool
	}{
		{0xC001, true}, {0x0001, false}, {0x1C001, false}, {0xFFFFFFFF, false}, {0x3001, true},
	} {
		d.write(bar0, 4, tt.bar)
		r, _ := m.at(&m.io, uint64(tt.bar&^0xFF))
		if (r != nil) != tt.want || len(m.io) > 1 {
			t.Errorf("BAR %#x: decoded %v, want %v", tt.bar, r != nil, tt.want)
		}
	}
}

// TestSizingWhileDecoding sizes without switching the decoders off, as sloppy
// firmware does.
func TestSizingWhileDecoding(t *testing.T) {
	m := newMachine()
	f := pci.NewFunction(pci.Config{Name: "x"})
	f.AddBAR(0, pci.Mem32, 0x1000, new(scratch))
	d := attach(t, m, 3, f)
	d.write(command, 2, cmdMemory)
	d.write(bar0, 4, 0xFFFFFFFF)
	if len(m.memory) != 0 {
		t.Errorf("the sizing pattern is decoded: %v", m.memory)
	}
	d.write(bar0, 4, 0xD0000000)
	if len(m.memory) != 1 || m.memory[0].base != 0xD0000000 {
		t.Errorf("mapped: %v", m.memory)
	}
}

func TestCollision(t *testing.T) {
	m := newMachine()
	newDevice := func(slot int, id byte) device {
		r := new(scratch)
		r.data[0] = id
		f := pci.NewFunction(pci.Config{Name: "x"})
		f.AddBAR(0, pci.Mem32, 0x1000, r)
		d := attach(t, m, slot, f)
		d.write(bar0, 4, 0xD0000000)
		return d
	}
	a, b, c := newDevice(3, 3), newDevice(4, 4), newDevice(5, 5)
	for _, d := range []device{a, b, c} {
		d.write(command, 2, cmdMemory)
	}
	owner := func(want uint32, what string) {
		t.Helper()
		if got := m.read32(0xD0000000); got != want {
			t.Errorf("%s: function in slot %d answers, want %d", what, got, want)
		}
	}
	owner(3, "the first one stays")
	a.write(bar0, 4, 0xD0001000)
	owner(4, "the first one moved away")
	if got := m.read32(0xD0001000); got != 3 {
		t.Errorf("the moved function is not at its new place: %#x", got)
	}
	b.write(command, 2, 0)
	owner(5, "the second one was disabled")
	b.write(command, 2, cmdMemory)
	owner(5, "the second one came back")
	m.bus.Detach(5, 0)
	owner(4, "the third one left")
	a.write(bar0, 4, 0xD0000000)
	m.bus.Detach(4, 0)
	owner(3, "only the first one is left")

	// A range that is not the bus's own.
	if err := m.MapMMIO(0xE0000000, 0x1000, new(scratch)); err != nil {
		t.Fatal(err)
	}
	a.write(bar0, 4, 0xE0000000)
	if got := m.read32(0xE0000000); got != 0 {
		t.Errorf("the platform's own range was replaced: %#x", got)
	}
	m.UnmapMMIO(0xE0000000, 0x1000)
	m.bus.RetryDecode()
	if got := m.read32(0xE0000000); got != 3 {
		t.Errorf("a refused range was not mapped when it could be: %#x", got)
	}
}

// A machine that counts accesses can tell the registers of one controller from
// those of another.
func TestRegionsAreNamedAfterTheirBAR(t *testing.T) {
	m := newMachine()
	d := attach(t, m, 5, newController())
	d.write(bar0, 4, 0xC000)
	d.write(bar1, 4, 0xFEB00000)
	d.write(command, 2, cmdIO|cmdMemory)
	for _, tt := range []struct {
		space *[]mapping
		addr  uint64
		want  string
	}{
		{&m.io, 0xC000, "controller BAR 0"},
		{&m.memory, 0xFEB00000, "controller BAR 1"}, // which has an MSI-X table in it
	} {
		r, _ := m.at(tt.space, tt.addr)
		if named, ok := r.(interface{ Name() string }); !ok || named.Name() != tt.want {
			t.Errorf("the region at %#x is %T, want one with the name %q", tt.addr, r, tt.want)
		}
	}
}

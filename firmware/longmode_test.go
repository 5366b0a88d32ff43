package firmware

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestIdentityMap walks the page tables as the processor would.
func TestIdentityMap(t *testing.T) {
	m := ram{}
	e, err := Load(m, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(makeBzImage(newFakeBzImage()))})
	if err != nil {
		t.Fatal(err)
	}
	if e.CR0 != 0x80000011 || e.CR4 != 0x20 || e.EFER != 0x500 {
		t.Errorf("CR0 %#x CR4 %#x EFER %#x", e.CR0, e.CR4, e.EFER)
	}
	const addressMask = 0x000FFFFFFFFFF000
	for _, addr := range []uint64{0, 0x7000, 0x1FFFFF, 0x200000, 0x1000200, gib - 1, gib, 0xFEE00000, 4*gib - 1} {
		l4 := m.u64(e.CR3 + addr>>39&511*8)
		l3 := m.u64(l4&addressMask + addr>>30&511*8)
		l2 := m.u64(l3&addressMask + addr>>21&511*8)
		if l4&3 != 3 || l3&0x83 != 3 || l2&0x83 != 0x83 {
			t.Fatalf("%#x: entries %#x %#x %#x", addr, l4, l3, l2)
		}
		if got := l2&addressMask + addr&0x1FFFFF; got != addr {
			t.Errorf("%#x is mapped to %#x", addr, got)
		}
	}
	if got := m.u64(m.u64(e.CR3)&addressMask + 4*8); got != 0 {
		t.Errorf("there is a mapping above 4 GiB: %#x", got)
	}
}

// TestDescriptorTable holds that what is in memory says the same as the
// segments of the Entry, in the well-known encodings.
func TestDescriptorTable(t *testing.T) {
	tests := []struct {
		name             string
		kernel           []byte
		mode             Mode
		code, data, task uint64
	}{
		{"64-bit", makeBzImage(newFakeBzImage()), Long64, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0000000067},
		{
			"32-bit", makeELF(newFakeELF().withNotes(4, note(4, "Xen", 18, u32(0x1000850)))), Protected32,
			0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0000000067,
		},
	}
	for _, tt := range tests {
		m := ram{}
		e, err := Load(m, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(tt.kernel)})
		if err != nil {
			t.Fatal(err)
		}
		if e.Mode != tt.mode || e.RFLAGS != 2 {
			t.Errorf("%s: %v, flags %#x", tt.name, e.Mode, e.RFLAGS)
		}
		gdt := m.read(e.GDT.Base, uint64(e.GDT.Limit)+1)
		slot := func(selector uint16) uint64 { return binary.LittleEndian.Uint64(gdt[selector:]) }
		if e.Code.Selector != 0x10 || e.Data.Selector != 0x18 {
			t.Errorf("%s: selectors %#x and %#x, the boot protocol wants 0x10 and 0x18", tt.name, e.Code.Selector, e.Data.Selector)
		}
		for _, s := range []struct {
			name      string
			got, want uint64
		}{
			{"null", slot(0), 0},
			{"code", slot(e.Code.Selector), tt.code},
			{"data", slot(e.Data.Selector), tt.data},
			{"task", slot(e.Task.Selector), tt.task},
			{"task, upper half", slot(e.Task.Selector + 8), 0},
		} {
			if s.got != s.want {
				t.Errorf("%s: %s descriptor %#016x, want %#016x", tt.name, s.name, s.got, s.want)
			}
		}
	}
}

func TestProtected32HasPagingOff(t *testing.T) {
	kernel := makeELF(newFakeELF().withNotes(4, note(4, "Xen", 18, u32(0x1000850))))
	e, err := Load(ram{}, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(kernel)})
	if err != nil {
		t.Fatal(err)
	}
	if e.CR0 != 0x11 || e.CR3 != 0 || e.CR4 != 0 || e.EFER != 0 {
		t.Errorf("CR0 %#x CR3 %#x CR4 %#x EFER %#x", e.CR0, e.CR3, e.CR4, e.EFER)
	}
}

func TestBIOSDataArea(t *testing.T) {
	m := ram{}
	if _, err := Load(m, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(makeELF(newFakeELF()))}); err != nil {
		t.Fatal(err)
	}
	if got := uint64(m.u16(0x40E)) << 4; got != 0x9FC00 {
		t.Errorf("EBDA segment says %#x", got)
	}
	if got := uint64(m.u16(0x413)) << 10; got != 0x9FC00 {
		t.Errorf("base memory ends at %#x", got)
	}
}

package pci_test

import (
	"strings"
	"testing"

	"github.com/govmm/govmm/pci"
)

func TestAssign(t *testing.T) {
	m := newMachine()
	small := pci.NewFunction(pci.Config{Name: "small"})
	small.AddBAR(0, pci.IO, 16, nil)
	small.AddBAR(1, pci.Mem32, 0x1000, nil)
	large := pci.NewFunction(pci.Config{Name: "large"})
	large.AddBAR(0, pci.IO, 256, nil)
	large.AddBAR(1, pci.Mem64, 0x4000, nil)
	s, l := attach(t, m, 3, small), attach(t, m, 4, large)

	memory := pci.Space{Base: 0xC0001000, Size: 0x9000}
	if err := m.bus.Assign(pci.Space{Base: 0xC008, Size: 0x1000}, memory); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		d    device
		reg  int
		want uint32
	}{
		{"the larger I/O BAR comes first, at a multiple of its size", l, 0x10, 0xC100 | 1},
		{"the smaller I/O BAR", s, 0x10, 0xC200 | 1},
		{"the larger memory BAR", l, 0x14, 0xC0004000 | 4},
		{"its high half", l, 0x18, 0},
		{"the smaller memory BAR", s, 0x14, 0xC0008000},
	} {
		if got := tt.d.read(tt.reg, 4); got != tt.want {
			t.Errorf("%s reads %#x, want %#x", tt.name, got, tt.want)
		}
	}
	if len(m.memory) != 0 || len(m.io) != 0 {
		t.Errorf("decoded before the command registers say so: %v %v", m.memory, m.io)
	}
}

func TestAssignWithoutRoom(t *testing.T) {
	m := newMachine()
	f := pci.NewFunction(pci.Config{Name: "large"})
	f.AddBAR(0, pci.Mem32, 0x4000, nil)
	attach(t, m, 3, f)
	// There are 0x4000 bytes, but not at a multiple of 0x4000.
	err := m.bus.Assign(pci.Space{}, pci.Space{Base: 0xC0001000, Size: 0x4000})
	if err == nil || !strings.Contains(err.Error(), "large") {
		t.Errorf("error %v, want one that names the function", err)
	}
}

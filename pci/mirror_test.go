package pci_test

import (
	"testing"

	"github.com/govmm/govmm/pci"
)

// reflector is a Region that can be mirrored.
type reflector struct {
	scratch
	mirror *pci.Mirror
}

func (r *reflector) Mirror(m *pci.Mirror) bool {
	r.mirror = m
	return true
}

// What the platform gets to decode passes a mirror on to the device, where all that
// the mirror would have is the device's.
func TestMirrorReachesTheDevice(t *testing.T) {
	const base = 0xd0000000
	for _, tt := range []struct {
		name       string
		size       uint64
		table, pba uint64 // of MSI-X; both 0: none
		region     pci.Region
		can        bool
	}{
		{"alone", 0x1000, 0, 0, new(reflector), true},
		{"table behind it", 0x4000, 0x2000, 0x3800, new(reflector), true},
		{"table in it", 0x4000, 0xff8, 0x3800, new(reflector), false},
		{"pending bits in it", 0x4000, 0x2000, 0x800, new(reflector), false},
		{"less than a page", 0x800, 0, 0, new(reflector), false},
		{"without", 0x4000, 0x2000, 0x3800, new(scratch), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine()
			f := pci.NewFunction(pci.Config{Name: "f"})
			f.AddBAR(0, pci.Mem32, tt.size, tt.region)
			if tt.pba > 0 {
				f.AddMSIX(msixCap, 4, 0, tt.table, tt.pba)
			}
			d := attach(t, m, 3, f)
			d.write(bar0, 4, base)
			d.write(command, 2, cmdMemory)
			region, _ := m.at(&m.memory, base)
			mirror := new(pci.Mirror)
			if can := region.(pci.Mirrored).Mirror(mirror); can != tt.can {
				t.Errorf("can be mirrored: %v, want %v", can, tt.can)
			}
			if r, ok := tt.region.(*reflector); ok && tt.can != (r.mirror == mirror) {
				t.Errorf("the device has the mirror: %v", !tt.can)
			}
		})
	}
	m := newMachine()
	f := pci.NewFunction(pci.Config{Name: "f"})
	f.AddBAR(0, pci.IO, 256, new(reflector))
	d := attach(t, m, 3, f)
	d.write(bar0, 4, 0xc000)
	d.write(command, 2, cmdIO)
	if region, _ := m.at(&m.io, 0xc000); region.(pci.Mirrored).Mirror(new(pci.Mirror)) {
		t.Error("ports can be mirrored")
	}
}

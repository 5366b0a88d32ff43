package pci_test

import (
	"slices"
	"testing"

	"github.com/govmm/govmm/pci"
)

func TestCapabilityList(t *testing.T) {
	m := newMachine()
	f := newController()
	f.AddVendor(0xF0, []byte{0xAA, 0xBB})
	d := attach(t, m, 5, f)
	if d.read(status, 2)&0x10 == 0 {
		t.Error("status does not announce a capability list")
	}
	type entry struct{ off, id uint32 }
	var list []entry
	for off := d.read(0x34, 1); off != 0 && len(list) < 48; off = d.read(int(off)+1, 1) {
		list = append(list, entry{off, d.read(int(off), 1)})
	}
	want := []entry{{pmCap, 0x01}, {expressCap, 0x10}, {msiCap, 0x05}, {msixCap, 0x11}, {0xF0, 0x09}}
	if !slices.Equal(list, want) {
		t.Errorf("capabilities %x, want %x", list, want)
	}
	for _, tt := range []struct {
		what  string
		reg   int
		value uint32
	}{
		{"power management", pmCap, 0x00036801},
		{"PCIe: endpoint, version 2", expressCap, 0x0002A810},
		{"device: reset, role-based errors, 4096 bytes", expressCap + 4, 0x10008005},
		{"device control", expressCap + 8, 0x00002810},
		{"link: 5 GT/s, 8 lanes", expressCap + 0xC, 0x82},
		{"link status", expressCap + 0x10, 0x00820000},
		{"MSI: 64-bit, 1 message", msiCap, 0x0080C005},
		{"MSI-X: 15 messages", msixCap, 0x000EF011},
		{"MSI-X table", msixCap + 4, msixTable | 1},
		{"MSI-X pending bits", msixCap + 8, msixPBA | 1},
		{"vendor", 0xF0, 0xAA050009},
	} {
		if got := d.read(tt.reg, 4); got != tt.value {
			t.Errorf("%s: %#x, want %#x", tt.what, got, tt.value)
		}
	}
}

func TestNoCapabilities(t *testing.T) {
	d := attach(t, newMachine(), 0, pci.NewHostBridge(nil))
	if d.read(status, 2)&0x10 != 0 || d.read(0x34, 1) != 0 {
		t.Error("a capability list is announced")
	}
}

func TestRootComplexEndpointHasNoLink(t *testing.T) {
	f := pci.NewFunction(pci.Config{Name: "x"})
	f.AddExpress(0x40, pci.Express{Type: pci.ExpressRootComplexEndpoint, MaxPayload: 128, LinkSpeed: 1, LinkWidth: 1})
	d := attach(t, newMachine(), 1, f)
	if got := d.read(0x40, 4); got != 0x00920010 {
		t.Errorf("capability %#x, want 0x920010", got)
	}
	if d.read(0x4C, 4) != 0 || d.read(0x50, 4) != 0 {
		t.Error("link registers are not zero")
	}
}

func TestFunctionLevelReset(t *testing.T) {
	m := newMachine()
	f := newController()
	resets := 0
	f.OnReset(func() { resets++ })
	d := attach(t, m, 5, f)
	d.write(bar1, 4, 0xC0000000)
	d.write(command, 2, cmdMemory|cmdMaster)
	f.SetINTx(true)
	control := d.read(expressCap+8, 2)
	d.write(expressCap+8, 1, 0xFF)
	d.write(expressCap+10, 1, 0xFF)
	if resets != 0 {
		t.Fatal("a write beside the bit reset the function")
	}
	d.write(expressCap+8, 2, control|0x8000)
	if resets != 1 {
		t.Errorf("the device was reset %d times, want once", resets)
	}
	if d.read(command, 2) != 0 || len(m.memory) != 0 || m.line(21) {
		t.Error("command register, decoders or interrupt pin survived")
	}
	if got := d.read(expressCap+8, 4); got != 0x2810 {
		t.Errorf("device control and status are %#x, want 0x2810", got)
	}
	if d.read(0, 4) != 0x00791000 {
		t.Error("the function went away")
	}
}

func TestResetBitWithoutTheCapability(t *testing.T) {
	f := pci.NewFunction(pci.Config{Name: "x"})
	f.AddExpress(0x40, pci.Express{MaxPayload: 128})
	f.OnReset(func() { t.Error("the function was reset") })
	d := attach(t, newMachine(), 1, f)
	d.write(0x48, 2, 0xFFFF)
	if got := d.read(0x48, 2); got != 0x78FF {
		t.Errorf("device control is %#x, want 0x78ff", got)
	}
}

// TestWriteOneToClear uses a register whose bits the device would set.
func TestWriteOneToClear(t *testing.T) {
	f := pci.NewFunction(pci.Config{Name: "x", Registers: []pci.Register{
		{Offset: 0x40, Size: 4, Reset: 0xF0F01234, Write: 0x0000FF00, Clear: 0xFF000000},
	}})
	d := attach(t, newMachine(), 1, f)
	for _, tt := range []struct {
		reg, size   int
		value, want uint32
	}{
		{0x40, 4, 0, 0xF0F00034},
		{0x41, 1, 0xAB, 0xF0F0AB34},
		{0x43, 1, 0x30, 0xC0F0AB34},
		{0x42, 2, 0xFFFF, 0x00F0AB34},
		{0x40, 1, 0xFF, 0x00F0AB34},
	} {
		d.write(tt.reg, tt.size, tt.value)
		if got := d.read(0x40, 4); got != tt.want {
			t.Errorf("after %#x to %#x: %#x, want %#x", tt.value, tt.reg, got, tt.want)
		}
	}
}

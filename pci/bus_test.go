package pci_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/govmm/govmm/pci"
)

func TestAbsentFunctionsReadAsOnes(t *testing.T) {
	m := newMachine()
	attach(t, m, 5, newController())
	tests := []struct {
		name    string
		address uint32
	}{
		{"empty slot", 1<<31 | 6<<11},
		{"empty function", 1<<31 | 5<<11 | 1<<8},
		{"other bus", 1<<31 | 1<<16 | 5<<11},
		{"enable bit clear", 5 << 11},
	}
	for _, tt := range tests {
		m.ports.Write(0, binary.LittleEndian.AppendUint32(nil, tt.address))
		for size := 1; size <= 4; size *= 2 {
			p := make([]byte, size)
			m.ports.Read(4, p)
			if !bytes.Equal(p, bytes.Repeat([]byte{0xFF}, size)) {
				t.Errorf("%s: %d bytes read %x, want ones", tt.name, size, p)
			}
			m.ports.Write(4, p) // must go nowhere
		}
	}
	if got := (device{m, 5, 0}).read(command, 2); got != 0 {
		t.Errorf("a write to an absent function reached one: command is %#x", got)
	}
}

// TestProbe is how Linux looks for mechanism 1: a byte write to 0xCFB must not
// change the address register, which must read back.
func TestProbe(t *testing.T) {
	m := newMachine()
	m.ports.Write(3, []byte{1})
	m.ports.Write(0, []byte{0, 0, 0, 0x80})
	p := make([]byte, 4)
	m.ports.Read(0, p)
	if got := binary.LittleEndian.Uint32(p); got != 0x80000000 {
		t.Errorf("0xCF8 reads %#x, want 0x80000000", got)
	}
	m.ports.Write(3, []byte{1})
	m.ports.Write(1, []byte{6})
	m.ports.Write(2, []byte{0xFF, 0xFF})
	m.ports.Read(0, p)
	if got := binary.LittleEndian.Uint32(p); got != 0x80000000 {
		t.Errorf("0xCF8 reads %#x after byte and word writes, want 0x80000000", got)
	}
	m.ports.Write(0, []byte{0xFF, 0xFF, 0xFF, 0xFF})
	m.ports.Read(0, p)
	if got := binary.LittleEndian.Uint32(p); got != 0x80FFFFFC {
		t.Errorf("0xCF8 reads %#x after all ones, want 0x80FFFFFC", got)
	}
}

func TestDataPortWidths(t *testing.T) {
	m := newMachine()
	d := attach(t, m, 5, newController())
	tests := []struct {
		reg, size int
		want      uint32
	}{
		{0x00, 4, 0x00791000}, {0x00, 2, 0x1000}, {0x02, 2, 0x0079}, {0x03, 1, 0x00},
		{0x08, 4, 0x01040005}, {0x0B, 1, 0x01}, {0x09, 2, 0x0400},
		{0x2C, 4, 0x92611000}, {0x3D, 1, 1}, {0x0E, 1, 0}, {0x34, 1, pmCap},
	}
	for _, tt := range tests {
		if got := d.read(tt.reg, tt.size); got != tt.want {
			t.Errorf("%d bytes at %#x are %#x, want %#x", tt.size, tt.reg, got, tt.want)
		}
	}
	d.write(0x3C, 1, 11)
	d.write(command, 2, 0xFFFF)
	d.write(0x00, 4, 0x12345678)
	if got := d.read(0x3C, 4); got != 0x010B {
		t.Errorf("interrupt registers are %#x, want 0x10b", got)
	}
	if got := d.read(command, 2); got != 0x0547 {
		t.Errorf("command after all ones is %#x, want 0x547", got)
	}
	if got := d.read(0x00, 4); got != 0x00791000 {
		t.Errorf("identity was overwritten: %#x", got)
	}
}

func TestResetControlPort(t *testing.T) {
	m := newMachine()
	cf9 := new(scratch)
	ports := m.bus.ConfigMechanism1(cf9)
	ports.Write(0, []byte{0, 0x28, 0, 0x80})
	ports.Write(1, []byte{0x06})
	p := []byte{0}
	ports.Read(1, p)
	if cf9.data[0] != 6 || p[0] != 6 {
		t.Errorf("0xCF9 holds %#x and reads %#x, want 6", cf9.data[0], p[0])
	}
	address := make([]byte, 4)
	ports.Read(0, address)
	if !bytes.Equal(address, []byte{0, 0x28, 0, 0x80}) {
		t.Errorf("a write to 0xCF9 changed the address register to %x", address)
	}
}

func TestAttachRefuses(t *testing.T) {
	m := newMachine()
	f := newController()
	attach(t, m, 5, f)
	wrong := func(describe func(*pci.Function)) *pci.Function {
		f := pci.NewFunction(pci.Config{Name: "wrong"})
		f.AddBAR(0, pci.Mem32, 0x1000, nil)
		describe(f)
		return f
	}
	tests := []struct {
		name, want string
		slot, fn   int
		f          *pci.Function
	}{
		{"taken", "taken by controller", 5, 0, newController()},
		{"slot", "does not exist", 32, 0, newController()},
		{"function", "does not exist", 0, -1, newController()},
		{"twice", "on a bus already", 6, 0, f},
		{"pin", "interrupt pin 5", 6, 0, pci.NewFunction(pci.Config{InterruptPin: 5})},
		{"register", "outside configuration space", 6, 0,
			pci.NewFunction(pci.Config{Registers: []pci.Register{{Offset: 0xFE, Size: 4}}})},
		{"BAR twice", "BAR 0 is taken", 6, 0,
			wrong(func(f *pci.Function) { f.AddBAR(0, pci.IO, 16, nil) })},
		{"high half", "BAR 2 is taken", 6, 0, wrong(func(f *pci.Function) {
			f.AddBAR(1, pci.Mem64, 16, nil)
			f.AddBAR(2, pci.IO, 16, nil)
		})},
		{"last BAR", "BAR 5", 6, 0, wrong(func(f *pci.Function) { f.AddBAR(5, pci.Mem64, 16, nil) })},
		{"BAR size", "cannot decode 0x18", 6, 0, wrong(func(f *pci.Function) { f.AddBAR(1, pci.IO, 24, nil) })},
		{"overlap", "overlaps the one at 0x50", 6, 0, wrong(func(f *pci.Function) {
			f.AddPowerManagement(0x50)
			f.AddMSI(0x54, 1, false)
		})},
		{"in header", "does not fit at 0x30", 6, 0, wrong(func(f *pci.Function) { f.AddPowerManagement(0x30) })},
		{"messages", "3 messages", 6, 0, wrong(func(f *pci.Function) { f.AddMSI(0x50, 3, false) })},
		{"table", "not a memory BAR", 6, 0, wrong(func(f *pci.Function) { f.AddMSIX(0x50, 1, 1, 0, 0x800) })},
		{"table end", "do not fit", 6, 0, wrong(func(f *pci.Function) { f.AddMSIX(0x50, 200, 0, 0x800, 0) })},
		{"payload", "payload size 100", 6, 0,
			wrong(func(f *pci.Function) { f.AddExpress(0x50, pci.Express{MaxPayload: 100}) })},
	}
	for _, tt := range tests {
		err := m.bus.Attach(tt.slot, tt.fn, tt.f)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestDetach(t *testing.T) {
	m := newMachine()
	f := newController()
	d := attach(t, m, 5, f)
	d.write(bar1, 4, 0xC0000000)
	d.write(command, 2, cmdMemory)
	f.SetINTx(true)
	if !m.line(21) || m.read32(0xC0000000) != 0 {
		t.Fatal("the function is not working before it is detached")
	}
	if got := m.bus.Detach(5, 0); got != f {
		t.Errorf("Detach returned %v", got)
	}
	if m.line(21) || m.read32(0xC0000000) != 0xFFFFFFFF || d.read(0, 4) != 0xFFFFFFFF {
		t.Error("a detached function still drives its line, decodes or answers")
	}
	f.SetINTx(false)
	f.SetINTx(true)
	if m.line(21) {
		t.Error("a detached function drives the line")
	}
	if m.bus.Detach(5, 0) != nil || m.bus.Function(5, 0) != nil {
		t.Error("the place is not empty")
	}
	attach(t, m, 6, f)
	if !m.line(22) || m.read32(0xC0000000) != 0 {
		t.Error("a function that was attached again does not take up its work")
	}
}

func TestReset(t *testing.T) {
	m := newMachine()
	f := newController()
	resets := 0
	f.OnReset(func() { resets++ })
	changed := map[int]uint32{}
	f.OnConfigWrite(func(off int, v uint32) { changed[off] = v })
	d := attach(t, m, 5, f)
	d.write(bar1, 4, 0xC0000000)
	d.write(command, 2, cmdMemory|cmdMaster)
	d.write(msixCap+2, 2, 0x8000)
	m.write32(0xC0000000+msixTable+8, 0x55)
	f.Signal(0)
	f.Signal(3)
	m.sent()
	clear(changed)

	m.bus.Reset()

	if resets != 1 {
		t.Errorf("the device was reset %d times", resets)
	}
	want := map[int]uint32{command: 0x00100000, bar1: 4, msixCap: 0x000E0011}
	for off, v := range want {
		if got, ok := changed[off]; !ok || got != v || d.read(off, 4) != v {
			t.Errorf("register %#x: hook told %#x (%v), reads %#x, want %#x", off, got, ok, d.read(off, 4), v)
		}
	}
	if len(changed) != len(want) {
		t.Errorf("the hook was told of %v", changed)
	}
	if len(m.memory) != 0 || f.Mode() != pci.ModeINTx || f.BusMaster() {
		t.Error("decoders, interrupt mode or bus mastering survived the reset")
	}
	d.write(bar1, 4, 0xC0000000)
	d.write(command, 2, cmdMemory|cmdMaster)
	d.write(msixCap+2, 2, 0x8000)
	if got := m.read32(0xC0000000 + msixPBA); got != 0 {
		t.Errorf("messages are pending after a reset: %#x", got)
	}
	if got := m.read32(0xC0000000 + msixTable + 8); got != 0 {
		t.Errorf("the MSI-X table survived the reset: %#x", got)
	}
	if got := m.sent(); len(got) != 0 {
		t.Errorf("messages after the reset: %v", got)
	}
}

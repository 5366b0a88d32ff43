package pci_test

import (
	"slices"
	"testing"

	"github.com/govmm/govmm/pci"
)

func newPin(pin uint8) *pci.Function {
	return pci.NewFunction(pci.Config{Name: "x", InterruptPin: pin})
}

func TestINTxSharing(t *testing.T) {
	m := newMachine()
	a, b := newPin(1), newPin(4)
	attach(t, m, 5, a) // GSI 16 + 5 + 0
	attach(t, m, 2, b) // GSI 16 + 2 + 3
	steps := []struct {
		f        *pci.Function
		asserted bool
		want     bool
	}{
		{a, true, true}, {b, true, true}, {a, false, true}, {a, false, true},
		{b, false, false}, {b, true, true}, {b, false, false},
	}
	for i, s := range steps {
		s.f.SetINTx(s.asserted)
		if got := m.line(21); got != s.want {
			t.Errorf("step %d: the line is %v, want %v", i, got, s.want)
		}
	}
}

func TestINTxDisableAndStatus(t *testing.T) {
	m := newMachine()
	f := newController()
	d := attach(t, m, 5, f)
	check := func(what string, line bool, interrupt uint32) {
		t.Helper()
		if got := m.line(21); got != line {
			t.Errorf("%s: the line is %v", what, got)
		}
		if got := d.read(status, 2) >> 3 & 1; got != interrupt {
			t.Errorf("%s: Interrupt Status is %d", what, got)
		}
	}
	check("at reset", false, 0)
	f.SetINTx(true)
	check("asserted", true, 1)
	d.write(command, 2, cmdNoINTx)
	check("disabled", false, 1)
	d.write(command, 2, 0)
	check("enabled", true, 1)
	d.write(pmCap+4, 1, 3)
	check("in D3hot", false, 1)
	d.write(pmCap+4, 1, 0)
	check("in D0", true, 1)
	d.write(msixCap+2, 2, 0x8000)
	check("MSI-X enabled", false, 1)
	f.SetINTx(false)
	f.SetINTx(true)
	check("driven meanwhile", false, 1)
	d.write(msixCap+2, 2, 0)
	check("MSI-X disabled", true, 1)
	d.write(msiCap+2, 2, 1)
	check("MSI enabled", false, 1)
	d.write(msiCap+2, 2, 0)
	f.SetINTx(false)
	check("released", false, 0)
	if f.Signal(0) {
		t.Error("a message was sent in INTx mode")
	}
}

func TestReroute(t *testing.T) {
	m := newMachine()
	gsi := 10
	m.bus = pci.NewBus(m, func(int, int) int { return gsi })
	f := newPin(1)
	attach(t, m, 5, f)
	f.SetINTx(true)
	for _, step := range []struct {
		gsi  int
		want [2]bool // lines 10 and 11
	}{
		{11, [2]bool{false, true}}, {-1, [2]bool{}}, {10, [2]bool{true, false}},
	} {
		gsi = step.gsi
		m.bus.Reroute()
		if got := [2]bool{m.line(10), m.line(11)}; got != step.want {
			t.Errorf("routed to %d: lines 10 and 11 are %v", gsi, got)
		}
	}
}

func TestPinlessFunction(t *testing.T) {
	m := newMachine()
	f := newPin(0)
	d := attach(t, m, 5, f)
	f.SetINTx(true)
	if m.line(20) || m.line(21) || d.read(status, 2) != 0 {
		t.Error("a function without a pin interrupts")
	}
}

func TestMSI(t *testing.T) {
	for _, addr64 := range []bool{false, true} {
		m := newMachine()
		f := pci.NewFunction(pci.Config{Name: "x"})
		f.AddMSI(0x40, 4, addr64)
		d := attach(t, m, 5, f)
		want := message{addr: 0xFEE01000, data: 0x4041}
		dataReg := 0x48
		d.write(0x44, 4, 0xFEE01003) // the low bits do not exist
		if addr64 {
			d.write(0x48, 4, 0x12)
			want.addr |= 0x12_00000000
			dataReg = 0x4C
		}
		d.write(dataReg, 2, 0x4041)
		if f.Signal(0) || f.Mode() != pci.ModeINTx {
			t.Error("MSI works before it is enabled")
		}
		d.write(0x42, 1, 1)
		if !f.Signal(0) || f.Mode() != pci.ModeMSI {
			t.Error("MSI does not work when enabled")
		}
		if got := m.sent(); len(got) != 0 {
			t.Errorf("messages without bus mastering: %v", got)
		}
		d.write(command, 2, cmdMaster)
		if got := m.sent(); !slices.Equal(got, []message{want}) {
			t.Errorf("64-bit %v: sent %x, want %x", addr64, got, want)
		}
		f.Signal(3) // one message is granted: they share it
		if got := m.sent(); !slices.Equal(got, []message{want}) {
			t.Errorf("64-bit %v: one granted: sent %x, want %x", addr64, got, want)
		}
		d.write(0x42, 1, 1|7<<4) // more than there are
		var numbers []uint32
		for n := range 5 {
			if ok := f.Signal(n); ok != (n < 4) {
				t.Errorf("message %d: %v", n, ok)
			}
		}
		for _, s := range m.sent() {
			numbers = append(numbers, s.data)
		}
		if want := []uint32{0x4040, 0x4041, 0x4042, 0x4043}; !slices.Equal(numbers, want) {
			t.Errorf("64-bit %v: sent %x, want %x", addr64, numbers, want)
		}
	}
}

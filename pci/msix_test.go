package pci_test

import (
	"slices"
	"testing"

	"github.com/govmm/govmm/pci"
)

const window = 0xC0000000

// newMSIX is a function with MSI-X enabled, and vector n of its table set to
// address 0xFEE00000 + 0x1000 n, data 0x40 + n, not masked.
func newMSIX(t *testing.T) (*machine, *pci.Function, device) {
	m := newMachine()
	f := newController()
	d := attach(t, m, 5, f)
	d.write(bar1, 4, window)
	d.write(command, 2, cmdMemory|cmdMaster)
	d.write(msixCap+2, 2, 0xC000)
	for n := range uint64(msixVectors) {
		entry := window + msixTable + 16*n
		m.write32(entry, uint32(0xFEE00000+0x1000*n))
		m.write32(entry+8, uint32(0x40+n))
		m.write32(entry+12, 0)
	}
	d.write(msixCap+2, 2, 0x8000)
	return m, f, d
}

func data(list []message) (numbers []uint32) {
	for _, s := range list {
		numbers = append(numbers, s.data)
	}
	return numbers
}

func TestMSIXSend(t *testing.T) {
	m, f, _ := newMSIX(t)
	if f.Mode() != pci.ModeMSIX || !f.Signal(14) || f.Signal(15) || f.Signal(-1) {
		t.Error("not exactly the messages 0 to 14 can be sent")
	}
	if got, want := m.sent(), []message{{0xFEE0E000, 0x4E}}; !slices.Equal(got, want) {
		t.Errorf("sent %x, want %x", got, want)
	}
}

func TestMSIXVectorMask(t *testing.T) {
	m, f, _ := newMSIX(t)
	control := uint64(window + msixTable + 16*2 + 12)
	m.write32(control, 1)
	f.Signal(2)
	f.Signal(2)
	f.Signal(3)
	if got := data(m.sent()); !slices.Equal(got, []uint32{0x43}) {
		t.Errorf("sent %x while 2 is masked, want only 43", got)
	}
	if got := m.read32(window + msixPBA); got != 1<<2 {
		t.Errorf("pending bits are %#x, want 4", got)
	}
	m.write32(window+msixPBA, 0) // read-only
	m.write32(control-4, 0x99)   // the guest moves the interrupt while it is masked
	m.write32(control, 0xFFFFFFFE)
	if got := data(m.sent()); !slices.Equal(got, []uint32{0x99}) {
		t.Errorf("sent %x on unmasking, want 99 once", got)
	}
	if m.read32(window+msixPBA) != 0 || m.read32(control) != 0 {
		t.Error("the pending bit or reserved bits stayed set")
	}
	m.write32(control, 1)
	m.write32(control, 0)
	if got := m.sent(); len(got) != 0 {
		t.Errorf("sent %x with nothing pending", got)
	}
}

func TestMSIXHeldBack(t *testing.T) {
	holds := []struct {
		name           string
		close, release func(device)
	}{
		{"function mask", func(d device) { d.write(msixCap+2, 2, 0xC000) },
			func(d device) { d.write(msixCap+2, 2, 0x8000) }},
		{"bus mastering off", func(d device) { d.write(command, 2, cmdMemory) },
			func(d device) { d.write(command, 2, cmdMemory|cmdMaster) }},
		{"D3hot", func(d device) { d.write(pmCap+4, 1, 3) },
			func(d device) { d.write(pmCap+4, 1, 0) }},
	}
	for _, h := range holds {
		m, f, d := newMSIX(t)
		m.write32(window+msixTable+16*5+12, 1)
		h.close(d)
		for _, n := range []int{1, 5, 9} {
			if !f.Signal(n) {
				t.Errorf("%s: message %d was refused", h.name, n)
			}
		}
		if got := m.sent(); len(got) != 0 {
			t.Errorf("%s: sent %x", h.name, got)
		}
		h.release(d)
		if got := data(m.sent()); !slices.Equal(got, []uint32{0x41, 0x49}) {
			t.Errorf("%s: sent %x afterwards, want 41 and 49", h.name, got)
		}
		if got := m.read32(window + msixPBA); got != 1<<5 {
			t.Errorf("%s: pending bits are %#x, want only 5's", h.name, got)
		}
	}
}

func TestMSIXWindow(t *testing.T) {
	m, _, _ := newMSIX(t)
	r, _ := m.at(&m.memory, window)
	read := func(off uint64, n int) []byte {
		p := make([]byte, n)
		r.Read(off, p)
		return p
	}
	r.Write(msixTable, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	r.Write(msixTable+9, []byte{0xAA})
	if got := read(msixTable, 8); !slices.Equal(got, []byte{0, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("qword in the table reads %x", got)
	}
	if got := read(msixTable+8, 4); !slices.Equal(got, []byte{0x40, 0xAA, 0, 0}) {
		t.Errorf("data of entry 0 reads %x", got)
	}
	if got := read(msixTable+12, 8); !slices.Equal(got, []byte{0, 0, 0, 0, 0, 0x10, 0xE0, 0xFE}) {
		t.Errorf("an access across two entries reads %x", got)
	}
	end := uint64(msixTable + 16*msixVectors)
	r.Write(end-2, []byte{0xEE, 0xEE, 0xEE, 0xEE}) // straddles
	if got := read(end-2, 4); !slices.Equal(got, []byte{0xFF, 0xFF, 0xFF, 0xFF}) {
		t.Errorf("an access across the edge reads %x, want ones", got)
	}
	if got := read(end-4, 4); !slices.Equal(got, make([]byte, 4)) {
		t.Errorf("vector control of entry 14 reads %x", got)
	}
	r.Write(end, []byte{0x77})
	r.Write(msixPBA-1, []byte{0x66})
	if read(end, 1)[0] != 0x77 || read(msixPBA-1, 1)[0] != 0x66 {
		t.Error("the device does not get the registers beside the table")
	}
}

func TestSignalDoesNotAllocate(t *testing.T) {
	m, f, d := newMSIX(t)
	m.messages = make([]message, 0, 10000)
	for _, tt := range []struct {
		name string
		set  func()
		call func()
	}{
		{"MSI-X", func() {}, func() { f.Signal(1) }},
		{"MSI-X masked", func() { m.write32(window+msixTable+12, 1) }, func() { f.Signal(0) }},
		{"MSI", func() { d.write(msixCap+2, 2, 0); d.write(msiCap+2, 2, 1) }, func() { f.Signal(0) }},
		{"INTx", func() { d.write(msiCap+2, 2, 0) }, func() { f.SetINTx(true); f.SetINTx(false) }},
	} {
		tt.set()
		if n := testing.AllocsPerRun(1000, tt.call); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkSignal(b *testing.B) {
	m := newMachine()
	f := newController()
	if err := m.bus.Attach(5, 0, f); err != nil {
		b.Fatal(err)
	}
	d := device{m, 5, 0}
	d.write(bar1, 4, window)
	d.write(command, 2, cmdMemory|cmdMaster)
	d.write(msixCap+2, 2, 0x8000)
	b.ReportAllocs()
	for b.Loop() { // masked: what the bus itself costs
		f.Signal(0)
	}
}

package vmm

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/pci"
)

// slate is a PCI device whose register at slateWord reads as what was written there
// last. All else of its BAR 0 reads as zero. It can be mirrored, if it is not refusing.
type slate struct {
	f        *pci.Function
	refusing bool

	mu     sync.Mutex
	value  uint32      // guarded by mu
	mirror *pci.Mirror // guarded by mu
	reads  int         // guarded by mu: by an exit
}

const (
	slateBAR  = gadgetBAR
	slateSize = 0x2000
	slateWord = 0x34
)

func newSlate() *slate {
	s := &slate{}
	s.f = pci.NewFunction(pci.Config{Name: "slate", Vendor: 0x1234, Device: 0x5679, Class: 0xff0000})
	s.f.AddBAR(0, pci.Mem64, slateSize, s)
	s.f.OnReset(func() { s.set(0) })
	return s
}

func (s *slate) Function() *pci.Function     { return s.f }
func (s *slate) Attach(pci.DMA)              {}
func (s *slate) Close(context.Context) error { return nil }

func (s *slate) set(v uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = v
	s.show()
}

// Preconditions: s.mu is held.
func (s *slate) show() {
	if s.mirror != nil {
		s.mirror[slateWord/8].Store(uint64(s.value) << (8 * (slateWord % 8)))
	}
}

func (s *slate) Mirror(m *pci.Mirror) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing {
		return false
	}
	s.mirror = m
	s.show()
	return true
}

func (s *slate) Read(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	clear(p)
	if off == slateWord {
		copy(p, binary.LittleEndian.AppendUint32(nil, s.value))
	}
}

func (s *slate) Write(off uint64, p []byte) {
	if off == slateWord && len(p) == 4 {
		s.set(binary.LittleEndian.Uint32(p))
	}
}

// decodeSlate has the slate answer at base, and nowhere before.
func decodeSlate(p *payload.Program, base uint64) {
	p.ConfigWrite16(gadgetSlot, 0, 0x04, 0)
	p.ConfigWrite32(gadgetSlot, 0, 0x10, uint32(base))
	p.ConfigWrite32(gadgetSlot, 0, 0x14, uint32(base>>32))
	p.ConfigWrite16(gadgetSlot, 0, 0x04, 2)
}

// runSlate runs a program with a slate, and returns how many reads were exits.
func runSlate(t *testing.T, p *payload.Program, s *slate) (*Machine, int) {
	t.Helper()
	m := newMachine(t, p, Config{OnReset: RestartOnReset})
	if err := m.AddDevice(gadgetSlot, s); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	s.mu.Lock()
	defer s.mu.Unlock()
	return m, s.reads
}

// wantSlate counts in wrong that the register at addr does not have what is at word.
func wantSlate(p *payload.Program, addr, word, wrong uint64) {
	p.Load32(addr)
	p.Save32(wrong + 8)
	p.UntilEqual32(wrong+8, word, func() {
		p.Increment32(wrong)
		p.Load32(word)
		p.Save32(wrong + 8)
	})
}

// Registers that are read a lot are read without exits in the end, and always as the
// last write has left them. Writes are exits as ever.
func TestRegistersAreReadWithoutExits(t *testing.T) {
	const many = 1000
	p := payload.New()
	wrong, count := p.Reserve(16, 8), p.Word()
	decodeSlate(p, slateBAR)
	p.Repeat(many, func() {
		p.Increment32(count)
		p.Load32(count)
		p.Save32(slateBAR + slateWord)
		wantSlate(p, slateBAR+slateWord, count, wrong)
	})
	p.PowerOff()
	m, reads := runSlate(t, p, newSlate())
	if n := result(t, m, wrong); n != 0 {
		t.Errorf("%d of %d reads were wrong", n, many)
	}
	if reads != mirrorAfter {
		t.Errorf("%d reads of %d were exits, want %d", reads, many, mirrorAfter)
	}
	for _, r := range m.Stats().Memory {
		if r.Name == "slate BAR 0" && (r.Reads != mirrorAfter || r.Writes != many) {
			t.Errorf("counted are %d reads and %d writes, want %d and %d", r.Reads, r.Writes, mirrorAfter, many)
		}
	}
}

// The mirror goes where the BAR goes, and nothing is left where it was. In between the
// guest turns decoding off, and sizes the BAR.
func TestMirrorFollowsTheBAR(t *testing.T) {
	const (
		many  = 3 * mirrorAfter
		value = 0x12345678
	)
	places := []uint64{slateBAR, slateBAR + 0x10000, slateBAR, slateBAR + slateSize}
	p := payload.New()
	wrong, want, ones := p.Reserve(16, 8), p.Word(), p.Word()
	p.Set(value)
	p.Save32(want)
	p.Set(0xffffffff)
	p.Save32(ones)
	for i, at := range places {
		decodeSlate(p, at)
		p.Store32(at+slateWord, value)
		p.Repeat(many, func() { wantSlate(p, at+slateWord, want, wrong) })
		for _, other := range places[:i] {
			if other != at {
				wantSlate(p, other+slateWord, ones, wrong)
			}
		}
		p.ConfigWrite16(gadgetSlot, 0, 0x04, 0)
		wantSlate(p, at+slateWord, ones, wrong)
		p.ConfigWrite32(gadgetSlot, 0, 0x10, 0xffffffff)
		wantSlate(p, at+slateWord, ones, wrong)
	}
	p.PowerOff()
	m, reads := runSlate(t, p, newSlate())
	if n := result(t, m, wrong); n != 0 {
		t.Errorf("%d reads were wrong", n)
	}
	if want := len(places) * mirrorAfter; reads != want {
		t.Errorf("%d reads were exits, want %d", reads, want)
	}
}

// A reset of the machine takes the mirror away with the BAR, and resets what is in it.
func TestMirrorEndsWithAReset(t *testing.T) {
	const many = 2 * mirrorAfter
	p := payload.New()
	countBoot(p)
	boot := p.Word()
	p.Save32(boot)
	wrong, zero := p.Reserve(16, 8), p.Word()
	decodeSlate(p, slateBAR)
	p.Repeat(many, func() { wantSlate(p, slateBAR+slateWord, zero, wrong) })
	p.Store32(slateBAR+slateWord, 1)
	p.Load32(boot)
	p.If32(0xff, 2, func() { p.PowerOff() })
	p.Out8(0x64, 0xfe)
	p.Halt()
	m, reads := runSlate(t, p, newSlate())
	if n := result(t, m, wrong); n != 0 {
		t.Errorf("%d reads were wrong", n)
	}
	if reads != 2*mirrorAfter {
		t.Errorf("%d reads were exits, want %d for each start", reads, mirrorAfter)
	}
}

// Where there is no mirror, reads are exits for good, and as right: of a device without
// one, and where the guest puts the BAR over something else.
func TestReadsWithoutAMirror(t *testing.T) {
	const many = 2 * mirrorAfter
	for name, tt := range map[string]struct {
		at       uint64
		refusing bool
		reads    int // that are exits
	}{
		"of a device that has none": {at: slateBAR, refusing: true, reads: many},
		"beside KVM's own chips":    {at: 0xfed10000, reads: many},
		"over RAM":                  {at: 0x800000},
	} {
		t.Run(name, func(t *testing.T) {
			p := payload.New()
			wrong, want := p.Reserve(16, 8), p.Word()
			p.Set(0x5a)
			p.Save32(want)
			decodeSlate(p, tt.at)
			p.Store32(tt.at+slateWord, 0x5a)
			p.Repeat(many, func() { wantSlate(p, tt.at+slateWord, want, wrong) })
			p.PowerOff()
			s := newSlate()
			s.refusing = tt.refusing
			m, reads := runSlate(t, p, s)
			if n := result(t, m, wrong); n != 0 {
				t.Errorf("%d reads were wrong", n)
			}
			if reads != tt.reads {
				t.Errorf("%d reads were exits, want %d", reads, tt.reads)
			}
		})
	}
}

// A processor reads while another one moves the BAR.
func TestMirrorsMoveWhileTheyAreRead(t *testing.T) {
	m := newMachine(t, nil, Config{})
	s := newSlate()
	if err := m.AddDevice(gadgetSlot, s); err != nil {
		t.Fatal(err)
	}
	config := func(off int, v uint32) { s.f.WriteConfig(off, binary.LittleEndian.AppendUint32(nil, v)) }
	config(0x04, 2)
	s.set(7)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, at := range []uint64{slateBAR, slateBAR + slateSize} {
					var p [4]byte
					m.mmio.Read(at+slateWord, p[:])
					if v := binary.LittleEndian.Uint32(p[:]); v != 7 && v != 0xffffffff {
						t.Errorf("read %#x", v)
					}
				}
			}
		})
	}
	for i := range uint32(200) {
		config(0x10, slateBAR+i%2*slateSize)
		s.set(7)
	}
	close(done)
	readers.Wait()
	for range mirrorAfter {
		m.mmio.Read(slateBAR+slateSize+slateWord, make([]byte, 4))
	}
	x := m.platform.mirrors.list[0]
	if !x.shown || x.base != slateBAR+slateSize {
		t.Errorf("in the end the slot is at %#x: %v", x.base, x.shown)
	}
}

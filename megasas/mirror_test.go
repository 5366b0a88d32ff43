package megasas

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/pci"
)

// mirrored has the memory BAR of the guest's controller mirrored.
func (g *guest) mirrored() *pci.Mirror {
	g.t.Helper()
	m := new(pci.Mirror)
	for i := range m {
		m[i].Store(^uint64(i)) // of somebody else
	}
	if !g.regs.(pci.Mirrored).Mirror(m) {
		g.t.Fatal("the registers can't be mirrored")
	}
	return m
}

// mirroredRegister is what a guest reads in a mirror.
func mirroredRegister(m *pci.Mirror, off uint64) uint32 {
	return uint32(m[off/8].Load() >> (8 * (off & 4)))
}

// wantMirrored compares the whole of a mirror with what the controller is at that
// moment, and with what both windows have.
func (g *guest) wantMirrored(m *pci.Mirror, after string) {
	g.t.Helper()
	c := g.c
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	c.irq.mu.Lock()
	defer c.irq.mu.Unlock()
	registers := map[uint64]uint32{
		0x18: c.fw.word.Load(),
		0x30: c.irq.latched &^ c.irq.mask,
		0x34: c.irq.mask,
		0xb0: c.fw.word.Load(),
		0xf8: c.fw.diag,
	}
	for off := uint64(0); off < pci.MirrorSize; off += 4 {
		want := registers[off]
		if got := mirroredRegister(m, off); got != want {
			g.t.Fatalf("after %s the mirror has %#x at %#x, want %#x", after, got, off, want)
		}
		if got := g.read(off); got != want {
			g.t.Fatalf("after %s register %#x is %#x, want %#x", after, off, got, want)
		}
		if off < ioWindow {
			var p [4]byte
			g.io.Read(off, p[:])
			if got := memory(p[:]).u32(0); got != want {
				g.t.Fatalf("after %s port %#x is %#x, want %#x", after, off, got, want)
			}
		}
	}
}

// TestMirrorHasWhatRegistersRead does anything to a controller, in any order: after each
// step the mirror is what reads would answer, also in the middle of resets.
func TestMirrorHasWhatRegistersRead(t *testing.T) {
	for name, p := range map[string]Personality{"gen2": SAS9260(), "gen1": SAS8708EM2()} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) { mirrorSteps(t, p, seed) })
			}
		})
	}
}

func mirrorSteps(t *testing.T, p Personality, seed uint64) {
	boot := []BootStep{
		{State: mfi.StateBBInit, Delay: time.Microsecond},
		{State: mfi.StateWaitHandshake},
		{State: mfi.StateDeviceScan, Delay: time.Microsecond},
	}
	cfg := nullDisk()
	cfg.Profile = p
	rng := rand.New(rand.NewPCG(seed, 11))
	g := newGuest(t, cfg)
	g.c.p.Boot = boot
	m := g.mirrored()
	offsets := []uint64{0x20, 0x30, 0x34, 0xa0, 0xb0, 0xf8, 0xfc, 0x18, 0x100, 0xff8}
	frame, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	var step string
	steps := []func(){
		func() {
			off, v := offsets[rng.IntN(len(offsets))], rng.Uint32()>>rng.IntN(32)
			step = fmt.Sprintf("a write of %#x to %#x", v, off)
			g.write(off, v)
		},
		func() {
			step = "opening the mask"
			g.openMask()
		},
		func() {
			step = "an acknowledgement"
			g.write(0xa0, g.read(0x30))
		},
		func() {
			step = "INIT and a command"
			g.c.awaitSettled()
			if g.state() == mfi.StateWaitHandshake {
				g.write(0x20, mfi.DoorbellClearHandshake)
				g.c.awaitSettled()
			}
			if g.state() == mfi.StateReady {
				g.initialize(16)
			}
			if g.state() == mfi.StateOperational && g.c.Function().BusMaster() {
				g.submit(frame)
				g.collect(1)
				g.idle()
			}
		},
		func() {
			step = "a reset by DIAG"
			for _, v := range unlockSequence {
				g.write(0xfc, v)
			}
			g.wantMirrored(m, "unlocking DIAG")
			g.write(0xf8, diagReset)
		},
		func() {
			step = "a reset of the function"
			g.resetFunction()
			g.place()
		},
		func() {
			step = "a fault"
			g.c.Faults().Fault(uint16(rng.Uint32())&0xfff, uint8(rng.Uint32()), rng.IntN(2) == 0)
		},
		func() {
			step = "changes of faults"
			g.c.Faults().LockDiagnostic(rng.IntN(2) == 0)
			g.c.Faults().StayInFault(time.Duration(rng.IntN(2)) * time.Microsecond)
			g.c.Faults().DropInterrupt(rng.IntN(2))
		},
		func() {
			step = "MSI"
			g.enableMSI()
		},
		func() {
			step = "another mirror"
			former := m
			if rng.IntN(2) == 0 {
				g.regs.(pci.Mirrored).Mirror(nil)
				g.write(0x34, rng.Uint32())
			}
			m = g.mirrored()
			was := former[0x30/8].Load()
			g.write(0x34, ^g.read(0x34))
			if former[0x30/8].Load() != was {
				t.Error("a former mirror has changed")
			}
		},
		func() {
			step = "its move to another controller"
			g.c.awaitSettled()
			was := [2]uint32{g.read(0x30), g.read(0x34)}
			g.move(cfg)
			g.c.p.Boot = boot
			m = g.mirrored()
			if now := [2]uint32{g.read(0x30), g.read(0x34)}; now != was {
				t.Errorf("status and mask are %#x, were %#x", now, was)
			}
		},
	}
	for range 400 {
		steps[rng.IntN(len(steps))]()
		g.wantMirrored(m, step)
	}
	g.c.awaitSettled()
	g.wantMirrored(m, "all")
}

// mirrorPin looks at a mirror whenever the controller drives its interrupts.
type mirrorPin struct {
	pci.Interrupt
	t *testing.T
	m *pci.Mirror
}

func (x mirrorPin) SetINTx(asserted bool) {
	if s := mirroredRegister(x.m, 0x30); asserted != (s != 0) {
		x.t.Errorf("the pin is driven to %v while the mirror has the status %#x", asserted, s)
	}
	x.Interrupt.SetINTx(asserted)
}

func (x mirrorPin) Signal(vector int) bool {
	if s := mirroredRegister(x.m, 0x30); s == 0 {
		x.t.Error("a message comes before the mirror has the status")
	}
	return x.Interrupt.Signal(vector)
}

// A handler that an interrupt has started finds in the mirror what the interrupt is
// about, and the acknowledgement is there before the guest goes on.
func TestMirrorIsAheadOfInterrupts(t *testing.T) {
	for name, enable := range map[string]func(*guest){"INTx": func(*guest) {}, "MSI": (*guest).enableMSI} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, nullDisk())
			enable(g)
			m := g.mirrored()
			g.initialize(16)
			g.write(0xa0, 0xffffffff)
			g.c.irq.mu.Lock()
			g.c.irq.pin = mirrorPin{g.c.irq.pin, t, m}
			g.c.irq.mu.Unlock()
			g.openMask()
			x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
			for range 20 {
				g.submit(x)
				g.collect(1)
				g.idle()
				if s := mirroredRegister(m, 0x30); s != g.c.p.layout.replyBit {
					t.Errorf("status %#x after a reply", s)
				}
				g.write(0xa0, g.c.p.layout.replyBit)
				if s := mirroredRegister(m, 0x30); s != 0 {
					t.Errorf("status %#x after its acknowledgement", s)
				}
			}
			g.c.Faults().Fault(1, 2, true)
			if s := mirroredRegister(m, 0x30); s != statusState {
				t.Errorf("status %#x in FAULT", s)
			}
		})
	}
}

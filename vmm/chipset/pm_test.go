package chipset_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/govmm/govmm/vmm/chipset"
)

// pmGuest is a PM with its ports and outputs.
type pmGuest struct {
	*chipset.PM
	block, gpe, apm chipset.Handler
	clock           *fakeClock
	sci             wire
	off             int
}

const s5 = 5

func newPM(acpi bool) *pmGuest {
	g := &pmGuest{clock: newClock()}
	g.PM = chipset.NewPM(chipset.PMConfig{
		Clock: g.clock, SCI: g.sci.set, S5: s5, PowerOff: func() { g.off++ }, ACPI: acpi,
	})
	g.block, g.gpe, g.apm = g.Block(), g.GPE0(), g.APM()
	return g
}

// Registers of the block.
const (
	pmStatus, pmEnable, pmControl, pmTimer = 0, 2, 4, 8
	powerButton                            = 1 << 8
)

func in16(h chipset.Handler, off uint64) uint16 {
	var p [2]byte
	h.Read(off, p[:])
	return binary.LittleEndian.Uint16(p[:])
}

func out16(h chipset.Handler, off uint64, v uint16) {
	h.Write(off, binary.LittleEndian.AppendUint16(nil, v))
}

func in32(h chipset.Handler, off uint64) uint32 {
	var p [4]byte
	h.Read(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func TestACPIMode(t *testing.T) {
	g := newPM(false)
	for _, tt := range []struct {
		command byte
		sciEn   uint16
	}{{chipset.ACPIEnable, 1}, {0x12, 1}, {chipset.ACPIDisable, 0}} {
		out(g.apm, 0, tt.command)
		if got := in16(g.block, pmControl); got != tt.sciEn || in(g.apm, 0) != tt.command {
			t.Errorf("command %#x: control is %#x, the port reads %#x", tt.command, got, in(g.apm, 0))
		}
	}
	out(g.apm, 1, 0x77)
	if in(g.apm, 1) != 0x77 || in16(g.block, pmControl) != 0 {
		t.Error("the scratch port does not hold its value, or is taken for a command")
	}
	g = newPM(true)
	out16(g.block, pmControl, 0)
	g.Reset()
	if in16(g.block, pmControl) != 1 {
		t.Error("not in ACPI mode after a reset")
	}
}

func TestPowerButton(t *testing.T) {
	g := newPM(true)
	out16(g.block, pmEnable, 0xFFFF)
	if got := in16(g.block, pmEnable); got != 0x0721 {
		t.Errorf("enable register is %#x, want 0x721", got)
	}
	out16(g.block, pmEnable, powerButton)
	g.PressPowerButton()
	if !g.sci.high() || in16(g.block, pmStatus) != powerButton {
		t.Error("no interrupt or no status")
	}
	out16(g.block, pmStatus, ^uint16(powerButton))
	if !g.sci.high() {
		t.Error("cleared by writing other bits")
	}
	out(g.block, pmStatus+1, powerButton>>8)
	if g.sci.high() || in16(g.block, pmStatus) != 0 {
		t.Error("not cleared by writing a one")
	}
	out16(g.block, pmEnable, 0)
	g.PressPowerButton()
	if g.sci.high() {
		t.Error("a disabled event interrupts")
	}
	out16(g.block, pmEnable, powerButton)
	if !g.sci.high() {
		t.Error("enabling a pending event does not interrupt")
	}
	out16(g.block, pmControl, 0)
	if g.sci.high() {
		t.Error("interrupts outside of ACPI mode")
	}
}

func TestPowerOff(t *testing.T) {
	g := newPM(true)
	for _, tt := range []struct {
		value uint16
		off   int
	}{
		{s5 << 10, 0}, {1 << 13, 0}, {3<<10 | 1<<13, 0}, {s5<<10 | 1<<13 | 1, 1},
	} {
		out16(g.block, pmControl, tt.value)
		if g.off != tt.off {
			t.Errorf("after %#x: %d requests, want %d", tt.value, g.off, tt.off)
		}
		if got := in16(g.block, pmControl); got != tt.value&^(1<<13) {
			t.Errorf("control reads %#x after %#x: SLP_EN must read 0", got, tt.value)
		}
	}
}

func TestPMTimer(t *testing.T) {
	g := newPM(true)
	if got := in32(g.block, pmTimer); got != 0 {
		t.Errorf("starts at %d", got)
	}
	for _, tt := range []struct {
		wait time.Duration
		want uint64
	}{
		{time.Microsecond, 3},
		{time.Second - time.Microsecond, 3579545},
		{24*time.Hour - time.Second, 24 * 3600 * 3579545},
		{50 * 365 * 24 * time.Hour, (50*365 + 1) * 24 * 3600 * 3579545},
	} {
		g.clock.Advance(tt.wait)
		if got := in32(g.block, pmTimer); got != uint32(tt.want) {
			t.Errorf("reads %d, want %d", got, uint32(tt.want))
		}
	}
	last := in32(g.block, pmTimer)
	for range 1000 { // monotonic at any pace
		g.clock.Advance(137 * time.Nanosecond)
		now := in32(g.block, pmTimer)
		if now-last > 1 {
			t.Fatalf("from %d to %d in 137 ns", last, now)
		}
		last = now
	}
	before := in32(g.block, pmTimer)
	g.Reset()
	if in32(g.block, pmTimer) != before {
		t.Error("a reset of the machine disturbs the timer")
	}
}

func TestPMTimerCarry(t *testing.T) {
	const carry = 600 * time.Second // 2^31 ticks are 599.9 s
	g := newPM(true)
	if g.clock.waiting() != 0 {
		t.Error("a timer runs that nobody asked for")
	}
	g.clock.Advance(carry)
	if in16(g.block, pmStatus)&1 == 0 || g.sci.high() {
		t.Error("no carry status, or an interrupt that is not enabled")
	}
	out16(g.block, pmStatus, 1)
	if in16(g.block, pmStatus)&1 != 0 {
		t.Error("the carry status was not cleared")
	}
	out16(g.block, pmEnable, 1)
	if g.clock.waiting() != 1 {
		t.Errorf("%d timers run, want 1", g.clock.waiting())
	}
	g.clock.Advance(carry)
	if !g.sci.high() || g.clock.waiting() != 0 {
		t.Error("no interrupt on the carry, or a timer runs on while it is pending")
	}
	out16(g.block, pmStatus, 1)
	if g.sci.high() || g.clock.waiting() != 1 {
		t.Error("the next carry is not waited for")
	}
	g.Close()
	if g.clock.waiting() != 0 {
		t.Error("a timer runs after Close")
	}
}

func TestGPE(t *testing.T) {
	g := newPM(true)
	g.RaiseGPE(9)
	if g.sci.high() || in16(g.gpe, 0) != 1<<9 {
		t.Error("a disabled event interrupts, or has no status")
	}
	out16(g.gpe, 2, 1<<9|1)
	if !g.sci.high() || in16(g.gpe, 2) != 0x201 {
		t.Error("an enabled event does not interrupt")
	}
	out(g.gpe, 1, 1<<1)
	if g.sci.high() || in16(g.gpe, 0) != 0 {
		t.Error("not cleared by writing a one")
	}
}

func TestPMOtherRegisters(t *testing.T) {
	g := newPM(true)
	g.block.Write(0x28, []byte{1, 2, 3, 4})
	if got := in32(g.block, 0x28); got != 0x04030201 {
		t.Errorf("GLBCTL is %#x", got)
	}
	g.block.Write(pmTimer, []byte{9, 9, 9, 9})
	g.block.Write(0x3C, []byte{9, 9, 9, 9})
	if in32(g.block, pmTimer) != 0 || in32(g.block, 0x3C) != 0 {
		t.Error("read-only registers were written")
	}
}

package chipset_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/vmm/chipset"
)

// play makes accesses from fuzz input: kind, offset and value, and a byte that
// becomes time. Offsets stay inside the size of each handler.
func play(input []byte, clock *fakeClock, handlers []chipset.Handler, sizes []uint64) {
	for ; len(input) >= 4; input = input[4:] {
		i := int(input[0]>>3) % len(handlers)
		n := min(uint64(1)<<(input[0]&1), sizes[i])
		off := uint64(input[1]) % (sizes[i] - n + 1)
		p := []byte{input[2], input[2] >> 1}[:n]
		if input[0]&2 != 0 {
			handlers[i].Write(off, p)
		} else {
			handlers[i].Read(off, p)
		}
		if clock != nil {
			clock.Advance(time.Duration(input[3]) * time.Duration(input[3]) * time.Millisecond)
		}
	}
}

func FuzzSerial(f *testing.F) {
	f.Add([]byte{2, 1, 0x0F, 0, 2, 4, 0x1B, 0, 2, 0, 'x', 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		var irq wire
		s := chipset.NewSerial(chipset.SerialConfig{Out: io.Discard, IRQ: irq.set})
		go s.Feed([]byte("some input that is longer than the FIFO"))
		play(input, nil, []chipset.Handler{s}, []uint64{8})
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		out(s, 3, 0) // not the divisor latch
		out(s, 1, 0)
		if irq.high() {
			t.Error("the line is high with all interrupts disabled")
		}
		if in(s, 1) != 0 || in(s, 2)&0x3F != 0x01 {
			t.Error("an interrupt is identified with all of them disabled")
		}
	})
}

func FuzzKeyboard(f *testing.F) {
	f.Add([]byte{8 | 2, 0, 0x60, 0, 2, 0, 0x47, 0, 2, 0, 0xFF, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		var irq1, irq12 wire
		k := chipset.NewKeyboard(chipset.KeyboardConfig{KeyboardIRQ: irq1.set, AuxIRQ: irq12.set})
		for len(input) >= 4 {
			play(input[:4], nil, []chipset.Handler{k.Data(), k.Command()}, []uint64{1, 1})
			k.Key(input[3]&0x7F, input[0]&4 != 0, input[3]&0x80 != 0)
			input = input[4:]
		}
		for n := 0; in(k.Command(), 0)&1 != 0; n++ {
			if n == 16 {
				t.Fatal("the controller keeps more than its buffer holds")
			}
			in(k.Data(), 0)
		}
		if irq1.high() || irq12.high() {
			t.Error("an interrupt with an empty buffer")
		}
	})
}

func FuzzRTC(f *testing.F) {
	f.Add([]byte{2, 0, 0x0B, 0, 2, 1, 0x72, 200, 2, 0, 0x0C, 9, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		g := newRTC()
		play(input, g.clock, []chipset.Handler{g}, []uint64{4})
		g.set(0x0B, 0x06)
		g.get(0x0C)
		if g.irq.high() || g.clock.waiting() != 0 {
			t.Error("interrupts go on though they are disabled")
		}
		got := g.fields()
		for i, limit := range [8][2]byte{{0, 59}, {0, 59}, {0, 23}, {1, 7}, {1, 31}, {1, 12}, {0, 99}, {0, 99}} {
			if got[i] < limit[0] || got[i] > limit[1] {
				t.Errorf("time field %d is %d", i, got[i])
			}
		}
	})
}

func FuzzPM(f *testing.F) {
	f.Add([]byte{3, 2, 1, 255, 2, 4, 1, 255, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, input []byte) {
		g := newPM(true)
		play(input, g.clock, []chipset.Handler{g.block, g.gpe, g.apm}, []uint64{64, 4, 2})
		out16(g.block, pmEnable, 0)
		out16(g.gpe, 2, 0)
		if g.sci.high() || g.clock.waiting() != 0 {
			t.Error("the SCI is high, or a timer runs, with all events disabled")
		}
	})
}

func FuzzPorts(f *testing.F) {
	f.Add([]byte{2, 0, 6, 0, 8 | 2, 0, 1, 0, 16 | 2, 0, 'x', 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		d := chipset.NewDebugPort(io.Discard)
		none := func() {}
		r, p := chipset.NewResetControl(none), chipset.NewPort92(none)
		play(input, nil, []chipset.Handler{r, p, d}, []uint64{1, 1, 1})
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if in(r, 0)&4 != 0 {
			t.Error("the reset bit reads back")
		}
	})
}

// TestConcurrentUse is for the race detector: vCPUs, timers and the outside
// world at once, on every device.
func TestConcurrentUse(t *testing.T) {
	var irq wire
	reset := func() {}
	s := chipset.NewSerial(chipset.SerialConfig{IRQ: irq.set, Out: io.Discard})
	k := chipset.NewKeyboard(chipset.KeyboardConfig{KeyboardIRQ: irq.set, Reset: reset})
	r := chipset.NewRTC(chipset.RTCConfig{IRQ: irq.set})
	m := chipset.NewPM(chipset.PMConfig{SCI: irq.set})
	handlers := []chipset.Handler{s, k.Data(), k.Command(), r, m.Block(), m.GPE0(), m.APM(),
		chipset.NewResetControl(reset), chipset.NewPort92(reset)}
	sizes := []uint64{8, 1, 1, 4, 64, 4, 2, 1, 1}
	var fed, used sync.WaitGroup
	fed.Go(func() {
		for s.Feed([]byte("input")) == nil {
		}
	})
	for vcpu := range byte(3) {
		used.Go(func() {
			for i := range 2000 {
				play([]byte{byte(i) ^ vcpu<<6, byte(i >> 3), byte(i >> 1), 0}, nil, handlers, sizes)
			}
		})
	}
	used.Go(func() {
		for range 20 {
			m.PressPowerButton()
			m.RaiseGPE(3)
			s.Reset()
			k.Reset()
			r.Reset()
			m.Reset()
		}
	})
	used.Wait()
	r.Close()
	m.Close()
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	fed.Wait()
}

package chipset_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/govmm/govmm/vmm/chipset"
)

// Registers of a 16550A.
const (
	rbr, thr, dll = 0, 0, 0
	ier, dlm      = 1, 1
	iir, fcr      = 2, 2
	lcr           = 3
	mcr           = 4
	lsr           = 5
	msr           = 6
	scr           = 7
)

func newSerial(t *testing.T, c chipset.SerialConfig) *chipset.Serial {
	s := chipset.NewSerial(c)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSerialResetState(t *testing.T) {
	s := newSerial(t, chipset.SerialConfig{})
	check := func(when string) {
		t.Helper()
		for reg, want := range []byte{0, 0, 0x01, 0, 0x08, 0x60, 0xB0, 0} {
			if got := in(s, uint64(reg)); got != want {
				t.Errorf("%s: register %d is %#x, want %#x", when, reg, got, want)
			}
		}
		out(s, lcr, 0x80)
		if got := in(s, dll); got != 12 || in(s, dlm) != 0 {
			t.Errorf("%s: divisor is %d", when, got)
		}
		out(s, lcr, 0)
	}
	check("new")
	for reg := range uint64(8) {
		out(s, reg, 0xFF)
	}
	s.Reset()
	check("after a reset")
}

// TestSerialAutoconfig is what Linux's 8250 driver does to find out what it has.
func TestSerialAutoconfig(t *testing.T) {
	s := newSerial(t, chipset.SerialConfig{})
	expect := func(what string, reg uint64, mask, want byte) {
		t.Helper()
		if got := in(s, reg) & mask; got != want {
			t.Errorf("%s: register %d is %#x, want %#x", what, reg, got, want)
		}
	}
	out(s, ier, 0)
	expect("interrupts off", ier, 0xFF, 0)
	out(s, ier, 0xFF)
	expect("only four interrupts", ier, 0xFF, 0x0F)
	out(s, ier, 0)
	out(s, mcr, 0x1A) // loopback, OUT2, RTS
	expect("loopback: DCD and CTS", msr, 0xF0, 0x90)
	out(s, mcr, 0x08)
	for _, mode := range []byte{0xBF, 0} { // the enhanced registers are at 2 with 0xBF
		out(s, lcr, mode)
		out(s, fcr, 0x01)
		expect("FIFO", iir, 0xC0, 0xC0)
	}
	out(s, lcr, 0xBF)
	if in(s, iir) == 0 {
		t.Error("looks like a 16650: register 2 is zero with LCR 0xBF")
	}
	for _, mode := range []byte{0, 0x80} { // a 16750 shows a 64-byte FIFO
		out(s, lcr, mode)
		out(s, fcr, 0x21)
		expect("no 64-byte FIFO", iir, 0xE0, 0xC0)
	}
	out(s, lcr, 0)
	out(s, ier, 0x40) // an XScale UART keeps this bit
	expect("not an XScale", ier, 0xFF, 0)
	out(s, scr, 0xA5)
	expect("scratch", scr, 0xFF, 0xA5)
	out(s, fcr, 0)
	expect("FIFO off", iir, 0xFF, 0x01)
	// Does the transmitter interrupt come when it is enabled, and again?
	for range 2 {
		out(s, ier, 0x02)
		expect("transmitter empty", iir, 0x0F, 0x02)
		expect("acknowledged", iir, 0x0F, 0x01)
		out(s, ier, 0)
	}
}

func TestSerialInterrupts(t *testing.T) {
	var irq wire
	s := newSerial(t, chipset.SerialConfig{IRQ: irq.set})
	out(s, fcr, 0x81) // trigger at 8
	out(s, mcr, 0x0B)
	out(s, ier, 0x07)
	if !irq.high() || in(s, iir) != 0xC2 || irq.high() {
		t.Error("no transmitter interrupt, or reading IIR does not end it")
	}
	out(s, thr, 'x')
	if irq.rose() != 2 || !irq.high() {
		t.Error("no new edge when the transmitter is empty again")
	}
	out(s, ier, 0x01)
	if irq.high() {
		t.Error("a disabled interrupt stays asserted")
	}
	if err := s.Feed([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if got := in(s, iir); got != 0xCC || !irq.high() {
		t.Errorf("one character: IIR is %#x, want the timeout", got)
	}
	if err := s.Feed([]byte("bcdefgh")); err != nil {
		t.Fatal(err)
	}
	if got := in(s, iir); got != 0xC4 {
		t.Errorf("eight characters: IIR is %#x, want received data", got)
	}
	out(s, mcr, 0x03)
	if irq.high() {
		t.Error("OUT2 does not gate the line")
	}
	out(s, mcr, 0x0B)
	for _, want := range []byte("abcdefgh") {
		if in(s, lsr)&1 == 0 || !irq.high() {
			t.Errorf("no data ready before %q", want)
		}
		if got := in(s, rbr); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	if irq.high() || in(s, lsr)&1 != 0 || in(s, rbr) != 0 {
		t.Error("an empty receiver still has data")
	}
}

func TestSerialPriorities(t *testing.T) {
	s := newSerial(t, chipset.SerialConfig{})
	out(s, ier, 0x0F)
	out(s, mcr, 0x10) // loopback: the modem lines drop
	out(s, thr, 1)
	out(s, thr, 2) // overrun: there is no FIFO
	for _, step := range []struct {
		id  byte
		ack uint64
	}{{6, lsr}, {4, rbr}, {2, iir}, {0, msr}, {1, iir}} {
		if step.id == 2 {
			if got := in(s, iir); got != 2 {
				t.Errorf("IIR is %#x, want 2", got)
			}
			continue
		}
		if got := in(s, iir); got != step.id {
			t.Errorf("IIR is %#x, want %#x", got, step.id)
		}
		in(s, step.ack)
	}
}

func TestSerialLoopback(t *testing.T) {
	var sent bytes.Buffer
	s := chipset.NewSerial(chipset.SerialConfig{Out: &sent})
	out(s, fcr, 0x01)
	out(s, mcr, 0x10)
	for i := range byte(17) {
		out(s, thr, i)
	}
	if got := in(s, lsr); got != 0x63 {
		t.Errorf("LSR is %#x, want data and overrun", got)
	}
	for i := range byte(16) {
		if got := in(s, rbr); got != i {
			t.Errorf("received %d, want %d", got, i)
		}
	}
	for _, tt := range []struct{ mcr, msr byte }{
		{0x10, 0x00}, {0x11, 0x22}, {0x10, 0x02}, {0x12, 0x11}, {0x14, 0x41}, {0x10, 0x04}, {0x18, 0x88},
	} {
		out(s, mcr, tt.mcr)
		if got := in(s, msr); got != tt.msr && tt.mcr != 0x10 || got&0xF0 != tt.msr&0xF0 {
			t.Errorf("MCR %#x: MSR is %#x, want %#x", tt.mcr, got, tt.msr)
		}
	}
	if err := s.Close(context.Background()); err != nil || sent.Len() != 0 {
		t.Errorf("sent %q in loopback, error %v", sent.Bytes(), err)
	}
}

// TestSerialInputIsNotLost feeds much more than the FIFO holds while the guest
// reads, with the FIFO and without.
func TestSerialInputIsNotLost(t *testing.T) {
	for _, fifo := range []byte{0, 1} {
		input := bytes.Repeat([]byte("0123456789abcdef!"), 100)
		ready := make(chan struct{}, 1)
		r, w := io.Pipe()
		s := newSerial(t, chipset.SerialConfig{
			In: r,
			IRQ: func(level bool) {
				select {
				case ready <- struct{}{}:
				default:
				}
			},
		})
		out(s, ier, 1)
		out(s, fcr, fifo)
		go w.Write(input)
		var got []byte
		for len(got) < len(input) {
			for in(s, lsr)&1 == 0 {
				<-ready
			}
			got = append(got, in(s, rbr))
		}
		if !bytes.Equal(got, input) {
			t.Errorf("FIFO %d: received %q", fifo, got)
		}
		if in(s, lsr)&2 != 0 {
			t.Error("an overrun is reported")
		}
		w.Close()
	}
}

func TestSerialOutputOrder(t *testing.T) {
	var want strings.Builder
	r, w := io.Pipe()
	s := chipset.NewSerial(chipset.SerialConfig{Out: w})
	var got []byte
	var wg sync.WaitGroup
	wg.Go(func() { got, _ = io.ReadAll(r) })
	for i := range 50000 {
		c := byte('a' + i%26)
		want.WriteByte(c)
		out(s, thr, c)
	}
	if err := s.Flush(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	w.Close()
	wg.Wait()
	if string(got) != want.String() {
		t.Errorf("%d bytes arrived, %d were sent, or in another order", len(got), want.Len())
	}
}

// blocked is a Writer that waits for a permission for every Write.
type blocked struct {
	permit chan struct{}
	got    bytes.Buffer
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.permit
	return b.got.Write(p)
}

func TestSerialSlowOutput(t *testing.T) {
	var irq wire
	w := &blocked{permit: make(chan struct{})}
	s := chipset.NewSerial(chipset.SerialConfig{Out: w, IRQ: irq.set})
	sent := 0
	for in(s, lsr)&0x20 != 0 { // as a driver does; a guest is never made to wait
		out(s, thr, byte(sent))
		sent++
	}
	out(s, ier, 2)
	if irq.high() {
		t.Error("the transmitter interrupts though it is busy")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush with a stuck output: %v", err)
	}
	close(w.permit)
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if got := w.got.Bytes(); len(got) != sent || sent > 1<<20 || got[sent-1] != byte(sent-1) {
		t.Errorf("%d of %d bytes arrived", len(got), sent)
	}
	if in(s, lsr)&0x60 != 0x60 || !irq.high() {
		t.Error("the transmitter did not become ready again")
	}
}

func TestSerialOutputError(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	s := chipset.NewSerial(chipset.SerialConfig{Out: w})
	for range 3 {
		out(s, thr, 'x')
		if err := s.Flush(context.Background()); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Flush: %v", err)
		}
	}
	if in(s, lsr)&0x60 != 0x60 {
		t.Error("the guest notices that nobody listens")
	}
	if err := s.Close(context.Background()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Close: %v", err)
	}
}

func TestSerialCloseEndsFeed(t *testing.T) {
	received := make(chan bool, 1)
	s := chipset.NewSerial(chipset.SerialConfig{IRQ: func(level bool) { received <- level }})
	out(s, ier, 1)
	result := make(chan error)
	go func() { result <- s.Feed(make([]byte, 100)) }()
	<-received // so Feed has begun, and there is no room for the rest
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Feed: %v", err)
	}
}

func TestSerialWideAccess(t *testing.T) {
	s := newSerial(t, chipset.SerialConfig{})
	s.Write(6, []byte{0, 0x12})
	p := make([]byte, 4)
	s.Read(4, p)
	if want := []byte{0x08, 0x60, 0xB0, 0x12}; !bytes.Equal(p, want) {
		t.Errorf("four registers read %x, want %x", p, want)
	}
}

func BenchmarkSerialTransmit(b *testing.B) {
	s := chipset.NewSerial(chipset.SerialConfig{Out: io.Discard})
	p := []byte{'x'}
	b.ReportAllocs()
	for b.Loop() {
		s.Read(lsr, p)
		s.Write(thr, p)
	}
}

package chipset_test

import (
	"slices"
	"testing"

	"github.com/govmm/govmm/vmm/chipset"
)

// keyboardGuest talks to a controller through its two ports.
type keyboardGuest struct {
	t             *testing.T
	data, command chipset.Handler
	irq1, irq12   wire
	resets        int
}

func newKeyboard(t *testing.T) (*keyboardGuest, *chipset.Keyboard) {
	g := &keyboardGuest{t: t}
	k := chipset.NewKeyboard(chipset.KeyboardConfig{
		KeyboardIRQ: g.irq1.set, AuxIRQ: g.irq12.set, Reset: func() { g.resets++ },
	})
	g.data, g.command = k.Data(), k.Command()
	return g, k
}

// drain reads what the controller has to say, and the statuses before each byte.
func (g *keyboardGuest) drain() (bytes, status []byte) {
	for {
		s := in(g.command, 0)
		if s&1 == 0 {
			return bytes, status
		}
		status = append(status, s)
		bytes = append(bytes, in(g.data, 0))
	}
}

// expect sends a command with parameters and checks the answer.
func (g *keyboardGuest) expect(what string, command byte, parameters, want []byte) {
	g.t.Helper()
	out(g.command, 0, command)
	for _, p := range parameters {
		out(g.data, 0, p)
	}
	if got, _ := g.drain(); !slices.Equal(got, want) {
		g.t.Errorf("%s: %x, want %x", what, got, want)
	}
}

// TestKeyboardController is how Linux's i8042 driver looks for a controller and
// its ports.
func TestKeyboardController(t *testing.T) {
	g, _ := newKeyboard(t)
	if got := in(g.command, 0); got != 0x14 {
		t.Errorf("status is %#x, want unlocked and system", got)
	}
	g.expect("self test", 0xAA, nil, []byte{0x55})
	g.expect("command byte", 0x20, nil, []byte{0x45})
	g.expect("write command byte", 0x60, []byte{0x74}, nil)
	g.expect("command byte", 0x20, nil, []byte{0x74})
	g.expect("aux loop", 0xD3, []byte{0x5A}, []byte{0x5A})
	g.expect("aux test", 0xA9, nil, []byte{0})
	g.expect("keyboard test", 0xAB, nil, []byte{0})
	g.expect("disable aux", 0xA7, nil, nil)
	g.expect("command byte", 0x20, nil, []byte{0x74})
	g.expect("enable aux", 0xA8, nil, nil)
	g.expect("command byte", 0x20, nil, []byte{0x54})
	g.expect("enable keyboard", 0xAE, nil, nil)
	g.expect("command byte", 0x20, nil, []byte{0x44})
	g.expect("disable keyboard", 0xAD, nil, nil)
	g.expect("command byte", 0x20, nil, []byte{0x54})
	for _, p := range []byte{0xF0, 0x56, 0xA4} { // an active multiplexer answers otherwise
		g.expect("multiplexer", 0xD3, []byte{p}, []byte{p})
	}
	g.expect("input port", 0xC0, nil, []byte{0x80})
	g.expect("output port", 0xD0, nil, []byte{0x03})
	g.expect("A20 off", 0xD1, []byte{0x01}, nil)
	g.expect("output port", 0xD0, nil, []byte{0x01})
	g.expect("unknown", 0x99, nil, nil)

	out(g.command, 0, 0xD4)
	out(g.data, 0, 0xFF)
	bytes, status := g.drain()
	if !slices.Equal(bytes, []byte{0xFE}) || status[0]&0x61 != 0x61 {
		t.Errorf("a mouse that is not there says %x with status %x", bytes, status)
	}
	if g.resets != 0 {
		t.Error("the machine was reset")
	}
}

func TestKeyboardDevice(t *testing.T) {
	for _, tt := range []struct {
		name    string
		control byte
		send    []byte
		want    []byte
	}{
		{"reset", 0x44, []byte{0xFF}, []byte{0xFA, 0xAA}},
		{"identify", 0x04, []byte{0xF2}, []byte{0xFA, 0xAB, 0x83}},
		{"identify, translated", 0x44, []byte{0xF2}, []byte{0xFA, 0xAB, 0x41}},
		{"LEDs", 0x44, []byte{0xED, 0x02}, []byte{0xFA, 0xFA}},
		{"rate", 0x44, []byte{0xF3, 0x00}, []byte{0xFA, 0xFA}},
		{"scan set", 0x44, []byte{0xF0, 0x00}, []byte{0xFA, 0xFA, 0x02}},
		{"change scan set", 0x44, []byte{0xF0, 0x03, 0xF0, 0x00}, []byte{0xFA, 0xFA, 0xFA, 0xFA, 0x03}},
		{"no such scan set", 0x44, []byte{0xF0, 0x07}, []byte{0xFA, 0xFE}},
		{"defaults", 0x44, []byte{0xF0, 0x01, 0xF6, 0xF0, 0x00}, []byte{0xFA, 0xFA, 0xFA, 0xFA, 0xFA, 0x02}},
		{"echo", 0x44, []byte{0xEE}, []byte{0xEE}},
		{"enable", 0x44, []byte{0xF4, 0xF5}, []byte{0xFA, 0xFA}},
		{"unknown", 0x44, []byte{0x01}, []byte{0xFE}},
	} {
		g, _ := newKeyboard(t)
		g.expect(tt.name, 0x60, []byte{tt.control}, nil)
		for _, v := range tt.send {
			out(g.data, 0, v)
		}
		got, status := g.drain()
		if !slices.Equal(got, tt.want) || status[0]&0x21 != 0x01 {
			t.Errorf("%s: %x with status %x, want %x", tt.name, got, status, tt.want)
		}
	}
}

func TestKeyboardInterrupts(t *testing.T) {
	g, k := newKeyboard(t)
	g.expect("enable both", 0x60, []byte{0x47}, nil)
	out(g.data, 0, 0xFF)
	if !g.irq1.high() || g.irq12.high() {
		t.Error("the keyboard's answer does not raise IRQ 1 alone")
	}
	in(g.data, 0)
	if !g.irq1.high() || g.irq1.rose() != 2 {
		t.Error("the second byte gives no edge of its own")
	}
	in(g.data, 0)
	if g.irq1.high() || in(g.data, 0) != 0 {
		t.Error("an empty buffer interrupts or has data")
	}
	out(g.command, 0, 0xD3)
	out(g.data, 0, 0xA5)
	if !g.irq12.high() || g.irq1.high() {
		t.Error("a byte looped to the auxiliary port does not raise IRQ 12 alone")
	}
	g.expect("disable both", 0x60, []byte{0x44}, []byte{0xA5})
	out(g.command, 0, 0xD2)
	out(g.data, 0, 0x1E)
	if g.irq1.high() {
		t.Error("a disabled interrupt is asserted")
	}
	k.Reset()
	if in(g.command, 0)&1 != 0 {
		t.Error("the buffer survived a reset")
	}
	for range 100 { // nobody reads
		out(g.command, 0, 0xAA)
	}
	if got, _ := g.drain(); len(got) > 16 {
		t.Errorf("%d bytes were kept", len(got))
	}
}

func TestKeyboardReset(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command byte
		data    []byte
		want    int
	}{
		{"pulse", 0xFE, nil, 1},
		{"pulse with others", 0xF0, nil, 1},
		{"pulse of nothing", 0xFF, nil, 0},
		{"output port", 0xD1, []byte{0x02}, 1},
		{"output port without", 0xD1, []byte{0x03}, 0},
	} {
		g, _ := newKeyboard(t)
		out(g.command, 0, tt.command)
		for _, v := range tt.data {
			out(g.data, 0, v)
		}
		if g.resets != tt.want {
			t.Errorf("%s: %d resets, want %d", tt.name, g.resets, tt.want)
		}
	}
}

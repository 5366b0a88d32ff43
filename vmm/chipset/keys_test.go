package chipset_test

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	const right, a = 0x4D, 0x1E
	for _, test := range []struct {
		name         string
		control, set byte
		code         uint8
		extended, up bool
		want         []byte
	}{
		{"translated", 0x45, 0, a, false, false, []byte{0x1E}},
		{"translated, up", 0x45, 0, a, false, true, []byte{0x9E}},
		{"translated, extended", 0x45, 0, right, true, true, []byte{0xE0, 0xCD}},
		{"set 2", 0x05, 0, a, false, false, []byte{0x1C}},
		{"set 2, up", 0x05, 0, a, false, true, []byte{0xF0, 0x1C}},
		{"set 2, extended, up", 0x05, 0, right, true, true, []byte{0xE0, 0xF0, 0x74}},
		{"set 1", 0x05, 1, a, false, true, []byte{0x9E}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, k := newKeyboard(t)
			out(g.command, 0, 0x60)
			out(g.data, 0, test.control)
			if test.set != 0 {
				out(g.data, 0, 0xF0)
				out(g.data, 0, test.set)
			}
			g.drain()
			if !k.Key(test.code, test.extended, test.up) {
				t.Fatal("no room")
			}
			if !g.irq1.high() {
				t.Error("no interrupt")
			}
			if got, _ := g.drain(); !slices.Equal(got, test.want) {
				t.Errorf("% x, want % x", got, test.want)
			}
		})
	}
}

// A key waits while the guest does not read, is held back while the guest holds
// the keyboard's clock, and is lost on a keyboard that was told not to scan.
func TestKeysThatMustWait(t *testing.T) {
	g, k := newKeyboard(t)
	n := 0
	for k.Key(0x1E, false, n%2 == 1) {
		n++
	}
	if got, _ := g.drain(); len(got) != n || n < 4 {
		t.Errorf("%d keys were accepted, %d arrived", n, len(got))
	}
	if !k.Key(0x1E, false, false) {
		t.Error("there is still no room")
	}
	g.drain()
	out(g.command, 0, 0xAD)
	if k.Key(0x1E, false, false) {
		t.Error("a key came through while the interface is disabled")
	}
	out(g.command, 0, 0xAE)
	out(g.data, 0, 0xF5)
	g.drain()
	if !k.Key(0x1E, false, false) {
		t.Error("a keyboard that does not scan wants a key again")
	}
	if got, _ := g.drain(); len(got) != 0 {
		t.Errorf("a keyboard that does not scan says % x", got)
	}
	out(g.data, 0, 0xF4)
	g.drain()
	if k.Key(0x1E, false, false); !g.irq1.high() {
		t.Error("a keyboard that scans again says nothing")
	}
}

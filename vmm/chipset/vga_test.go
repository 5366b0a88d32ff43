package chipset_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/govmm/govmm/internal/textscreen"
	"github.com/govmm/govmm/vmm/chipset"
)

// videoMemory is what lies behind the window of an adapter.
type videoMemory [128 << 10]byte

func (m *videoMemory) ReadAt(p []byte, addr uint64) error {
	if addr < 0xA0000 || addr+uint64(len(p)) > 0xC0000 {
		return fmt.Errorf("%d bytes at %#x are not in the window", len(p), addr)
	}
	copy(p, m[addr-0xA0000:])
	return nil
}

// put writes text with an attribute, as a program does.
func (m *videoMemory) put(addr int, attr byte, text string) {
	for i := range len(text) {
		m[addr-0xA0000+2*i], m[addr-0xA0000+2*i+1] = text[i], attr
	}
}

// vgaGuest talks to an adapter by port numbers.
type vgaGuest struct {
	vga *chipset.VGA
	mem *videoMemory
}

func newVGA() *vgaGuest {
	mem := new(videoMemory)
	return &vgaGuest{chipset.NewVGA(mem), mem}
}

func (g *vgaGuest) in(port uint64) byte     { return in(g.vga, port-chipset.VGABase) }
func (g *vgaGuest) out(port uint64, b byte) { out(g.vga, port-chipset.VGABase, b) }

// set writes an indexed register by one access to both ports, as programs do.
func (g *vgaGuest) set(port uint64, index, value byte) {
	g.vga.Write(port-chipset.VGABase, []byte{index, value})
}

func (g *vgaGuest) get(port uint64, index byte) byte {
	g.out(port, index)
	return g.in(port + 1)
}

func (g *vgaGuest) setAttribute(index, value byte) {
	g.in(0x3DA)
	g.out(0x3C0, index)
	g.out(0x3C0, value)
}

// mode3 is the usual mode of 80 columns and 25 lines.
func (g *vgaGuest) mode3() {
	g.out(0x3C2, 0x67)
	g.set(0x3CE, 6, 0x0E)
	g.setAttribute(0x10, 0x0C)
	g.set(0x3D4, 0x11, 0x0E)
	for i, v := range []byte{0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28} {
		g.set(0x3D4, byte(i), v)
	}
}

func (g *vgaGuest) screen() *textscreen.Screen {
	var s textscreen.Screen
	g.vga.Screen(&s)
	return &s
}

// line is the characters of a line of the screen.
func line(s *textscreen.Screen, row int) string {
	var chars []byte
	for column := range s.Columns {
		chars = append(chars, max(s.Cells[2*(row*s.Columns+column)], ' '))
	}
	return string(chars)
}

func TestVGARegisters(t *testing.T) {
	g := newVGA()
	g.mode3()
	for _, r := range []struct {
		port        uint64
		index, want byte
	}{{0x3CE, 6, 0x0E}, {0x3CE, 8, 0xA5}, {0x3C4, 2, 0x0A}, {0x3D4, 0x0C, 0xA5}} {
		if r.want != 0x0E {
			g.set(r.port, r.index, 0xA5|r.want&0x0A)
		}
		want := r.want
		if r.port == 0x3C4 {
			want = (0xA5 | 0x0A) & 0x0F
		}
		if got := g.get(r.port, r.index); got != want {
			t.Errorf("register %#x of port %#x: %#x, want %#x", r.index, r.port, got, want)
		}
	}
	g.in(0x3DA)
	g.out(0x3C0, 0x30) // bit 5 is the screen's, the index is 0x10
	if got := g.in(0x3C1); got != 0x0C {
		t.Errorf("attribute mode %#x, want 0x0c", got)
	}
	if a, b := g.in(0x3DA)&0x09, g.in(0x3DA)&0x09; a^b != 0x09 {
		t.Errorf("input status 1 is %#x and %#x: a program that waits for the retrace hangs", a, b)
	}
	if got := g.in(0x3B5); got != 0xFF {
		t.Errorf("the monochrome port answers %#x in a colour mode", got)
	}
	g.out(0x3C2, 0x66)
	if got := g.get(0x3B4, 1); got != 0x4F {
		t.Errorf("the monochrome port answers %#x in a monochrome mode, want 0x4f", got)
	}
	if got := g.in(0x3D5); got != 0xFF {
		t.Errorf("the colour port answers %#x in a monochrome mode", got)
	}
}

func TestVGAProtectsItsTiming(t *testing.T) {
	g := newVGA()
	g.mode3() // sets the protection
	g.set(0x3D4, 0x01, 0x27)
	g.set(0x3D4, 0x07, 0x00)
	if got := g.get(0x3D4, 1); got != 0x4F {
		t.Errorf("a protected register became %#x", got)
	}
	if got := g.get(0x3D4, 7); got != 0x0F {
		t.Errorf("the overflow register became %#x, want only bit 4 changed", got)
	}
}

func TestVGAPalette(t *testing.T) {
	g := newVGA()
	g.out(0x3C8, 0xFF)
	for _, c := range []byte{1, 2, 0xFF, 4, 5, 6} { // the last colour, then the first
		g.out(0x3C9, c)
	}
	g.out(0x3C7, 0xFF)
	var got []byte
	for range 6 {
		got = append(got, g.in(0x3C9))
	}
	if want := []byte{1, 2, 0x3F, 4, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("palette %v, want %v", got, want)
	}
}

func TestVGAScreen(t *testing.T) {
	g := newVGA()
	if s := g.screen(); s.Mode != textscreen.Off {
		t.Errorf("before a mode is set: mode %d", s.Mode)
	}
	g.mode3()
	g.mem.put(0xB8000, 0x1E, "first")
	g.mem.put(0xB8000+24*160, 0x07, "last")
	g.set(0x3D4, 0x0F, 85)
	s := g.screen()
	if s.Mode != textscreen.Text || s.Columns != 80 || s.Rows != 25 || len(s.Cells) != 4000 {
		t.Fatalf("mode %d, %d columns, %d lines, %d bytes", s.Mode, s.Columns, s.Rows, len(s.Cells))
	}
	if got := line(s, 0)[:6]; got != "first " || s.Cells[1] != 0x1E {
		t.Errorf("first line %q, attribute %#x", got, s.Cells[1])
	}
	if got := line(s, 24)[:5]; got != "last " {
		t.Errorf("last line %q", got)
	}
	if s.Cursor != 85 || !s.Blink {
		t.Errorf("cursor at %d, blinking %v", s.Cursor, s.Blink)
	}
	g.set(0x3D4, 0x0D, 80) // scrolled by a line
	s = g.screen()
	if s.Cursor != 5 || line(s, 23)[:4] != "last" {
		t.Errorf("scrolled: cursor at %d, %q", s.Cursor, line(s, 23))
	}
	g.set(0x3D4, 0x0C, 0x3F) // the screen begins near the end of the window
	g.set(0x3D4, 0x0D, 0xFE)
	if got := line(g.screen(), 0)[:8]; got != "  first " {
		t.Errorf("around the end of the window: %q", got)
	}
	g.set(0x3D4, 0x0A, 0x2D)
	if s := g.screen(); s.Cursor != -1 {
		t.Errorf("a cursor that is off is at %d", s.Cursor)
	}
	g.set(0x3CE, 6, 0x05)
	if s := g.screen(); s.Mode != textscreen.Graphics {
		t.Errorf("graphics: mode %d", s.Mode)
	}
	g.vga.Reset()
	if s := g.screen(); s.Mode != textscreen.Off {
		t.Errorf("after a reset: mode %d", s.Mode)
	}
}

func FuzzVGA(f *testing.F) {
	f.Add([]byte{3, 0x24, 0x12, 1, 3, 0x1E, 0x0E, 0, 1, 0x2A, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		g := newVGA()
		g.mode3()
		play(input, nil, []chipset.Handler{g.vga}, []uint64{chipset.VGASize})
		s := g.screen()
		if len(s.Cells) != 2*s.Rows*s.Columns || s.Columns > textscreen.MaxColumns || s.Rows > textscreen.MaxRows {
			t.Fatalf("%d columns, %d lines, %d bytes", s.Columns, s.Rows, len(s.Cells))
		}
		if s.Cursor < -1 || s.Cursor >= s.Rows*s.Columns && s.Cursor != -1 {
			t.Fatalf("cursor at %d of %d", s.Cursor, s.Rows*s.Columns)
		}
		var r textscreen.Renderer
		r.Draw(nil, s)
	})
}

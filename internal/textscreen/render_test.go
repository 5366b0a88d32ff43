package textscreen

import (
	"math/rand/v2"
	"testing"
)

func TestRenderer(t *testing.T) {
	const start = "\x1b[?7l\x1b[0m\x1b[2J\x1b[H\x1b[?25l"
	hello := text(7, 0x07, "hello", "", "box \xC9\xCD\xBB")
	cursor := text(7, 0x07, "hello", "", "box \xC9\xCD\xBB")
	cursor.Cursor = 2*7 + 3
	colours := text(4, 0x1E, "menu", "")
	bright := text(4, 0x9C, "warn")
	blinking := text(4, 0x9C, "warn")
	blinking.Blink = true
	for _, test := range []struct {
		name    string
		screens []*Screen
		want    string // of the last
	}{
		{"only what is not blank", []*Screen{hello}, start + "\x1b[0mhello\x1b[3;1Hbox\x1b[3;5H╔═╗"},
		{"nothing new", []*Screen{hello, hello}, ""},
		{"a word in the middle", []*Screen{hello, text(7, 0x07, "help!", "", "box \xC9\xCD\xBB")}, "\x1b[1;4Hp!"},
		{"the cursor appears", []*Screen{hello, cursor}, "\x1b[3;4H\x1b[?25h"},
		{"the cursor goes", []*Screen{cursor, hello}, "\x1b[?25l"},
		{"colours", []*Screen{colours}, start + "\x1b[0;93;44mmenu\x1b[2;1H    "},
		{"a bright background", []*Screen{bright}, start + "\x1b[0;91;104mwarn"},
		{"blinking", []*Screen{blinking}, start + "\x1b[0;91;44;5mwarn"},
		{"graphics", []*Screen{hello, {Mode: Graphics}}, start + graphicsNote},
		{"graphics, still", []*Screen{{Mode: Graphics}, {Mode: Graphics}}, ""},
		{"off", []*Screen{{}}, start},
		{"text again", []*Screen{{Mode: Graphics}, text(2, 0x07, "ok")}, start + "\x1b[0mok"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r Renderer
			var got []byte
			for _, s := range test.screens {
				got = r.Draw(nil, s)
			}
			if string(got) != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// Whatever was on the screen before, the terminal shows what is there now.
func TestTerminalShowsTheScreen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const rows, columns = 50, 132
	term := newTerminal(rows+1, columns+1)
	var r Renderer
	s := &Screen{Mode: Text}
	for range 300 {
		if random.IntN(10) == 0 {
			s = &Screen{Mode: Text, Columns: 1 + random.IntN(columns), Rows: 1 + random.IntN(rows), Blink: random.IntN(2) == 0}
			s.Cells = make([]byte, 2*s.Columns*s.Rows)
			term = newTerminal(rows+1, columns+1)
			r = Renderer{}
		}
		for range random.IntN(30) {
			if len(s.Cells) > 0 {
				s.Cells[random.IntN(len(s.Cells))] = byte(random.Uint32())
			}
		}
		s.Cursor = random.IntN(s.Rows*s.Columns+1) - 1
		if s.Columns == 0 {
			s.Cursor = -1
		}
		term.write(t, r.Draw(nil, s))
		term.shows(t, s)
	}
	term.write(t, r.End(nil))
	if !term.cursor || !term.wraps || term.style != "" || term.column != 0 || term.row != s.Rows {
		t.Errorf("the terminal is left with cursor %v, wrapping %v, style %q, at line %d, column %d", term.cursor, term.wraps, term.style, term.row, term.column)
	}
}

// A picture that does not change costs nothing, a character few bytes and no
// memory.
func TestDrawingIsCheap(t *testing.T) {
	var r Renderer
	s := text(80, 0x07, make([]string, 25)...)
	buf := r.Draw(nil, s)
	at := 0
	if n := testing.AllocsPerRun(100, func() {
		s.Cells[at%len(s.Cells)] ^= 1
		at += 2
		buf = r.Draw(buf[:0], s)
	}); n != 0 {
		t.Errorf("%v allocations for a character", n)
	}
	if len(buf) > 40 {
		t.Errorf("%d bytes for a character: %q", len(buf), buf)
	}
}

func TestCodePage(t *testing.T) {
	seen := map[rune]int{}
	for c, r := range codePage437() {
		if before, ok := seen[r]; ok && r != ' ' {
			t.Errorf("%q is both %#x and %#x", r, before, c)
		}
		seen[r] = c
		if c >= ' ' && c < 0x7F && r != rune(c) {
			t.Errorf("%#x is %q", c, r)
		}
	}
	for c, want := range map[int]rune{0x01: '☺', 0x80: 'Ç', 0x9B: '¢', 0xB0: '░', 0xC4: '─', 0xDB: '█', 0xE1: 'ß', 0xF1: '±', 0xFE: '■'} {
		if codePage437()[c] != want {
			t.Errorf("%#x is %q, want %q", c, codePage437()[c], want)
		}
	}
}

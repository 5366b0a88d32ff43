package textscreen

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// terminal is the part of a terminal that a Renderer uses.
type terminal struct {
	rows, columns int
	cells         []cell
	row, column   int
	style         string // the parameters that are in force
	cursor, wraps bool
}

type cell struct {
	char  rune
	style string
}

func newTerminal(rows, columns int) *terminal {
	t := &terminal{rows: rows, columns: columns, cells: make([]cell, rows*columns), cursor: true, wraps: true}
	for i := range t.cells {
		t.cells[i] = cell{'?', "what was there before"}
	}
	return t
}

// write obeys output, and fails the test on what it doesn't know.
func (t *terminal) write(tb testing.TB, p []byte) {
	tb.Helper()
	for len(p) > 0 {
		if rest, ok := strings.CutPrefix(string(p), "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' })
			if end < 0 {
				tb.Fatalf("unfinished sequence %q", p)
			}
			t.sequence(tb, rest[:end], rest[end])
			p = p[2+end+1:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		p = p[n:]
		switch {
		case r == '\r':
			t.column = 0
		case r == '\n':
			t.row++
		case r < ' ' || r == 0x7F || r == utf8.RuneError:
			tb.Fatalf("character %q on the terminal", r)
		case t.row >= t.rows || t.column >= t.columns:
			tb.Fatalf("%q written at line %d, column %d", r, t.row, t.column)
		default:
			t.cells[t.row*t.columns+t.column] = cell{r, t.style}
			t.column++
		}
	}
}

func (t *terminal) sequence(tb testing.TB, parameters string, final byte) {
	tb.Helper()
	switch {
	case final == 'm':
		_, t.style, _ = strings.Cut(parameters, "0") // each begins with 0
	case final == 'H' && parameters == "":
		t.row, t.column = 0, 0
	case final == 'H':
		row, column, _ := strings.Cut(parameters, ";")
		t.row, t.column = number(tb, row)-1, number(tb, column)-1
	case final == 'J' && parameters == "2":
		for i := range t.cells {
			t.cells[i] = cell{' ', t.style}
		}
	case parameters == "?25":
		t.cursor = final == 'h'
	case parameters == "?7":
		t.wraps = final == 'h'
	default:
		tb.Fatalf("sequence ESC [ %s %c", parameters, final)
	}
}

func number(tb testing.TB, s string) int {
	tb.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// shows fails the test unless the terminal shows a text screen.
func (t *terminal) shows(tb testing.TB, s *Screen) {
	tb.Helper()
	for i := range s.Rows * s.Columns {
		row, column := i/s.Columns, i%s.Columns
		want := cell{codePage437()[s.Cells[2*i]], styleOf(s.Cells[2*i+1], s.Blink)}
		if got := t.cells[row*t.columns+column]; got != want {
			tb.Fatalf("line %d, column %d shows %q in %q, want %q in %q", row, column, got.char, got.style, want.char, want.style)
		}
	}
	if t.cursor != (s.Cursor >= 0) || t.cursor && (t.row != s.Cursor/s.Columns || t.column != s.Cursor%s.Columns) {
		tb.Fatalf("cursor %v at line %d, column %d, want it at cell %d", t.cursor, t.row, t.column, s.Cursor)
	}
}

// styleOf is an attribute in words of ECMA-48, from the tables of a PC.
func styleOf(attr byte, blink bool) string {
	colours := []string{"0", "4", "2", "6", "1", "5", "3", "7"}
	var style string
	switch {
	case attr&0x08 != 0:
		style += ";9" + colours[attr&7]
	case attr&7 != 7:
		style += ";3" + colours[attr&7]
	}
	switch bg := colours[attr>>4&7]; {
	case attr&0x80 != 0 && !blink:
		style += ";10" + bg
	case bg != "0":
		style += ";4" + bg
	}
	if attr&0x80 != 0 && blink {
		style += ";5"
	}
	return style
}

// text makes a screen of lines of one attribute.
func text(columns int, attr byte, lines ...string) *Screen {
	s := &Screen{Mode: Text, Columns: columns, Rows: len(lines), Cursor: -1}
	for _, line := range lines {
		for _, c := range []byte(fmt.Sprintf("%-*s", columns, line)) {
			s.Cells = append(s.Cells, c, attr)
		}
	}
	return s
}

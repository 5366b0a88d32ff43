package textscreen

import (
	"strconv"
	"unicode/utf8"
)

// graphicsNote is shown instead of a picture.
const graphicsNote = "(a graphics screen, which a terminal can't show)"

// Renderer draws one screen after the other on a terminal. The zero value is
// ready.
type Renderer struct {
	shown  Screen // what the terminal shows
	drawn  bool   // anything has been drawn
	attr   int    // of what is written next, -1 if not known
	column int    // where the terminal writes next, -1 if not known
	row    int
	cursor bool // the terminal shows its cursor
}

// Draw appends to dst what makes the terminal show s.
func (r *Renderer) Draw(dst []byte, s *Screen) []byte {
	if !r.drawn || r.shown.Mode != s.Mode || r.shown.Columns != s.Columns || r.shown.Rows != s.Rows || r.shown.Blink != s.Blink {
		return r.redraw(dst, s)
	}
	if s.Mode != Text {
		return dst
	}
	return r.drawText(dst, s)
}

// redraw starts on an empty terminal.
func (r *Renderer) redraw(dst []byte, s *Screen) []byte {
	const (
		resetColours, clear, home = "\x1b[0m", "\x1b[2J", "\x1b[H"
		noWrap                    = "\x1b[?7l"
	)
	dst = append(dst, noWrap+resetColours+clear+home...)
	r.drawn = true
	r.attr, r.row, r.column = -1, 0, 0
	dst = r.showCursor(dst, false, true)
	cells := r.shown.Cells
	r.shown = Screen{Mode: s.Mode, Columns: s.Columns, Rows: s.Rows, Blink: s.Blink, Cursor: -1}
	switch s.Mode {
	case Graphics:
		r.column = -1
		return append(dst, graphicsNote...)
	case Off:
		return dst
	}
	// Empty cells differ from any that s has, so that all are drawn but blank
	// ones.
	r.shown.Cells = append(cells[:0], s.Cells...)
	for i := 0; i+1 < len(s.Cells); i += 2 {
		r.shown.Cells[i], r.shown.Cells[i+1] = ' ', blank
	}
	return r.drawText(dst, s)
}

// blank is the attribute of a cell on a terminal that was cleared.
const blank = 0x07

func (r *Renderer) drawText(dst []byte, s *Screen) []byte {
	characters := codePage437()
	for i := 0; i+1 < len(s.Cells); i += 2 {
		if s.Cells[i] == r.shown.Cells[i] && s.Cells[i+1] == r.shown.Cells[i+1] {
			continue
		}
		dst = r.showCursor(dst, false, false)
		dst = r.move(dst, i/2/s.Columns, i/2%s.Columns)
		dst = r.colour(dst, s.Cells[i+1], s.Blink)
		dst = utf8.AppendRune(dst, characters[s.Cells[i]])
		if r.column++; r.column == s.Columns {
			r.column = -1 // terminals differ in where that is
		}
	}
	if s.Cursor >= 0 {
		dst = r.move(dst, s.Cursor/s.Columns, s.Cursor%s.Columns)
	}
	dst = r.showCursor(dst, s.Cursor >= 0, false)
	r.shown.clone(s)
	return dst
}

// move puts the place of writing to a cell.
func (r *Renderer) move(dst []byte, row, column int) []byte {
	if r.row == row && r.column == column {
		return dst
	}
	r.row, r.column = row, column
	dst = append(dst, "\x1b["...)
	dst = strconv.AppendInt(dst, int64(row)+1, 10)
	dst = append(dst, ';')
	dst = strconv.AppendInt(dst, int64(column)+1, 10)
	return append(dst, 'H')
}

// ansi is the number of a colour in escape sequences: a PC has red where they have
// blue.
var ansi = [8]int64{0, 4, 2, 6, 1, 5, 3, 7}

// colour sets the attribute of what is written next. Only what everything on the
// terminal has anyway is left out.
func (r *Renderer) colour(dst []byte, attr byte, blink bool) []byte {
	if r.attr == int(attr) {
		return dst
	}
	r.attr = int(attr)
	const (
		foreground, brightForeground = 30, 90
		background, brightBackground = 40, 100
	)
	dst = append(dst, "\x1b[0"...)
	put := func(n int64) { dst = strconv.AppendInt(append(dst, ';'), n, 10) }
	switch fg := attr & attrForeground; {
	case fg&attrBright != 0:
		put(brightForeground + ansi[fg&7])
	case fg != blank:
		put(foreground + ansi[fg])
	}
	bg := attr & attrBackground >> 4
	switch {
	case attr&attrHigh != 0 && !blink:
		put(brightBackground + ansi[bg])
	case bg != 0:
		put(background + ansi[bg])
	}
	if attr&attrHigh != 0 && blink {
		put(5)
	}
	return append(dst, 'm')
}

// showCursor shows or hides the cursor, if that is not so already or not known.
func (r *Renderer) showCursor(dst []byte, show, force bool) []byte {
	if r.cursor == show && !force {
		return dst
	}
	r.cursor = show
	if show {
		return append(dst, "\x1b[?25h"...)
	}
	return append(dst, "\x1b[?25l"...)
}

// End appends what leaves the terminal as it is usual, with the last screen on it
// and the cursor below.
func (r *Renderer) End(dst []byte) []byte {
	if !r.drawn {
		return dst
	}
	dst = r.move(dst, max(r.shown.Rows, 1)-1, 0)
	dst = append(dst, "\x1b[0m\x1b[?7h\x1b[?25h\r\n"...)
	*r = Renderer{}
	return dst
}

package chipset

import "github.com/govmm/govmm/internal/textscreen"

// window is where the memory is seen, and how much of it.
type videoWindow struct{ base, size int }

// videoWindows are the places that graphicsMisc chooses from in its bits 2 and 3.
var videoWindows = [4]videoWindow{{0xA0000, 128 << 10}, {0xA0000, 64 << 10}, {0xB0000, 32 << 10}, {0xB8000, 32 << 10}}

// bytesPerCell is a character and its attribute.
const bytesPerCell = 2

// Screen stores in s what is on the screen. It reuses the cells of s.
func (v *VGA) Screen(s *textscreen.Screen) {
	v.mu.Lock()
	defer v.mu.Unlock()
	cells := s.Cells[:0]
	*s = textscreen.Screen{Cells: cells, Cursor: -1, Blink: v.attribute[attrMode]&attrBlink != 0}
	lines := 1 + int(v.crtc[crtcLines]) + int(v.crtc[crtcOverflow]>>1&1)<<8 + int(v.crtc[crtcOverflow]>>6&1)<<9
	if lines == 1 {
		return // nobody has set a mode
	}
	s.Mode = textscreen.Graphics
	height := 1 + int(v.crtc[crtcCellHeight]&lineMask)
	if v.crtc[crtcCellHeight]&doubleScan != 0 {
		height *= 2
	}
	columns, rows := 1+int(v.crtc[crtcColumns]), lines/height
	if v.graphics[graphicsMisc]&graphicsMode != 0 || columns > textscreen.MaxColumns || rows < 1 || rows > textscreen.MaxRows {
		return
	}
	s.Mode, s.Columns, s.Rows = textscreen.Text, columns, rows
	start := int(v.crtc[crtcStartHigh])<<8 | int(v.crtc[crtcStartLow])
	pitch := int(v.crtc[crtcPitch]) * 2
	s.Cells = v.cells(cells, start, pitch, columns, rows)
	if pitch == 0 || v.crtc[crtcCursorStart]&cursorOff != 0 || v.crtc[crtcCursorStart]&lineMask > v.crtc[crtcCursorEnd]&lineMask {
		return
	}
	cursor := int(v.crtc[crtcCursorHigh])<<8 | int(v.crtc[crtcCursorLow])
	if cursor -= start; cursor >= 0 && cursor/pitch < rows && cursor%pitch < columns {
		s.Cursor = cursor/pitch*columns + cursor%pitch
	}
}

// cells appends the cells of the screen. start and pitch count cells; the screen
// wraps around at the end of the window.
//
// Preconditions: v.mu is held.
func (v *VGA) cells(dst []byte, start, pitch, columns, rows int) []byte {
	w := videoWindows[v.graphics[graphicsMisc]>>2&3]
	for row := range rows {
		at := (start + row*pitch) * bytesPerCell % w.size
		for left := columns * bytesPerCell; left > 0; at = 0 {
			n := min(left, w.size-at)
			dst = append(dst, make([]byte, n)...)
			// The window is memory of the machine: it can be read.
			_ = v.memory.ReadAt(dst[len(dst)-n:], uint64(w.base+at))
			left -= n
		}
	}
	return dst
}

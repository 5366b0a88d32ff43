package bios

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/textscreen"
	"github.com/govmm/govmm/vmm"
)

const vgabios = "/usr/share/seabios/vgabios-isavga.bin"

// TestScreenAndKeyboard holds that a boot sector's text is on the VGA screen, in
// its colours and with the cursor behind it, that keys arrive by INT 16h with
// their scan codes, and that a screen that scrolls and one that shows graphics are
// seen as that.
func TestScreenAndKeyboard(t *testing.T) {
	image, err := os.ReadFile(vgabios)
	if err != nil {
		t.Skipf("%v (package seabios)", err)
	}
	s := newSector()
	s.raw(0xB8, 0x03, 0x00, 0xCD, 0x10)           // int 10h, ax=3: 80 columns, 25 lines
	s.raw(0xB4, 0x02, 0xB7, 0x00)                 // mov ah, 2; mov bh, 0
	s.raw(0xBA).word(24<<8|10).raw(0xCD, 0x10)    // mov dx, line 24, column 10; int 10h
	s.raw(0xB8).word(0x0900 | 0xE1)               // mov ax, 09e1h: sharp s
	s.raw(0xBB).word(0x001E).raw(0xB9).word(3)    // mov bx, yellow on blue; mov cx, 3
	s.raw(0xCD, 0x10)                             // int 10h
	s.say("ready")                                //
	s.raw(0xB4, 0x00, 0xCD, 0x16)                 // int 16h, ah=0: a key
	s.raw(0x3D).word(0x1E41).failIf(jumpUnequal)  // cmp ax, 'A' with its scan code
	s.raw(0xB4, 0x00, 0xCD, 0x16)                 // int 16h
	s.raw(0x3D).word(0x4B00).failIf(jumpUnequal)  // cmp ax, cursor left
	s.raw(0xB8, 0x01, 0x06, 0xB7, 0x07)           // mov ax, 0601h: scroll up by a line; mov bh, 7
	s.raw(0x31, 0xC9, 0xBA).word(24<<8 | 79)      // xor cx, cx; mov dx, line 24, column 79
	s.raw(0xCD, 0x10)                             // int 10h
	s.say("scrolled").raw(0xB4, 0x00, 0xCD, 0x16) // int 16h
	s.raw(0xB8, 0x12, 0x00, 0xCD, 0x10)           // int 10h, ax=12h: graphics
	s.say("drawn").raw(0xB4, 0x00, 0xCD, 0x16)    // int 16h
	s.powerOff()                                  //
	s.text("ready", "READY\n").text("scrolled", "SCROLLED\n").text("drawn", "DRAWN\n")

	m := newMachineWith(t, vmm.Config{}, vmm.BIOS{VGA: bytes.NewReader(image)}, newDisk(t, map[int64][]byte{0: s.end(t)}))
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		var screen textscreen.Screen
		m.serial.waitFor("READY\n")
		m.Machine.Screen(&screen)
		checkText(t, &screen, 24, 10, "\xE1\xE1\xE1", 0x1E)
		if want := 24*80 + 10; screen.Cursor != want {
			t.Errorf("the cursor is at %d, want %d", screen.Cursor, want)
		}
		if strings.Contains(strip(screen.Cells), "SeaBIOS") {
			t.Error("the screen was not cleared")
		}
		var d textscreen.Decoder
		press(t, m, d.Decode(nil, []byte("A\x1b[D")))
		m.serial.waitFor("SCROLLED\n")
		m.Machine.Screen(&screen)
		checkText(t, &screen, 23, 10, "\xE1\xE1\xE1", 0x1E)
		press(t, m, d.Decode(nil, []byte(" ")))
		m.serial.waitFor("DRAWN\n")
		m.Machine.Screen(&screen)
		if screen.Mode != textscreen.Graphics {
			t.Errorf("mode %d, want graphics", screen.Mode)
		}
		press(t, m, d.Decode(nil, []byte(" ")))
	}()
	m.run(t, vmm.PowerOff)
	<-checked
	if got, want := m.serial.String(), "READY\nSCROLLED\nDRAWN\n"; got != want {
		t.Errorf("the boot sector said %q, want %q", got, want)
	}
	if got := m.screen.String(); got != "" {
		t.Errorf("COM1 shows the screen, too: %q", got)
	}
	if accesses := m.Stats().Accesses(); accesses > 10000 {
		t.Errorf("%d accesses to devices", accesses)
	}
}

// checkText looks for characters of one attribute on the screen.
func checkText(t *testing.T, s *textscreen.Screen, row, column int, text string, attr byte) {
	t.Helper()
	if s.Mode != textscreen.Text || s.Columns != 80 || s.Rows != 25 {
		t.Errorf("mode %d, %d columns, %d lines", s.Mode, s.Columns, s.Rows)
		return
	}
	var want []byte
	for _, c := range []byte(text) {
		want = append(want, c, attr)
	}
	at := 2 * (row*s.Columns + column)
	if got := s.Cells[at : at+len(want)]; !bytes.Equal(got, want) {
		t.Errorf("line %d, column %d: % x, want % x", row, column, got, want)
	}
}

// strip takes the attributes out of cells.
func strip(cells []byte) string {
	var text strings.Builder
	for i := 0; i < len(cells); i += 2 {
		text.WriteByte(cells[i])
	}
	return text.String()
}

// press presses keys as fast as the keyboard takes them.
func press(t *testing.T, m *machine, events []textscreen.Event) {
	t.Helper()
	for _, e := range events {
		for deadline := time.Now().Add(bootLimit); !m.Machine.Key(e); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("nobody reads the keyboard")
				return
			}
		}
	}
}

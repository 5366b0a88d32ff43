package bios

import (
	"testing"

	"github.com/govmm/govmm/vmm"
)

// TestReset resets the machine from a boot sector. SeaBIOS starts anew, from its
// image and not from what it has become, and boots the disk again.
func TestReset(t *testing.T) {
	const nvram = 0x50 // a byte of the clock's memory that nobody uses
	s := newSector()
	s.raw(0xB0, nvram, 0xE6, 0x70, 0xE4, 0x71) // mov al, nvram; out 0x70, al; in al, 0x71
	s.raw(0x3C, 0x01)                          // cmp al, 1
	s.jump(jumpEqual, "second")
	s.raw(0xB0, nvram, 0xE6, 0x70, 0xB0, 0x01, 0xE6, 0x71) // mov al, nvram; out 0x70, al; mov al, 1; out 0x71, al
	s.say("first")
	s.raw(0xB0, 0xFE, 0xE6, 0x64, 0xF4) // mov al, 0xfe; out 0x64, al; hlt
	s.label("second").say("again").powerOff()
	s.text("first", "FIRST\n").text("again", "AGAIN\n")

	m := newMachine(t, vmm.Config{CPUs: 2, OnReset: vmm.RestartOnReset}, nil, newDisk(t, map[int64][]byte{0: s.end(t)}))
	m.run(t, vmm.PowerOff)
	if got := m.serial.String(); got != "FIRST\nAGAIN\n" {
		t.Errorf("the boot sectors said %q", got)
	}
}

package bios

import (
	"testing"

	"github.com/govmm/govmm/vmm"
)

// TestBootOrder holds that the BIOS starts from the disk that comes first in the
// boot order, not from the first of the disks, and that it then is the disk
// 0x80.
func TestBootOrder(t *testing.T) {
	saying := func(text string) disk {
		s := newSector()
		s.raw(0x80, 0x3E).addr("drive").raw(0x80).failIf(jumpUnequal) // cmp byte [drive], 0x80
		s.say("name").powerOff().text("name", text)
		return newDisk(t, map[int64][]byte{0: s.end(t)})
	}
	order := []string{vmm.DiskPath(controllerSlot, 1), vmm.DiskPath(controllerSlot, 0)}
	m := newMachine(t, vmm.Config{}, order, saying("FIRST\n"), saying("SECOND\n"))
	m.run(t, vmm.PowerOff)
	if got := m.serial.String(); got != "SECOND\n" {
		t.Errorf("booted from the disk that says %q", got)
	}
}

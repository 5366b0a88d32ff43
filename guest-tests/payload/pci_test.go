package payloadtests

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestControllerIsFoundOnTheBus looks for functions as an operating system does.
func TestControllerIsFoundOnTheBus(t *testing.T) {
	const slots = 32
	want := map[int]uint32{0: 0x12378086, 1: 0x70008086, slot: 0x00791000}
	g := newGuest(t)
	for s := range slots {
		g.ConfigRead32(s, 0, 0)
		id, there := want[s]
		if !there {
			id = 0xffffffff
		}
		g.wantSaved(fmt.Sprintf("vendor and device in slot %d", s), 0xffffffff, id)
	}
	for _, reg := range []struct {
		what       string
		off        int
		mask, want uint32
	}{
		{"class", 0x08, 0xffffff00, 0x01040000}, // RAID controller
		{"header type", 0x0c, 0x00ff0000, 0},    // one function
		{"subsystem", 0x2c, 0xffffffff, 0x92611000},
		{"interrupt pin", 0x3c, 0x0000ff00, 0x100}, // A
	} {
		g.ConfigRead32(slot, 0, reg.off)
		g.wantSaved(reg.what, reg.mask, reg.want)
	}
	g.ConfigRead32(slot, 1, 0)
	g.wantSaved("a second function of the controller", 0xffffffff, 0xffffffff)
	g.run()
}

// TestCapabilitiesOfTheController has the guest copy all of configuration space
// and walks the list in the copy.
func TestCapabilitiesOfTheController(t *testing.T) {
	const (
		power, msi, express, msix = 0x01, 0x05, 0x10, 0x11
		capabilityList            = 1 << 20 // of the dword at regCommand
	)
	g := newGuest(t)
	copied := g.alloc(256)
	for off := 0; off < 256; off += 4 {
		g.ConfigRead32(slot, 0, off)
		g.Save32(copied + uint64(off))
	}
	g.run()

	config := g.bytes(copied, 256)
	if binary.LittleEndian.Uint32(config[regCommand:])&capabilityList == 0 {
		t.Fatal("the status register says that there are no capabilities")
	}
	found := make(map[byte]int)
	for at := int(config[0x34]); at != 0; at = int(config[at+1]) {
		if at < 0x40 || at%4 != 0 || len(found) > 16 {
			t.Fatalf("the capability list leads to %#x; found so far: %v", at, found)
		}
		found[config[at]] = at
	}
	for _, id := range []byte{power, msi, express, msix} {
		if found[id] == 0 {
			t.Errorf("no capability %#x among %v", id, found)
		}
	}
	// A driver maps the 16 KiB of BAR 1 and looks for table and pending bits there.
	c := config[found[msix]:]
	vectors := int(binary.LittleEndian.Uint16(c[2:]))&0x7ff + 1
	table, pending := binary.LittleEndian.Uint32(c[4:]), binary.LittleEndian.Uint32(c[8:])
	if table&7 != 1 || pending&7 != 1 || int(table&^7)+16*vectors > 0x4000 || pending&^7 >= 0x4000 {
		t.Errorf("%d MSI-X vectors, table %#x, pending bits %#x: not in BAR 1", vectors, table, pending)
	}
}

func TestBARsTellTheirSizes(t *testing.T) {
	g := newGuest(t)
	for i, want := range []uint32{
		0xffffff01, // 256 ports
		0xffffc004, // 16 KiB anywhere
		0xffffffff,
		0xfffc0004, // 256 KiB anywhere
		0xffffffff,
		0, // there is none
	} {
		g.ConfigWrite32(slot, 0, regBAR0+4*i, 0xffffffff)
		g.ConfigRead32(slot, 0, regBAR0+4*i)
		g.wantSaved(fmt.Sprintf("size of BAR %d", i), 0xffffffff, want)
	}
	g.drive() // they still can be placed
	g.run()
}

func TestBARsMove(t *testing.T) {
	const (
		newPorts = portBase + 0x400
		newRegs  = queueBase + 0x1000000
		nobody   = 0xffffffff
	)
	g := newGuest(t)
	g.Load32(regsBase + regState)
	g.wantSaved("registers before they are decoded", 0xffffffff, nobody)
	g.place(commandIO | commandMemory | commandMaster)
	g.awaitState(mfi.StateReady)
	g.In32(portBase + regState)
	g.wantSaved("state through the I/O BAR", stateMask, uint32(mfi.StateReady))

	g.begin("move the BARs")
	g.ConfigWrite32(slot, 0, regBAR0, newPorts)
	g.ConfigWrite32(slot, 0, regBAR0+4, newRegs)
	g.Load32(newRegs + regState)
	g.wantSaved("state at the new address", stateMask, uint32(mfi.StateReady))
	g.Load32(regsBase + regState)
	g.wantSaved("state at the old address", 0xffffffff, nobody)
	g.In32(newPorts + regState)
	g.wantSaved("state at the new ports", stateMask, uint32(mfi.StateReady))
	g.In32(portBase + regState)
	g.wantSaved("state at the old ports", 0xffffffff, nobody)

	g.begin("stop decoding memory")
	g.ConfigWrite16(slot, 0, regCommand, commandIO)
	g.Load32(newRegs + regState)
	g.wantSaved("state with memory decoding off", 0xffffffff, nobody)
	g.run()
}

package bios

import (
	"testing"

	"github.com/govmm/govmm/vmm"
)

// TestInterruptPin holds that a PCI function's pin arrives at the interrupt that
// the BIOS wrote into its Interrupt Line register, through the links that it
// programmed and the 8259s.
func TestInterruptPin(t *testing.T) {
	const (
		irq    = 10             // as SeaBIOS wires the pins
		vector = 0x70 + irq - 8 // and numbers them
		config = 0x80000000 | gadgetSlot<<11
	)
	s := newSector()
	readConfig := func(reg byte) {
		s.raw(0x66, 0xB8).word(config&0xFFFF | uint16(reg)).word(config >> 16) // mov eax, config | reg
		s.raw(0xBA, 0xF8, 0x0C, 0x66, 0xEF)                                    // mov dx, 0xcf8; out dx, eax
		s.raw(0xBA, 0xFC, 0x0C, 0xED)                                          // mov dx, 0xcfc; in ax, dx
	}
	readConfig(0x3C)
	s.raw(0x3C, irq).failIf(jumpUnequal) // cmp al, irq
	readConfig(0x10)
	s.raw(0x24, 0xFC, 0xA3).addr("bar") // and al, 0xfc; mov [bar], ax

	s.raw(0xC7, 0x06).word(vector * 4).addr("handler")     // mov word [vector * 4], handler
	s.raw(0xC7, 0x06).word(vector*4 + 2).word(0)           // mov word [vector * 4 + 2], 0
	s.raw(0xE4, 0xA1, 0x24, ^byte(1<<(irq-8)), 0xE6, 0xA1) // in al, 0xa1; and al, ...; out 0xa1, al
	s.raw(0xE4, 0x21, 0x24, 0xFB, 0xE6, 0x21)              // in al, 0x21; and al, 0xfb; out 0x21, al
	s.raw(0x8B, 0x16).addr("bar")                          // mov dx, [bar]
	s.raw(0xB0, 0x01, 0xEE)                                // mov al, 1; out dx, al

	s.raw(0xB9).word(100) // mov cx, 100: clock ticks, at the latest
	s.label("wait").raw(0x80, 0x3E).addr("flag").raw(1)
	s.jump(jumpEqual, "done") // cmp byte [flag], 1; je done
	s.raw(0xF4)               // hlt
	s.jump(loopCX, "wait")
	s.jump(jumpAlways, "fail")
	s.label("done").say("interrupted").powerOff()

	s.label("handler").raw(0x50, 0x52)                  // push ax; push dx
	s.raw(0xC6, 0x06).addr("flag").raw(1)               // mov byte [flag], 1
	s.raw(0x8B, 0x16).addr("bar").raw(0xB0, 0x00, 0xEE) // mov dx, [bar]; mov al, 0; out dx, al
	s.raw(0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20)           // mov al, 0x20; out 0xa0, al; out 0x20, al
	s.raw(0x5A, 0x58, 0xCF)                             // pop dx; pop ax; iret
	s.text("interrupted", "INTERRUPTED\n").label("bar").word(0).label("flag").raw(0)

	m := newMachine(t, vmm.Config{}, nil, newDisk(t, map[int64][]byte{0: s.end(t)}))
	if err := m.AddDevice(gadgetSlot, newGadget()); err != nil {
		t.Fatal(err)
	}
	m.run(t, vmm.PowerOff)
	if got := m.serial.String(); got != "INTERRUPTED\n" {
		t.Errorf("the boot sector said %q", got)
	}
}

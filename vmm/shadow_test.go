package vmm

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/pci"
)

// romCode is 16-bit code of a BIOS under construction.
type romCode []byte

func (c *romCode) raw(code ...byte) { *c = append(*c, code...) }

// pam writes a register of the host bridge.
func (c *romCode) pam(off int, v byte) {
	c.raw(0x66, 0xB8) // mov eax, the register
	*c = binary.LittleEndian.AppendUint32(*c, 1<<31|uint32(off&^3))
	c.raw(0xBA, 0xF8, 0x0C, 0x66, 0xEF)                // mov dx, 0xcf8; out dx, eax
	c.raw(0xBA, 0xFC|byte(off&3), 0x0C, 0xB0, v, 0xEE) // mov dx, 0xcfc + off % 4; mov al, v; out dx, al
}

// segment loads DS and ES.
func (c *romCode) segment(s uint16) {
	c.raw(0xB8, byte(s), byte(s>>8), 0x8E, 0xD8, 0x8E, 0xC0) // mov ax, s; mov ds, ax; mov es, ax
}

// poke writes a byte of the segment.
func (c *romCode) poke(off uint16, v byte) { c.raw(0xC6, 0x06, byte(off), byte(off>>8), v) }

// peek tells a byte of the segment.
func (c *romCode) peek(off uint16) {
	c.raw(0xA0, byte(off), byte(off>>8), 0xBA, 0x02, 0x04, 0xEE) // mov al, [off]; mov dx, 0x402; out dx, al
}

// tell tells a byte.
func (c *romCode) tell(v byte) { c.raw(0xBA, 0x02, 0x04, 0xB0, v, 0xEE) }

// Values of a nibble of the PAM registers.
const (
	pamBus      = 0 // all goes to the bus
	pamReadOnly = 1 // reads go to RAM
	pamCopy     = 2 // writes go to RAM
	pamRAM      = 3
)

// TestPAM has a BIOS use each state of the memory below 1 MiB: where there is ROM,
// and where there is none. It copies itself to the RAM under it, protects the copy,
// and runs there. A reset shows the ROM again.
func TestPAM(t *testing.T) {
	const (
		regBIOS, biosSegment     = 0x59, 0xF000 // the high nibble
		regOption, optionSegment = 0x5B, 0xC800 // the low one
		entry                    = 0xEA         // the first byte of the ROM: a far jump to itself, behind the jump
		start                    = 5
		runs                     = 0x500 // in RAM
		copied                   = 0x1000
	)
	var c romCode
	c.raw(entry, start, 0, 0, 0xF0) // jmp 0xf000:start: to what is seen of the ROM below 1 MiB
	want := []byte{}
	say := func(v byte) { want = append(want, v) }

	c.segment(biosSegment)
	c.peek(0)
	say(entry)
	c.segment(0)
	c.raw(0xA0, byte(runs&0xff), byte(runs>>8), 0x3C, 0x01) // mov al, [runs]; cmp al, 1
	c.raw(0x75, 12)                                         // jne: the first time
	c.tell('!')                                             // 6 bytes
	c.raw(0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE)               // mov dx, 0xcf9; mov al, 6; out dx, al: 6 bytes
	c.poke(runs, 1)

	c.segment(optionSegment)
	c.poke(0, 0x11)
	c.peek(0)
	say(0xff)
	c.pam(regOption, pamRAM)
	c.peek(0)
	say(0)
	c.poke(0, 0x22)
	c.peek(0)
	say(0x22)
	c.pam(regOption, pamReadOnly)
	c.poke(0, 0x33)
	c.peek(0)
	say(0x22)
	c.pam(regOption, pamCopy)
	c.poke(0, 0x44)
	c.peek(0)
	say(0xff)
	c.pam(regOption, pamReadOnly)
	c.peek(0)
	say(0x44)
	c.segment(optionSegment + 0x400) // the neighbour
	c.peek(0)
	say(0xff)

	c.segment(biosSegment)
	c.poke(0, 0x55)
	c.peek(0)
	say(entry)
	c.pam(regBIOS, pamCopy<<4)
	c.raw(0x31, 0xF6, 0x31, 0xFF, 0xB9, copied&0xff, copied>>8, 0xFC, 0xF3, 0xA4) // si = di = 0; mov cx, copied; cld; rep movsb
	c.poke(copied, 0x66)                                                          // only in the RAM
	c.peek(copied)
	say(0)
	c.pam(regBIOS, pamRAM<<4)
	c.peek(copied)
	say(0x66)
	c.poke(copied, 0x77)
	c.pam(regBIOS, pamReadOnly<<4)
	c.poke(copied, 0x88)
	c.peek(copied)
	say(0x77)
	c.raw(0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE) // reset
	c.raw(0xF4)
	want = append(want, entry, '!')

	var debug bytes.Buffer
	m := newMachine(t, nil, Config{BIOS: &BIOS{Image: tinyBIOS(c...), Debug: &debug}, OnReset: RestartOnReset})
	resets := 0
	m.config.Notify = func(e Event) {
		if _, ok := e.(ResetDone); ok {
			if resets++; resets == 2 {
				m.Stop()
			}
		}
	}
	runTo(t, m, Stopped)
	got := debug.Bytes()
	if len(got) > len(want) {
		got = got[:len(want)] // it may have gone on before it was stopped
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the BIOS saw\n% x, want\n% x", got, want)
	}
}

// What the registers call for is one slot for each run of addresses that are read
// alike, of the memory that is there.
func TestShadowSlots(t *testing.T) {
	s := &shadow{ram: make([]byte, shadowSize), rom: make([]byte, romAlias)}
	for _, tt := range []struct {
		name string
		pam  pci.PAM
		want []shadowSlot
	}{
		{"after a reset", pci.PAM{}, []shadowSlot{{0xe0000, 0x20000, true, true}}},
		{"all RAM", pci.PAM{0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33}, []shadowSlot{{0xc0000, 0x40000, false, false}}},
		{"as SeaBIOS leaves it", pci.PAM{0x10, 0x11, 0x00, 0x11, 0x11, 0x33, 0x33}, []shadowSlot{
			{0xc0000, 0x8000, false, true}, {0xd0000, 0x10000, false, true}, {0xe0000, 0x10000, false, false}, {0xf0000, 0x10000, false, true}}},
		{"a copy under way", pci.PAM{0x20, 0x22}, []shadowSlot{{0xe0000, 0x20000, true, true}}},
	} {
		got := s.wanted(tt.pam)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: %+v, want %+v", tt.name, got[i], tt.want[i])
			}
			if n := len(s.memory(got[i])); uint64(n) != got[i].size {
				t.Errorf("%s: %d bytes behind %+v", tt.name, n, got[i])
			}
		}
	}
}

package bios

import (
	"encoding/binary"
	"testing"
)

const (
	sectorSize = 512
	loadedAt   = 0x7C00 // where a BIOS puts a boot sector
	codeSize   = 510    // before the signature
)

// sector is a boot sector that is being written: 16-bit code, and labels that
// are resolved at the end.
type sector struct {
	code   []byte
	labels map[string]int
	near   map[int]string // relative bytes, by place
	far    map[int]string // relative words
	addrs  map[int]string // addresses
}

func newSector() *sector {
	s := &sector{labels: map[string]int{}, near: map[int]string{}, far: map[int]string{}, addrs: map[int]string{}}
	s.raw(
		0x31, 0xC0, // xor ax, ax
		0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0, // mov ds, ax; mov es, ax; mov ss, ax
		0xBC, 0x00, 0x7C, // mov sp, 0x7c00
		0xFB, 0xFC, // sti; cld
	)
	s.raw(0x88, 0x16).addr("drive") // mov [drive], dl
	return s
}

func (s *sector) raw(code ...byte) *sector {
	s.code = append(s.code, code...)
	return s
}

func (s *sector) word(v uint16) *sector {
	s.code = binary.LittleEndian.AppendUint16(s.code, v)
	return s
}

func (s *sector) label(name string) *sector {
	s.labels[name] = len(s.code)
	return s
}

// addr is the address of a label.
func (s *sector) addr(label string) *sector {
	s.addrs[len(s.code)] = label
	return s.word(0)
}

// jump is an instruction with an 8-bit distance, such as jc (0x72).
func (s *sector) jump(opcode byte, label string) *sector {
	s.raw(opcode)
	s.near[len(s.code)] = label
	return s.raw(0)
}

// failIf is a conditional jump to "fail", wherever that is.
func (s *sector) failIf(opcode byte) *sector {
	s.raw(0x0F, opcode+0x10)
	s.far[len(s.code)] = "fail"
	return s.word(0)
}

// call calls a subroutine.
func (s *sector) call(label string) *sector {
	s.raw(0xE8)
	s.far[len(s.code)] = label
	return s.word(0)
}

// Opcodes of jumps.
const (
	jumpAlways  = 0xEB
	jumpCarry   = 0x72
	jumpEqual   = 0x74
	jumpUnequal = 0x75
	loopCX      = 0xE2
)

// say sends the text at a label to COM2.
func (s *sector) say(label string) *sector {
	return s.raw(0xBE).addr(label).call("print") // mov si, label
}

// transfer calls INT 13h with the disk address packet at a label: AH 42h reads,
// 43h writes. An error goes to "fail".
func (s *sector) transfer(function byte, packet string) *sector {
	s.raw(0xBE).addr(packet)        // mov si, packet
	s.raw(0x8A, 0x16).addr("drive") // mov dl, [drive]
	s.raw(0xB8, 0x00, function)     // mov ax, function << 8
	s.raw(0xCD, 0x13)               // int 13h
	return s.failIf(jumpCarry)
}

// packet is a disk address packet of one sector.
func (s *sector) packet(label string, buffer uint16, lba uint32) *sector {
	s.label(label).raw(16, 0).word(1).word(buffer).word(0)
	return s.word(uint16(lba)).word(uint16(lba >> 16)).word(0).word(0)
}

// text is a string with its label.
func (s *sector) text(label, text string) *sector {
	return s.label(label).raw([]byte(text)...).raw(0)
}

// powerOff switches the machine off by ACPI's registers, where SeaBIOS puts
// them.
func (s *sector) powerOff() *sector {
	return s.raw(
		0xBA, 0x04, 0x06, // mov dx, 0x604
		0xB8, 0x00, 0x20, // mov ax, 0x2000
		0xEF, // out dx, ax
		0xF4, // hlt
	)
}

// end adds what the others use and returns the sector with its signature.
func (s *sector) end(t testing.TB) []byte {
	t.Helper()
	s.label("fail").say("failed").powerOff()
	s.label("print").raw(
		0xAC,       // lodsb
		0x84, 0xC0, // test al, al
		0x74, 0x06, // jz to the ret
		0xBA, 0xF8, 0x02, // mov dx, 0x2f8
		0xEE,       // out dx, al
		0xEB, 0xF5, // jmp to the lodsb
		0xC3, // ret
	)
	s.text("failed", "FAILED\n").label("drive").raw(0)
	if len(s.code) > codeSize {
		t.Fatalf("boot sector of %d bytes, there is room for %d", len(s.code), codeSize)
	}
	place := func(name string) int {
		at, ok := s.labels[name]
		if !ok {
			t.Fatalf("boot sector: no label %q", name)
		}
		return at
	}
	le := binary.LittleEndian
	for at, name := range s.addrs {
		le.PutUint16(s.code[at:], uint16(loadedAt+place(name)))
	}
	for at, name := range s.far {
		le.PutUint16(s.code[at:], uint16(place(name)-at-2))
	}
	for at, name := range s.near {
		distance := place(name) - at - 1
		if distance != int(int8(distance)) {
			t.Fatalf("boot sector: %q is too far for a short jump", name)
		}
		s.code[at] = byte(distance)
	}
	image := make([]byte, sectorSize)
	copy(image, s.code)
	image[510], image[511] = 0x55, 0xAA
	return image
}

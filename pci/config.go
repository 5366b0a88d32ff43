package pci

import (
	"encoding/binary"
	"fmt"
)

// Config describes the type-0 header of a function and the registers that
// belong to it alone.
type Config struct {
	// Name is what the function is called in errors.
	Name string
	// Vendor, Device, SubVendor and SubDevice are the identity words at 0x00,
	// 0x02, 0x2C and 0x2E.
	Vendor, Device, SubVendor, SubDevice uint16
	// Class is the 24-bit class code: base class << 16 | sub-class << 8 |
	// programming interface.
	Class uint32
	// Revision is the byte at 0x08.
	Revision uint8
	// InterruptPin is 0 for none, or 1 (INTA#) to 4 (INTD#).
	InterruptPin uint8
	// Multifunction sets bit 7 of the header type: without it on function 0 the
	// other functions of a slot are not looked for.
	Multifunction bool
	// Registers are further registers, laid over the header: their reset
	// values, and which of their bits the guest can change.
	Registers []Register
}

// Register is a row of a function's register table. Bits that neither mask
// names are read-only.
type Register struct {
	// Offset is the first byte and Size the width in bytes: 1, 2 or 4.
	Offset, Size int
	// Reset is the value after a reset.
	Reset uint32
	// Write masks the bits that the guest sets and clears by writing them.
	Write uint32
	// Clear masks the bits that the guest clears by writing ones.
	Clear uint32
}

// Registers of the type-0 header (PCI 6.1).
const (
	regVendor        = 0x00
	regDevice        = 0x02
	regCommand       = 0x04
	regStatus        = 0x06
	regRevision      = 0x08
	regCacheLine     = 0x0C
	regLatency       = 0x0D
	regHeaderType    = 0x0E
	regBAR0          = 0x10
	regSubVendor     = 0x2C
	regSubDevice     = 0x2E
	regCapabilities  = 0x34
	regInterruptLine = 0x3C
	regInterruptPin  = 0x3D
	headerSize       = 0x40
	configSize       = 0x100
)

// Bits of the command register (PCI 6.2.2).
const (
	commandIO          = 1 << 0
	commandMemory      = 1 << 1
	commandMaster      = 1 << 2
	commandParity      = 1 << 6
	commandSERR        = 1 << 8
	commandINTxDisable = 1 << 10
	commandWritable    = commandIO | commandMemory | commandMaster |
		commandParity | commandSERR | commandINTxDisable
)

// Bits of the status register (PCI 6.2.3).
const (
	statusInterrupt    = 1 << 3
	statusCapabilities = 1 << 4
	statusErrors       = 0xF900 // parity and abort bits, cleared by writing ones
)

// header is the register table that every type-0 function has.
func header(c Config) []Register {
	headerType := uint32(0)
	if c.Multifunction {
		headerType = 0x80
	}
	return append([]Register{
		{Offset: regVendor, Size: 2, Reset: uint32(c.Vendor)},
		{Offset: regDevice, Size: 2, Reset: uint32(c.Device)},
		{Offset: regCommand, Size: 2, Write: commandWritable},
		{Offset: regStatus, Size: 2, Clear: statusErrors},
		{Offset: regRevision, Size: 4, Reset: c.Class<<8 | uint32(c.Revision)},
		{Offset: regCacheLine, Size: 1, Write: 0xFF},
		{Offset: regLatency, Size: 1, Write: 0xFF},
		{Offset: regHeaderType, Size: 1, Reset: headerType},
		{Offset: regSubVendor, Size: 2, Reset: uint32(c.SubVendor)},
		{Offset: regSubDevice, Size: 2, Reset: uint32(c.SubDevice)},
		{Offset: regInterruptLine, Size: 1, Write: 0xFF},
		{Offset: regInterruptPin, Size: 1, Reset: uint32(c.InterruptPin)},
	}, c.Registers...)
}

// space is the contents of a configuration space and the rules for changing it,
// byte by byte.
type space struct {
	now, reset, write, clear [configSize]byte
}

// define lays r over what is there and puts it into its reset state.
func (s *space) define(r Register) error {
	if r.Size != 1 && r.Size != 2 && r.Size != 4 || r.Offset < 0 ||
		r.Offset > configSize-r.Size {
		return fmt.Errorf("register of %d bytes at %#x is outside configuration space", r.Size, r.Offset)
	}
	for i := range r.Size {
		s.reset[r.Offset+i] = byte(r.Reset >> (8 * i))
		s.write[r.Offset+i] = byte(r.Write >> (8 * i))
		s.clear[r.Offset+i] = byte(r.Clear >> (8 * i))
		s.now[r.Offset+i] = s.reset[r.Offset+i]
	}
	return nil
}

// store is a guest's write.
func (s *space) store(off int, p []byte) {
	for i, v := range p {
		w, c := s.write[off+i], s.clear[off+i]
		s.now[off+i] = (s.now[off+i]&^w | v&w) &^ (v & c)
	}
}

func (s *space) byteAt(off int) uint8    { return s.now[off] }
func (s *space) uint16At(off int) uint16 { return binary.LittleEndian.Uint16(s.now[off:]) }
func (s *space) uint32At(off int) uint32 { return binary.LittleEndian.Uint32(s.now[off:]) }

// has reports whether an access to n bytes at off is inside the space.
func (*space) has(off, n int) bool { return off >= 0 && n >= 0 && off <= configSize-n }

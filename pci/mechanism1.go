package pci

import "encoding/binary"

// Configuration mechanism 1 (PCI 3.2.2.3.2): offsets from port 0xCF8 and fields
// of CONFIG_ADDRESS.
const (
	addressPort      = 0
	resetControlPort = 1
	dataPort         = 4

	addressEnable   = 1 << 31
	addressReadable = 0x80FFFFFC // the other bits read as zero
)

// ConfigMechanism1 is the handler for the eight ports 0xCF8 to 0xCFF:
// configuration mechanism 1. Its address register is one dword; byte accesses
// to port 0xCF9 are not part of it and go to resetControl at offset 0, if that
// is not nil. All other accesses to a part of the address register read as ones
// and change nothing.
func (b *Bus) ConfigMechanism1(resetControl Region) Region {
	return &mechanism1{bus: b, resetControl: resetControl}
}

type mechanism1 struct {
	bus          *Bus
	resetControl Region
}

// Read implements Region.
func (m *mechanism1) Read(off uint64, p []byte) {
	switch {
	case off >= dataPort:
		f, reg := m.target(off)
		if f == nil || len(p) > 4 {
			ones(p)
			return
		}
		f.ReadConfig(reg, p)
	case off == addressPort && len(p) == 4:
		binary.LittleEndian.PutUint32(p, m.bus.address.Load())
	case off == resetControlPort && len(p) == 1 && m.resetControl != nil:
		m.resetControl.Read(0, p)
	default:
		ones(p)
	}
}

// Write implements Region.
func (m *mechanism1) Write(off uint64, p []byte) {
	switch {
	case off >= dataPort:
		if f, reg := m.target(off); f != nil && len(p) <= 4 {
			f.WriteConfig(reg, p)
		}
	case off == addressPort && len(p) == 4:
		m.bus.address.Store(binary.LittleEndian.Uint32(p) & addressReadable)
	case off == resetControlPort && len(p) == 1 && m.resetControl != nil:
		m.resetControl.Write(0, p)
	}
}

// target is the function and the register that a data port selects; nil if
// nobody answers.
func (m *mechanism1) target(off uint64) (*Function, int) {
	address := m.bus.address.Load()
	bus := address >> 16 & 0xFF
	if address&addressEnable == 0 || bus != 0 {
		return nil, 0
	}
	f := m.bus.Function(int(address>>11&0x1F), int(address>>8&7))
	return f, int(address&0xFC) + int(off-dataPort)
}

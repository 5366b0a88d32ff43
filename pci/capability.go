package pci

// Capability identifiers (PCI appendix H).
const (
	capPowerManagement = 0x01
	capMSI             = 0x05
	capVendor          = 0x09
	capExpress         = 0x10
	capMSIX            = 0x11
)

// capability is a place in the capability list.
type capability struct {
	off, size int
}

// AddCapability appends a capability of the given id at offset off of the
// configuration space, dword aligned and after the header. body follows the two
// bytes of id and link; writable, which may be shorter than body, has its
// guest-writable bits set.
func (f *Function) AddCapability(off int, id uint8, body, writable []byte) {
	c := capability{off, 2 + len(body)}
	if off < headerSize || off%4 != 0 || off > configSize-c.size || len(writable) > len(body) {
		f.fail("capability %#x of %d bytes does not fit at %#x", id, c.size, off)
		return
	}
	link := regCapabilities
	for _, other := range f.caps {
		if c.off < other.off+other.size && other.off < c.off+c.size {
			f.fail("capability %#x at %#x overlaps the one at %#x", id, off, other.off)
			return
		}
		link = other.off + 1
	}
	f.caps = append(f.caps, c)
	f.define(Register{Offset: link, Size: 1, Reset: uint32(off)})
	f.define(Register{Offset: off, Size: 2, Reset: uint32(id)})
	for i, v := range body {
		r := Register{Offset: off + 2 + i, Size: 1, Reset: uint32(v)}
		if i < len(writable) {
			r.Write = uint32(writable[i])
		}
		f.define(r)
	}
	status := uint32(f.cfg.uint16At(regStatus))
	f.define(Register{Offset: regStatus, Size: 2, Reset: status | statusCapabilities,
		Clear: statusErrors})
}

// AddVendor appends a vendor-specific capability; body follows its length byte.
func (f *Function) AddVendor(off int, body []byte) {
	f.AddCapability(off, capVendor, append([]byte{uint8(3 + len(body))}, body...), nil)
}

// The power management capability (PCI PM 3.2): offsets from its start and bits
// of its control and status register.
const (
	pmControl     = 4
	pmStateMask   = 0x3
	pmNoSoftReset = 0x8
	pmVersion     = 0x3
)

// Power states that are modelled.
const (
	powerD0    = 0
	powerD3hot = 3
)

// AddPowerManagement appends a power management capability (version 3, D0 and
// D3hot, no soft reset on the way back to D0). In D3hot the function decodes
// nothing and does not interrupt.
func (f *Function) AddPowerManagement(off int) {
	f.AddCapability(off, capPowerManagement,
		[]byte{pmVersion, 0, pmNoSoftReset, 0, 0, 0}, []byte{0, 0, pmStateMask})
	f.pm = off
}

// Preconditions: f.mu is held.
func (f *Function) powerState() int {
	if f.pm == 0 {
		return powerD0
	}
	return int(f.cfg.byteAt(f.pm+pmControl) & pmStateMask)
}

// fixPowerState discards a write of a state that the function does not have
// (PCI PM 3.2.4); old is the state before the write.
//
// Preconditions: f.mu is held.
func (f *Function) fixPowerState(old int) {
	if s := f.powerState(); s != powerD0 && s != powerD3hot {
		c := &f.cfg.now[f.pm+pmControl]
		*c = *c&^pmStateMask | byte(old)
	}
}

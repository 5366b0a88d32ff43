package pci

// Bus is PCI bus 0 with its 32 slots of 8 functions.
type Bus struct {
	platform Platform
}

// Routing says which global system interrupt the pin (1 for INTA# to 4 for
// INTD#) of a slot drives; a negative number is none.
type Routing func(slot, pin int) (gsi int)

// NewBus returns an empty bus in the machine p.
func NewBus(p Platform, routing Routing) *Bus { return &Bus{platform: p} }

// Attach puts f into a free place.
func (b *Bus) Attach(slot, fn int, f *Function) error { return nil }

// Detach takes the function of a place off the bus: its ranges are unmapped and
// its interrupt pin is released. It returns the function, or nil.
func (b *Bus) Detach(slot, fn int) *Function { return nil }

// Function is the function at a place, or nil.
func (b *Bus) Function(slot, fn int) *Function { return nil }

// Reset is the RST# signal: every function goes to its reset state.
func (b *Bus) Reset() {}

// Reroute asks the Routing again for every pin: call it when its answers
// change.
func (b *Bus) Reroute() {}

// RetryDecode maps BARs that were refused because of a collision, as far as
// they fit now. The bus does that itself when one of its own ranges moves; call
// it when the platform took away another.
func (b *Bus) RetryDecode() {}

// ConfigMechanism1 is the handler for the eight ports 0xCF8 to 0xCFF:
// configuration mechanism 1. Byte accesses to port 0xCF9 are not part of it and
// go to resetControl at offset 0, if that is not nil.
func (b *Bus) ConfigMechanism1(resetControl Region) Region { return nil }

package pci

import "sync"

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

// BARKind is what a base address register decodes. The values are the low
// bits of the register itself.
type BARKind uint8

const (
	// Mem32 is memory anywhere below 4 GiB.
	Mem32 BARKind = 0x0
	// IO is a range of ports.
	IO BARKind = 0x1
	// Mem64 is memory anywhere; it takes the next BAR as its high half.
	Mem64 BARKind = 0x4
	// Prefetchable can be added to Mem32 and Mem64: reads have no side effects.
	Prefetchable BARKind = 0x8
)

// Function is one PCI function: its configuration space, its decoders and its
// interrupts. Build it with NewFunction and the Add methods, then attach it to
// a Bus. A mistake in the description is reported by Bus.Attach. It implements
// Interrupt.
type Function struct {
	name string
	mu   sync.Mutex
}

// NewFunction returns a function that has the header of c, no BAR and no
// capability.
func NewFunction(c Config) *Function { return &Function{name: c.Name} }

// Name is the name that the function was given.
func (f *Function) Name() string { return f.name }

// AddBAR gives the function base address register index (0 to 5) of the given
// kind. size is a power of two, at least 16 for memory and 4 (at most 256) for
// ports. Decoded accesses go to r. A Mem64 register takes index+1 too.
func (f *Function) AddBAR(index int, kind BARKind, size uint64, r Region) {}

// AddCapability appends a capability of the given id at offset off of the
// configuration space. body follows the two bytes of the header; writable, which
// may be shorter than body, has its guest-writable bits set.
func (f *Function) AddCapability(off int, id uint8, body, writable []byte) {}

// AddVendor appends a vendor-specific capability; body follows its length byte.
func (f *Function) AddVendor(off int, body []byte) {}

// AddPowerManagement appends a power management capability (version 3, D0 and
// D3hot, no soft reset on the way back to D0). In D3hot the function decodes
// nothing and does not interrupt.
func (f *Function) AddPowerManagement(off int) {}

// Express describes a PCI Express capability of version 2.
type Express struct {
	// Type is the device/port type.
	Type ExpressType
	// MaxPayload is the largest payload supported in bytes: 128 to 4096.
	MaxPayload int
	// LinkSpeed is 1 for 2.5 GT/s, 2 for 5 GT/s; LinkWidth is the lane count.
	LinkSpeed, LinkWidth uint8
	// FunctionReset offers function level reset.
	FunctionReset bool
}

// ExpressType is the device/port type of a PCI Express capability.
type ExpressType uint8

const (
	ExpressEndpoint            ExpressType = 0x0
	ExpressRootComplexEndpoint ExpressType = 0x9
)

// AddExpress appends a PCI Express endpoint capability.
func (f *Function) AddExpress(off int, e Express) {}

// AddMSI appends an MSI capability for vectors messages (1, 2, 4, 8, 16 or 32)
// with 32-bit or 64-bit addresses.
func (f *Function) AddMSI(off, vectors int, addr64 bool) {}

// AddMSIX appends an MSI-X capability for vectors messages. Its table and its
// pending bits lie at the given offsets of BAR bar, which must have been added,
// and hide what the BAR's own Region has there.
func (f *Function) AddMSIX(off, vectors, bar int, tableOff, pbaOff uint64) {}

// OnConfigWrite registers a hook that learns of register changes: after every
// write of the guest, and for every dword that a reset changed, it gets the
// dword-aligned offset and the value that the register has now. It is called
// with the function's configuration locked: it may use the Interrupt methods
// and the Platform, but not access any configuration space.
func (f *Function) OnConfigWrite(hook func(off int, value uint32)) {}

// OnReset registers a hook that resets the device behind the function. It is
// called on Bus.Reset and on a function level reset, after the configuration
// space has its reset values, under the rules of OnConfigWrite.
func (f *Function) OnReset(hook func()) {}

// ReadConfig reads the bytes at off of the configuration space into p.
func (f *Function) ReadConfig(off int, p []byte) {}

// WriteConfig writes p at off of the configuration space as a guest would:
// read-only bits keep their values and decoders and interrupts follow.
func (f *Function) WriteConfig(off int, p []byte) {}

// BusMaster reports whether the guest lets the function access memory now: the
// Bus Master bit is set and the function is in D0.
func (f *Function) BusMaster() bool { return false }

// SetINTx implements Interrupt.
func (f *Function) SetINTx(asserted bool) {}

// Signal implements Interrupt.
func (f *Function) Signal(n int) bool { return false }

// Mode implements Interrupt.
func (f *Function) Mode() InterruptMode { return ModeINTx }

package pci

// DMA is a device's view of guest RAM. Only RAM can be reached: an access to a
// device's own registers, to ROM or to a hole is an error, so that no device
// can be made to call itself.
type DMA interface {
	// Append appends to dst the windows of guest RAM that make up the n bytes
	// at guest-physical address addr, in order, and returns the longer slice.
	// There is no copy: the windows are the guest's own memory, which the guest
	// may change at any time. The whole range is checked before anything is
	// appended; on an error dst is returned as it was.
	Append(dst [][]byte, addr, n uint64) ([][]byte, error)
	// ReadAt copies guest memory at addr into p.
	ReadAt(p []byte, addr uint64) error
	// WriteAt copies p to guest memory at addr.
	WriteAt(p []byte, addr uint64) error
	// Load32 reads the naturally aligned little-endian word at addr with
	// acquire semantics.
	Load32(addr uint64) (uint32, error)
	// Store32 writes the naturally aligned little-endian word at addr with
	// release semantics: the guest sees it only after every earlier write.
	Store32(addr uint64, v uint32) error
}

// Interrupt is how a device function signals its driver. All methods may be
// called from any goroutine and are cheap enough for every completion.
type Interrupt interface {
	// SetINTx drives the function's interrupt pin (level triggered). It has no
	// effect towards the guest while MSI or MSI-X is enabled or the command
	// register's Interrupt Disable bit is set, but the level is remembered.
	SetINTx(asserted bool)
	// Signal sends message n by MSI-X or MSI, whichever the guest enabled. It
	// reports false if neither is: the device should then use SetINTx. A masked
	// MSI-X vector is kept pending and sent when it is unmasked.
	Signal(n int) bool
	// Mode reports which mechanism the guest has enabled now.
	Mode() InterruptMode
}

// InterruptMode is the interrupt mechanism that the guest enabled.
type InterruptMode uint8

const (
	ModeINTx InterruptMode = iota
	ModeMSI
	ModeMSIX
)

// Platform is what a Bus needs of the machine that it sits in. Its methods are
// called with locks of this package held: see the package comment for what they
// must not do. The level of a line is that of the PCI functions alone; whoever
// shares it with other devices combines them.
type Platform interface {
	// SetIRQ drives the interrupt line of a global system interrupt (level).
	SetIRQ(gsi int, asserted bool)
	// SendMSI delivers a message-signalled interrupt.
	SendMSI(addr uint64, data uint32) error
	// MapMMIO and MapPort enter a decoded BAR into the machine's address
	// spaces, UnmapMMIO and UnmapPort take it out. A range that collides with
	// one that is there is refused with an error and is not decoded.
	MapMMIO(base, size uint64, h Region) error
	UnmapMMIO(base, size uint64)
	MapPort(base, size uint64, h Region) error
	UnmapPort(base, size uint64)
}

// Region handles accesses to a decoded range. off is relative to its start; p
// is 1, 2, 4 or 8 bytes, little-endian, and lies wholly inside the range.
// Called by any vCPU at any time, several at once: a handler reads or changes
// registers, queues work and returns. It must not wait: I/O is done here only if it
// is known to take microseconds.
type Region interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

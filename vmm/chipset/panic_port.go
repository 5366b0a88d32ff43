package chipset

// PanicEvents is a set of what a guest reports by pvpanic (QEMU,
// docs/specs/pvpanic.rst).
type PanicEvents uint8

const (
	// Panicked is a kernel that gave up.
	Panicked PanicEvents = 1 << 0
	// CrashLoaded is a kernel that crashed and hands over to one that was loaded
	// for that case.
	CrashLoaded PanicEvents = 1 << 1

	panicEvents = Panicked | CrashLoaded
)

// Has reports whether all events of x are in e.
func (e PanicEvents) Has(x PanicEvents) bool { return e&x == x }

// PanicPort is the ISA variant of pvpanic: a Handler for port 0x505. It reads as
// the set of events that can be reported.
type PanicPort struct{ byteRegisters }

// NewPanicPort returns a port that passes on what the guest reports. Bits that are
// no event are dropped, and so is a report of nothing else.
func NewPanicPort(report func(PanicEvents)) *PanicPort {
	return &PanicPort{byteRegisters{
		read: func(uint64) byte { return byte(panicEvents) },
		write: func(_ uint64, v byte) {
			if e := PanicEvents(v) & panicEvents; e != 0 {
				report(e)
			}
		},
	}}
}

// Package chipset models the small devices of a PC's south bridge that a guest
// reaches through fixed ports: a 16550A UART, an i8042 keyboard controller, an
// MC146818 real-time clock, the PIIX4's ACPI power management registers, the text
// screen of a VGA adapter, the two reset ports, a debug port, and ports by which a
// guest reports a panic or wants to end. The interrupt controllers and the interval
// timer are KVM's.
//
// A device knows nothing of the machine. Its ranges are Handlers, which the
// machine maps; its outputs are functions, which the machine gives: interrupt
// lines, requests for a reset or for power-off. Time comes from a Clock. A
// device that nothing is asked of does nothing: timers run only while the guest
// has an interrupt enabled that they are for.
//
// # Concurrency
//
// Everything may be called from any goroutine. A device calls the function of an
// interrupt line with its lock held, so that levels arrive in order: that
// function must not wait and must not call the device. A request for a reset or
// for power-off is made without a lock, on the goroutine of the vCPU that caused
// it; it too must not wait for that vCPU. No access by a guest waits for
// anything else than such a lock.
package chipset

// Handler answers accesses to a range of ports. It has the methods of
// pci.Region: off is relative to the start of the range, p is 1, 2, 4 or 8 bytes,
// little-endian, and lies wholly inside of it.
type Handler interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

// byteRegisters is a Handler of registers that are one byte wide: a wider access
// is one access to each of them, lowest first, as on an ISA bus.
type byteRegisters struct {
	read  func(off uint64) byte
	write func(off uint64, v byte)
}

func (r byteRegisters) Read(off uint64, p []byte) {
	for i := range p {
		p[i] = r.read(off + uint64(i))
	}
}

func (r byteRegisters) Write(off uint64, p []byte) {
	for i, v := range p {
		r.write(off+uint64(i), v)
	}
}

// noLine stands in for an interrupt line that is not connected.
func noLine(bool) {}

package vmm

import (
	"sync/atomic"

	"github.com/govmm/govmm/pci"
)

// The four interrupt links of the PIIX3 connect the pins of PCI slots to ISA
// interrupts, which reach the 8259s and the I/O APIC alike. A BIOS programs
// them; a machine without one wires the pins past them (see pciRoute).

const linkCount = 4

// linkOf is the link that a pin of a slot is wired to.
func linkOf(slot, pin int) int { return (slot + pin - 1) & (linkCount - 1) }

// biosIRQs are the interrupts that SeaBIOS connects to links.
func biosIRQs() []uint8 { return []uint8{10, 11} }

// biosRoute is where a pin arrives once SeaBIOS has run: it programs the first two
// links with one interrupt and the other two with the next.
func biosRoute(slot, pin int) int {
	irqs := biosIRQs()
	return int(irqs[linkOf(slot, pin)*len(irqs)/linkCount])
}

// interruptLinks are the links as the guest has programmed them. In the zero
// value they are not connected, as after a reset.
type interruptLinks struct {
	lines [linkCount]atomic.Int32 // the ISA interrupt plus one, 0 for none
}

// set takes the PIIX3's registers.
func (l *interruptLinks) set(routes [linkCount]pci.PIRQRoute) {
	for i, r := range routes {
		line := 0
		if irq, ok := r.IRQ(); ok {
			line = irq + 1
		}
		l.lines[i].Store(int32(line))
	}
}

// route is a pci.Routing.
func (l *interruptLinks) route(slot, pin int) int {
	return int(l.lines[linkOf(slot, pin)].Load()) - 1
}

// routing is how the pins of PCI slots are wired.
func (m *Machine) routing() pci.Routing {
	if m.config.BIOS != nil {
		return m.links.route
	}
	return pciRoute
}

// moveLinks takes new contents of the PIIX3's registers.
func (m *Machine) moveLinks(routes [linkCount]pci.PIRQRoute) {
	m.links.set(routes)
	m.pciBus.Reroute()
}

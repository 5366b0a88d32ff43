package kvm

// Chip is an in-kernel interrupt controller.
type Chip uint32

// Values of the kernel's KVM_IRQCHIP_* constants.
const (
	ChipPICMaster Chip = 0
	ChipPICSlave  Chip = 1
	ChipIOAPIC    Chip = 2
)

// Route connects a global system interrupt to a pin. One interrupt may have
// several routes.
type Route struct {
	GSI  uint32
	Chip Chip
	Pin  uint32
}

const (
	isaIRQs    = 16
	ioapicPins = 24
)

// PCRoutes is the wiring of a PC whose ACPI tables say that ISA interrupt 0 (the
// timer) arrives at I/O APIC pin 2: the 16 ISA interrupts go to both kinds of
// controller, the rest to the I/O APIC alone.
func PCRoutes() []Route {
	const timer, cascade = 0, 2
	var routes []Route
	for gsi := uint32(0); gsi < ioapicPins; gsi++ {
		switch {
		case gsi < isaIRQs/2:
			routes = append(routes, Route{gsi, ChipPICMaster, gsi})
		case gsi < isaIRQs:
			routes = append(routes, Route{gsi, ChipPICSlave, gsi - isaIRQs/2})
		}
		switch gsi {
		case timer:
			routes = append(routes, Route{gsi, ChipIOAPIC, cascade})
		case cascade: // the pin belongs to the timer
		default:
			routes = append(routes, Route{gsi, ChipIOAPIC, gsi})
		}
	}
	return routes
}

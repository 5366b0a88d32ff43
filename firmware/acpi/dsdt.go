package acpi

import (
	"fmt"

	"github.com/govmm/govmm/firmware/acpi/aml"
)

const (
	dsdtRevision = 2 // integers have 64 bits

	pciSlots = 32
	pciPins  = 4

	configPorts    = 0xCF8 // configuration mechanism 1, 8 ports
	configPortsLen = 8
	videoBase      = 0xA0000
	videoLast      = 0xBFFFF
	serialPorts    = 8
)

// makeDSDT makes the description of the machine's devices.
func makeDSDT(c *Config) ([]byte, error) {
	routing, err := makeRouting(&c.PCI, &c.IOAPIC)
	if err != nil {
		return nil, err
	}
	root := []aml.Term{
		aml.Name("_HID", aml.EISAID("PNP0A03")),
		aml.Name("_UID", aml.Int(0)),
		aml.Name("_BBN", aml.Int(0)),
		aml.Name("_CRS", makeWindows(&c.PCI)),
		aml.Name("_PRT", routing),
		makeISA(c),
	}
	if reserved := makeReserved(&c.Power); reserved != nil {
		root = append(root, reserved)
	}

	bus := make([]aml.Term, 0, len(c.CPUs)+1)
	for uid := range c.CPUs {
		bus = append(bus, aml.Device(fmt.Sprintf("C%03X", uid),
			aml.Name("_HID", aml.String("ACPI0007")),
			aml.Name("_UID", aml.Int(uint64(uid)))))
	}
	bus = append(bus, aml.Device("PCI0", root...))

	s5 := aml.Int(uint64(c.Power.S5))
	body := aml.Scope(`\_SB`, bus...)
	body = append(body, aml.Name(`\_S5`, aml.Package(s5, s5, aml.Int(0), aml.Int(0)))...)
	return makeTable("DSDT", dsdtRevision, body), nil
}

// makeWindows makes what the host bridge takes (the ports of configuration
// mechanism 1) and what it passes on to the bus.
func makeWindows(p *PCI) aml.Term {
	low := p.MMIO32
	windows := []aml.Resource{
		aml.WordBusNumber(0, 0xFF),
		aml.IO(configPorts, configPorts, 1, configPortsLen),
		aml.WordIO(0, configPorts-1),
		aml.WordIO(configPorts+configPortsLen, 0xFFFF),
		aml.DWordMemory(videoBase, videoLast),
		aml.DWordMemory(uint32(low.Base), uint32(low.Base+low.Size-1)),
	}
	if high := p.MMIO64; high.Size > 0 {
		windows = append(windows, aml.QWordMemory(high.Base, high.Base+high.Size-1))
	}
	return aml.ResourceTemplate(windows...)
}

// makeRouting makes the interrupt routing package (section 6.2.13): for every
// slot and pin {address of any function, pin, 0, GSI}.
func makeRouting(p *PCI, io *IOAPIC) (aml.Term, error) {
	var entries []aml.Term
	for slot := 1; slot < pciSlots; slot++ {
		for pin := range pciPins {
			gsi := p.Route(slot, pin)
			if gsi < int(io.GSIBase) || gsi >= int(io.GSIBase)+ioapicPins {
				return nil, fmt.Errorf("acpi: pin %d of PCI slot %d is routed to GSI %d, which is no pin of the I/O APIC", pin, slot, gsi)
			}
			entries = append(entries, aml.Package(
				aml.Int(uint64(slot)<<16|0xFFFF),
				aml.Int(uint64(pin)),
				aml.Int(0),
				aml.Int(uint64(gsi))))
		}
	}
	return aml.Package(entries...), nil
}

// makeISA makes the ISA bridge with the devices behind it.
func makeISA(c *Config) aml.Term {
	devices := []aml.Term{
		aml.Name("_ADR", aml.Int(uint64(c.PCI.ISASlot)<<16)),
		isaDevice("PIC", "PNP0000", isaPorts(0x20, 2), isaPorts(0xA0, 2), isaPorts(0x4D0, 2), aml.IRQ(2)),
		isaDevice("TMR", "PNP0100", isaPorts(0x40, 4), aml.IRQ(0)),
		isaDevice("SPKR", "PNP0800", isaPorts(0x61, 1)),
	}
	if c.RTC {
		devices = append(devices, isaDevice("RTC", "PNP0B00", isaPorts(0x70, 8), aml.IRQ(8)))
	}
	if c.Keyboard {
		devices = append(devices, isaDevice("KBD", "PNP0303", isaPorts(0x60, 1), isaPorts(0x64, 1), aml.IRQ(1)))
	}
	if c.Mouse {
		devices = append(devices, isaDevice("MOU", "PNP0F13", aml.IRQ(12)))
	}
	if c.PanicPort != 0 {
		// The identifier is QEMU's; guests know no other.
		devices = append(devices, aml.Device("PEVT",
			aml.Name("_HID", aml.String("QEMU0001")),
			aml.Name("_CRS", aml.ResourceTemplate(isaPorts(c.PanicPort, 1)))))
	}
	for i, s := range c.Serial {
		devices = append(devices, aml.Device(fmt.Sprintf("COM%X", i+1),
			aml.Name("_HID", aml.EISAID("PNP0501")),
			aml.Name("_UID", aml.Int(uint64(i+1))),
			aml.Name("_CRS", aml.ResourceTemplate(isaPorts(s.Port, serialPorts), aml.IRQ(s.IRQ)))))
	}
	return aml.Device("ISA", devices...)
}

// isaDevice is a device that is there once.
func isaDevice(name, id string, resources ...aml.Resource) aml.Term {
	return aml.Device(name,
		aml.Name("_HID", aml.EISAID(id)),
		aml.Name("_CRS", aml.ResourceTemplate(resources...)))
}

// isaPorts is n ports at a fixed base.
func isaPorts(base uint16, n uint8) aml.Resource { return aml.IO(base, base, 1, n) }

// makeReserved makes the motherboard resources: ports in the middle of the PCI
// window that no PCI function may be given. The PM block is not among them: the
// power management function claims all 64 ports of it, and Linux rejects a
// motherboard resource that overlaps a function's in part.
func makeReserved(p *Power) aml.Term {
	var ports []aml.Resource
	if p.SMICommand != 0 {
		ports = append(ports, isaPorts(p.SMICommand, 2))
	}
	if p.GPE0 != 0 {
		ports = append(ports, isaPorts(p.GPE0, gpe0Len))
	}
	if len(ports) == 0 {
		return nil
	}
	return aml.Device("SYSR",
		aml.Name("_HID", aml.EISAID("PNP0C02")),
		aml.Name("_CRS", aml.ResourceTemplate(ports...)))
}

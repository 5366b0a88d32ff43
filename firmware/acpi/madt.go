package acpi

import (
	"encoding/binary"
	"slices"
)

// Entry types of the MADT (ACPI 6.5, section 5.2.12).
const (
	madtLocalAPIC   = 0
	madtIOAPIC      = 1
	madtOverride    = 2
	madtLocalNMI    = 4
	madtX2APIC      = 9
	madtX2NMI       = 10
	madtRevision    = 4
	madtPCATCompat  = 1 // flags: there are two 8259s as well
	cpuEnabled      = 1
	allCPUs         = 0xFF
	allX2CPUs       = 0xFFFFFFFF
	nmiLINT         = 1
	isaBus          = 0
	timerGSI        = 2
	maxLocalAPIC    = 254    // above: x2APIC
	polarityConform = 0x0    // as is usual for the bus: edge, active high
	levelActiveHigh = 0b1101 // level in bits 3:2, active high in bits 1:0
)

// makeMADT makes the table of the interrupt controllers. Processors have their
// index as unique identifier, in the DSDT too.
func makeMADT(c *Config) []byte {
	le := binary.LittleEndian
	body := le.AppendUint32(nil, c.LocalAPIC)
	body = le.AppendUint32(body, madtPCATCompat)

	x2apic := false
	for uid, id := range c.CPUs {
		if id <= maxLocalAPIC && uid < allCPUs {
			body = append(body, madtLocalAPIC, 8, byte(uid), byte(id))
			body = le.AppendUint32(body, cpuEnabled)
			continue
		}
		x2apic = true
		body = append(body, madtX2APIC, 16, 0, 0)
		body = le.AppendUint32(body, id)
		body = le.AppendUint32(body, cpuEnabled)
		body = le.AppendUint32(body, uint32(uid))
	}

	body = append(body, madtIOAPIC, 12, c.IOAPIC.ID, 0)
	body = le.AppendUint32(body, c.IOAPIC.Address)
	body = le.AppendUint32(body, c.IOAPIC.GSIBase)

	if c.TimerOverride {
		body = appendOverride(body, 0, timerGSI, polarityConform)
	}
	level := append([]uint8{c.Power.SCI}, c.LevelIRQs...)
	slices.Sort(level)
	for _, irq := range slices.Compact(level) {
		body = appendOverride(body, irq, uint32(irq), levelActiveHigh)
	}

	body = append(body, madtLocalNMI, 6, allCPUs, 0, 0, nmiLINT)
	if x2apic {
		body = append(body, madtX2NMI, 12, 0, 0)
		body = le.AppendUint32(body, allX2CPUs)
		body = append(body, nmiLINT, 0, 0, 0)
	}
	return makeTable("APIC", madtRevision, body)
}

// appendOverride appends how ISA interrupt irq reaches the I/O APIC.
func appendOverride(body []byte, irq uint8, gsi uint32, flags uint16) []byte {
	body = append(body, madtOverride, 10, isaBus, irq)
	body = binary.LittleEndian.AppendUint32(body, gsi)
	return binary.LittleEndian.AppendUint16(body, flags)
}

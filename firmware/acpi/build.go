// Package acpi makes the ACPI tables of a PC with an I/O APIC and one PCI bus,
// after the ACPI specification 6.5: RSDP, XSDT, FADT, FACS, MADT and DSDT. They
// are pure functions of a Config.
//
// The tables are laid out for one address, ready to be copied into guest
// memory. There is no RSDT: every operating system that knows revision 2 of the
// RSDP reads the XSDT. PCI interrupts are wired to I/O APIC pins; interrupt
// links, sleep states other than soft-off, hot-plug, NUMA and PCI Express are
// not described.
package acpi

import (
	"encoding/binary"
	"fmt"
)

// Sizes and alignments (ACPI 6.5, sections 5.2.5, 5.2.6 and 5.2.10).
const (
	rsdpSize   = 36
	headerSize = 36
	facsSize   = 64
	facsAlign  = 64
	tableAlign = 16

	// maxCPUs is what three hexadecimal digits of a device name can number.
	maxCPUs = 0x1000
)

// Who made the tables.
const (
	oemID        = "GOVMM "
	oemTableID   = "GOVMMPC "
	oemRevision  = 1
	creatorID    = "GOVM"
	creatorMinor = 1
)

// Table is the place of one table inside the blob.
type Table struct {
	Signature string // "RSD PTR " for the root pointer
	Offset    int    // from the start of the blob, in bytes
	Size      int    // in bytes
}

// Tables is a set of tables, linked for one address.
type Tables struct {
	// Base is the guest-physical address where Blob has to be put.
	Base uint64
	Blob []byte
	// RSDP is the guest-physical address of the root pointer, inside the blob.
	RSDP uint64
	// Index lists the tables in the order in which they lie.
	Index []Table
}

// Build makes the tables of a machine. The error names what in the
// configuration cannot be described.
func Build(c Config) (Tables, error) {
	if err := c.check(); err != nil {
		return Tables{}, err
	}
	dsdt, err := makeDSDT(&c)
	if err != nil {
		return Tables{}, err
	}
	b := builder{base: c.Base}
	// The root pointer comes first, and is filled in when the rest has its
	// place.
	b.add("RSD PTR ", make([]byte, rsdpSize), tableAlign)
	facsAddr := b.add("FACS", makeFACS(), facsAlign)
	dsdtAddr := b.add("DSDT", dsdt, tableAlign)
	fadtAddr := b.add("FACP", makeFADT(&c, facsAddr, dsdtAddr), tableAlign)
	madtAddr := b.add("APIC", makeMADT(&c), tableAlign)
	xsdtAddr := b.add("XSDT", makeXSDT(fadtAddr, madtAddr), tableAlign)
	copy(b.blob, makeRSDP(xsdtAddr))

	if end := c.Base + uint64(len(b.blob)); end > 1<<32 {
		return Tables{}, fmt.Errorf("acpi: tables at %#x end at %#x, above 4 GiB", c.Base, end)
	}
	return Tables{Base: c.Base, Blob: b.blob, RSDP: c.Base, Index: b.index}, nil
}

// builder lays tables out one after the other.
type builder struct {
	base  uint64
	blob  []byte
	index []Table
}

// add appends a table at the next multiple of align and returns its address.
func (b *builder) add(signature string, table []byte, align int) uint64 {
	offset := (len(b.blob) + align - 1) &^ (align - 1)
	b.blob = append(b.blob, make([]byte, offset-len(b.blob))...)
	b.blob = append(b.blob, table...)
	b.index = append(b.index, Table{signature, offset, len(table)})
	return b.base + uint64(offset)
}

// makeTable puts the common header (section 5.2.6) in front of a table's body.
func makeTable(signature string, revision uint8, body []byte) []byte {
	le := binary.LittleEndian
	t := make([]byte, headerSize, headerSize+len(body))
	copy(t, signature)
	le.PutUint32(t[4:], uint32(headerSize+len(body)))
	t[8] = revision
	copy(t[10:], oemID)
	copy(t[16:], oemTableID)
	le.PutUint32(t[24:], oemRevision)
	copy(t[28:], creatorID)
	le.PutUint32(t[32:], creatorMinor)
	t = append(t, body...)
	t[9] = checksum(t)
	return t
}

// checksum is the byte that makes the sum of p and itself zero.
func checksum(p []byte) byte {
	var sum byte
	for _, b := range p {
		sum += b
	}
	return -sum
}

// makeRSDP makes the root pointer, revision 2 (section 5.2.5.3). Its RSDT
// address stays zero.
func makeRSDP(xsdt uint64) []byte {
	p := make([]byte, rsdpSize)
	copy(p, "RSD PTR ")
	copy(p[9:], oemID)
	p[15] = 2
	binary.LittleEndian.PutUint32(p[20:], rsdpSize)
	binary.LittleEndian.PutUint64(p[24:], xsdt)
	p[8] = checksum(p[:20])
	p[32] = checksum(p)
	return p
}

// makeXSDT makes the list of the other tables (section 5.2.8).
func makeXSDT(tables ...uint64) []byte {
	var body []byte
	for _, addr := range tables {
		body = binary.LittleEndian.AppendUint64(body, addr)
	}
	return makeTable("XSDT", 1, body)
}

// makeFACS makes the firmware control structure (section 5.2.10), version 2,
// which has no checksum.
func makeFACS() []byte {
	p := make([]byte, facsSize)
	copy(p, "FACS")
	binary.LittleEndian.PutUint32(p[4:], facsSize)
	p[32] = 2
	return p
}

package aml

import (
	"encoding/binary"
	"fmt"
)

// Resource is one descriptor of a resource template (ACPI 6.5, section 6.4).
type Resource []byte

// Descriptor tags: small ones with their length, large ones without.
const (
	tagIRQ      = 0x22 // edge, active high, exclusive
	tagIRQFlags = 0x23
	tagDMA      = 0x2A
	tagIO       = 0x47
	tagEnd      = 0x79

	tagMemory32Fixed = 0x86
	tagDWordSpace    = 0x87
	tagWordSpace     = 0x88
	tagQWordSpace    = 0x8A
)

// Resource types of the address space descriptors.
const (
	spaceMemory = 0
	spaceIO     = 1
	spaceBus    = 2
)

// Flags of the address space descriptors.
const (
	spaceFixed       = 0x0C // minimum and maximum fixed, producer, positive decode
	spaceReadWrite   = 0x01 // memory: uncached
	spaceEntireRange = 0x03 // I/O: ISA and other addresses
)

// ResourceTemplate is a buffer of descriptors with the end tag, whose zero
// checksum says that there is none.
func ResourceTemplate(resources ...Resource) Term {
	var b []byte
	for _, r := range resources {
		b = append(b, r...)
	}
	return Buffer(append(b, tagEnd, 0))
}

// IO is size ports from any base between lowest and highest that is a multiple
// of align, decoded with 16 address bits.
func IO(lowest, highest uint16, align, size uint8) Resource {
	r := Resource{tagIO, 1}
	r = binary.LittleEndian.AppendUint16(r, lowest)
	r = binary.LittleEndian.AppendUint16(r, highest)
	return append(r, align, size)
}

// IRQ is an ISA interrupt line (0 to 15): edge triggered, active high, not
// shared.
func IRQ(n uint8) Resource {
	if n > 15 {
		panic(fmt.Sprintf("aml: ISA interrupt %d", n))
	}
	return binary.LittleEndian.AppendUint16(Resource{tagIRQ}, 1<<n)
}

// Memory32Fixed is memory below 4 GiB at a fixed address, readable and
// writable.
func Memory32Fixed(base, size uint32) Resource {
	r := Resource{tagMemory32Fixed, 9, 0, 1}
	r = binary.LittleEndian.AppendUint32(r, base)
	return binary.LittleEndian.AppendUint32(r, size)
}

// WordBusNumber is the range of bus numbers that a bridge passes on.
func WordBusNumber(first, last uint16) Resource {
	return space(tagWordSpace, 2, spaceBus, 0, uint64(first), uint64(last))
}

// WordIO is the range of ports that a bridge passes on.
func WordIO(first, last uint16) Resource {
	return space(tagWordSpace, 2, spaceIO, spaceEntireRange, uint64(first), uint64(last))
}

// DWordMemory is a range of memory below 4 GiB that a bridge passes on,
// uncached, readable and writable.
func DWordMemory(first, last uint32) Resource {
	return space(tagDWordSpace, 4, spaceMemory, spaceReadWrite, uint64(first), uint64(last))
}

// QWordMemory is a range of memory that a bridge passes on, uncached, readable
// and writable.
func QWordMemory(first, last uint64) Resource {
	return space(tagQWordSpace, 8, spaceMemory, spaceReadWrite, first, last)
}

// space is an address space descriptor with fields of width bytes: no
// granularity, the first and the last address, no translation, the length.
func space(tag byte, width int, kind, flags byte, first, last uint64) Resource {
	if last < first {
		panic(fmt.Sprintf("aml: address range %#x to %#x", first, last))
	}
	r := Resource{tag, byte(3 + 5*width), 0, kind, spaceFixed, flags}
	for _, v := range []uint64{0, first, last, 0, last - first + 1} {
		r = append(r, binary.LittleEndian.AppendUint64(nil, v)[:width]...)
	}
	return r
}

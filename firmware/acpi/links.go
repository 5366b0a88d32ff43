package acpi

import "encoding/binary"

// Pointer is a field of the blob that holds the address of one of its tables.
// A set of tables is moved by changing all of them, and then all checksums.
type Pointer struct {
	Offset, Size int // of the field, in bytes from the start of the blob
	Target       int // of the table, from the start of the blob
}

// Checksum is a byte of the blob that makes the sum of a range of bytes zero.
type Checksum struct {
	Offset      int // of the byte, from the start of the blob
	Start, Size int // of the range
}

// Fields that headers and the root pointer have (ACPI 6.5, sections 5.2.5.3 and
// 5.2.6).
const (
	headerChecksum = 9
	rsdpChecksum   = 8 // over the first rsdpV1Size bytes
	rsdpV1Size     = 20
	rsdpXSDT       = 24
	rsdpExtended   = 32 // checksum over all of it
	xsdtEntrySize  = 8
)

// Pointers lists the fields that hold addresses, in the order in which they lie.
func (t Tables) Pointers() []Pointer {
	var list []Pointer
	add := func(offset, size int) {
		var field [8]byte
		copy(field[:], t.Blob[offset:offset+size])
		list = append(list, Pointer{offset, size, int(binary.LittleEndian.Uint64(field[:]) - t.Base)})
	}
	for _, table := range t.Index {
		switch table.Signature {
		case "RSD PTR ":
			add(table.Offset+rsdpXSDT, 8)
		case "FACP":
			add(table.Offset+fadtFACS, 4)
			add(table.Offset+fadtDSDT, 4)
			add(table.Offset+fadtXDSDT, 8)
		case "XSDT":
			for at := headerSize; at < table.Size; at += xsdtEntrySize {
				add(table.Offset+at, xsdtEntrySize)
			}
		}
	}
	return list
}

// Checksums lists the checksums, in an order in which they can be worked out.
func (t Tables) Checksums() []Checksum {
	var list []Checksum
	for _, table := range t.Index {
		at := table.Offset
		switch table.Signature {
		case "FACS": // has none
		case "RSD PTR ":
			list = append(list,
				Checksum{at + rsdpChecksum, at, rsdpV1Size},
				Checksum{at + rsdpExtended, at, rsdpSize})
		default:
			list = append(list, Checksum{at + headerChecksum, at, table.Size})
		}
	}
	return list
}

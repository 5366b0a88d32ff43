package fwcfg

import (
	"encoding/binary"
	"fmt"

	"github.com/govmm/govmm/firmware/acpi"
)

// Names of the files that make firmware put ACPI tables into memory.
const (
	FileLoader = "etc/table-loader"
	FileTables = "etc/acpi/tables"
	FileRSDP   = "etc/acpi/rsdp"
)

// A table loader command has 128 bytes: a u32 that says what it is, and fields
// at the offsets below, little-endian. File names have 56 bytes.
const (
	commandSize = 128

	commandAllocate    = 1
	commandAddPointer  = 2
	commandAddChecksum = 3

	fieldFile     = 4   // [56]byte
	fieldAlign    = 60  // allocate: u32
	fieldZone     = 64  // allocate: u8
	fieldSource   = 60  // pointer: [56]byte
	fieldPointer  = 116 // pointer: u32 offset in the file
	fieldSize     = 120 // pointer: u8
	fieldChecksum = 60  // checksum: u32 offset in the file
	fieldStart    = 64  // checksum: u32
	fieldLength   = 68  // checksum: u32
)

// Zones of memory that a file can be put into.
const (
	zoneHigh = 1 // below 4 GiB
	zoneFSeg = 2 // the BIOS segment, where root pointers are looked for
)

// Alignments of the files. Tables are aligned within theirs.
const (
	alignTables = 64
	alignRSDP   = 16
)

// script is a sequence of commands.
type script []byte

func (s *script) add(command uint32, file string) (fields []byte) {
	c := make([]byte, commandSize)
	binary.LittleEndian.PutUint32(c, command)
	copy(c[fieldFile:fieldAlign-1], file)
	*s = append(*s, c...)
	return (*s)[len(*s)-commandSize:]
}

// allocate puts a file into memory.
func (s *script) allocate(file string, align uint32, zone uint8) {
	c := s.add(commandAllocate, file)
	binary.LittleEndian.PutUint32(c[fieldAlign:], align)
	c[fieldZone] = zone
}

// addPointer adds the address of source to a field of file.
func (s *script) addPointer(file, source string, offset, size int) {
	c := s.add(commandAddPointer, file)
	copy(c[fieldSource:fieldPointer-1], source)
	binary.LittleEndian.PutUint32(c[fieldPointer:], uint32(offset))
	c[fieldSize] = uint8(size)
}

// addChecksum makes the sum of a part of file zero by its byte at offset.
func (s *script) addChecksum(file string, offset, start, length int) {
	c := s.add(commandAddChecksum, file)
	binary.LittleEndian.PutUint32(c[fieldChecksum:], uint32(offset))
	binary.LittleEndian.PutUint32(c[fieldStart:], uint32(start))
	binary.LittleEndian.PutUint32(c[fieldLength:], uint32(length))
}

// ACPI makes the files from which firmware puts tables into memory, at
// addresses of its own choice: the root pointer, the other tables with offsets
// instead of addresses, and the commands that make addresses of them.
func ACPI(t acpi.Tables) ([]File, error) {
	rsdp := t.Index[0]
	if t.RSDP != t.Base+uint64(rsdp.Offset) || len(t.Index) < 2 {
		return nil, fmt.Errorf("fwcfg: the first table is %q, not the root pointer", rsdp.Signature)
	}
	split := t.Index[1].Offset // what lies before it becomes a file of its own
	if split%alignTables != 0 {
		return nil, fmt.Errorf("fwcfg: the tables begin at offset %d, not a multiple of %d", split, alignTables)
	}
	blob := append([]byte(nil), t.Blob...)
	place := func(offset int) (file string, inFile int) {
		if offset < split {
			return FileRSDP, offset
		}
		return FileTables, offset - split
	}
	var s script
	s.allocate(FileRSDP, alignRSDP, zoneFSeg)
	s.allocate(FileTables, alignTables, zoneHigh)
	for _, p := range t.Pointers() {
		target, inTarget := place(p.Target)
		var field [8]byte
		binary.LittleEndian.PutUint64(field[:], uint64(inTarget))
		copy(blob[p.Offset:p.Offset+p.Size], field[:])
		file, at := place(p.Offset)
		s.addPointer(file, target, at, p.Size)
	}
	for _, c := range t.Checksums() {
		file, start := place(c.Start)
		_, at := place(c.Offset)
		s.addChecksum(file, at, start, c.Size)
	}
	return []File{
		{FileRSDP, blob[:rsdp.Size]},
		{FileTables, blob[split:]},
		{FileLoader, s},
	}, nil
}

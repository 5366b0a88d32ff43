// Package smbios makes the tables by which a PC tells what it is and what it is
// made of: those that the SMBIOS specification 3.0 (DMTF DSP0134) requires, the
// structures of types 0, 1, 3, 4, 16, 17, 19, 32 and 127, and the 64-bit entry point.
//
// They are a pure function of a Config. All processors are in one socket, all
// memory in one device. Slots, ports, caches and the like are not described.
package smbios

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Config is what is told of a machine.
type Config struct {
	// Firmware is what made the tables and its version: a structure of type 0. If
	// it is empty there is none, because firmware in the machine makes one.
	Firmware, FirmwareVersion string
	// Manufacturer, Product and Version name the machine.
	Manufacturer, Product, Version string
	// UUID is the machine's, zero if it has none.
	UUID [16]byte
	// CPUs is the number of processors, and Processor the name that CPUID gives
	// them, CPUID the registers EAX and EDX of its leaf 1.
	CPUs      int
	Processor string
	CPUID     [2]uint32
	// Memory lists the ranges of RAM by address, in bytes.
	Memory []Range
}

// Range is a range of addresses.
type Range struct{ Base, Size uint64 }

// Structure types (DSP0134, 6.1).
const (
	typeFirmware  = 0
	typeSystem    = 1
	typeChassis   = 3
	typeProcessor = 4
	typeArray     = 16
	typeDevice    = 17
	typeMapped    = 19
	typeBoot      = 32
	typeEnd       = 127
)

// unknown is the answer of most enumerations to what a virtual machine has not.
const unknown = 2

// Tables are structures, and the entry point that leads to them.
type Tables struct {
	// Entry is the entry point, EntrySize bytes. Its checksum is right for the
	// address that the structures were made for.
	Entry []byte
	// Structures are all of them, one behind the other.
	Structures []byte
}

// EntrySize is the length of the entry point in bytes.
const EntrySize = 24

// maxStructures is what the firmware in a machine can move.
const maxStructures = 60 << 10

// Build makes tables whose structures lie at a physical address.
func Build(c Config, address uint64) (Tables, error) {
	var b builder
	if c.Firmware != "" {
		b.firmware(c)
	}
	b.system(c)
	b.chassis(c)
	if err := b.processor(c); err != nil {
		return Tables{}, err
	}
	b.memory(c)
	b.add(typeBoot, make([]byte, 7)) // no errors
	b.add(typeEnd, nil)
	if len(b.out) > maxStructures {
		return Tables{}, fmt.Errorf("smbios: %d bytes of structures, at most %d", len(b.out), maxStructures)
	}
	return Tables{Entry: entry(address, len(b.out)), Structures: b.out}, nil
}

// entry makes the 64-bit entry point (DSP0134, 5.2.2).
func entry(address uint64, size int) []byte {
	e := make([]byte, EntrySize)
	copy(e, "_SM3_")
	e[6] = EntrySize
	e[7], e[8] = 3, 0 // version
	e[10] = 1         // revision of the entry point
	binary.LittleEndian.PutUint32(e[12:], uint32(size))
	binary.LittleEndian.PutUint64(e[16:], address)
	var sum byte
	for _, v := range e {
		sum += v
	}
	e[5] = -sum
	return e
}

// builder collects structures.
type builder struct {
	out    []byte
	handle uint16
}

// add appends a structure: what follows its header, and its strings, which the
// structure counts from 1. It returns the structure's handle.
func (b *builder) add(kind byte, body []byte, strings ...string) uint16 {
	const header = 4
	handle := b.handle
	b.handle++
	b.out = append(b.out, kind, byte(header+len(body)))
	b.out = binary.LittleEndian.AppendUint16(b.out, handle)
	b.out = append(b.out, body...)
	for _, s := range strings {
		b.out = append(append(b.out, s...), 0)
	}
	if len(strings) == 0 {
		b.out = append(b.out, 0)
	}
	b.out = append(b.out, 0)
	return handle
}

// text is a string that a structure refers to: none may be empty.
func text(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Offsets in the functions below are from the end of the header, so 4 less than in
// the specification.

// firmware is the structure of the BIOS (7.1).
func (b *builder) firmware(c Config) {
	p := make([]byte, 20)
	p[0], p[1], p[4] = 1, 2, 3
	binary.LittleEndian.PutUint16(p[2:], 0xE800) // starting segment
	p[6] = 1 << 3                                // characteristics: not supported
	p[15] = 1 << 4                               // the second extension byte: a virtual machine
	p[16], p[17], p[18], p[19] = 0xFF, 0xFF, 0xFF, 0xFF
	b.add(typeFirmware, p, c.Firmware, text(c.FirmwareVersion), "01/01/2026")
}

// system is the structure of the machine (7.2).
func (b *builder) system(c Config) {
	p := make([]byte, 23)
	p[0], p[1], p[2] = 1, 2, 3
	copy(p[4:], c.UUID[:])
	p[20] = 6 // wake-up: power switch
	b.add(typeSystem, p, text(c.Manufacturer), text(c.Product), text(c.Version))
}

// chassis is the structure of the enclosure (7.4).
func (b *builder) chassis(c Config) {
	const other, safe, none = 1, 3, 3
	p := make([]byte, 18)
	p[0], p[1] = 1, other
	p[5], p[6], p[7], p[8] = safe, safe, safe, none
	b.add(typeChassis, p, text(c.Manufacturer))
}

// processor is the structure of the socket (7.5).
func (b *builder) processor(c Config) error {
	if c.CPUs < 1 || c.CPUs > math.MaxUint16 {
		return fmt.Errorf("smbios: %d processors", c.CPUs)
	}
	const central, otherFamily, enabled, noCache = 3, 1, 0x41, 0xFFFF
	le := binary.LittleEndian
	p := make([]byte, 44)
	p[0] = 1
	p[1], p[2] = central, otherFamily
	p[3] = 2
	le.PutUint32(p[4:], c.CPUID[0])
	le.PutUint32(p[8:], c.CPUID[1])
	p[12] = 3
	p[20] = enabled
	p[21] = 1 // upgrade: other
	for _, at := range []int{22, 24, 26} {
		le.PutUint16(p[at:], noCache)
	}
	few := byte(min(c.CPUs, 255))
	p[31], p[32], p[33] = few, few, few
	le.PutUint16(p[34:], unknown)
	le.PutUint16(p[36:], otherFamily)
	for _, at := range []int{38, 40, 42} {
		le.PutUint16(p[at:], uint16(c.CPUs))
	}
	b.add(typeProcessor, p, "CPU 0", text(c.Manufacturer), text(c.Processor))
	return nil
}

// memory are the structures of the memory: the array, the device in it, and where
// it is mapped (7.17, 7.18, 7.20).
func (b *builder) memory(c Config) {
	const (
		boardOther, system, ramMultiBit = 1, 3, 6
		noErrors                        = 0xFFFE
		extendedKiB                     = 0x80000000
		kib, mib                        = 1 << 10, 1 << 20
		formDIMM, typeRAM, detailOther  = 9, 7, 1 << 1
		extendedMiB                     = 0x7FFF
	)
	le := binary.LittleEndian
	var total uint64
	for _, r := range c.Memory {
		total += r.Size
	}
	p := make([]byte, 19)
	p[0], p[1], p[2] = boardOther, system, ramMultiBit
	if n := total / kib; n < extendedKiB {
		le.PutUint32(p[3:], uint32(n))
	} else {
		le.PutUint32(p[3:], extendedKiB)
		le.PutUint64(p[11:], total)
	}
	le.PutUint16(p[7:], noErrors)
	le.PutUint16(p[9:], 1)
	array := b.add(typeArray, p)

	p = make([]byte, 36)
	le.PutUint16(p[0:], array)
	le.PutUint16(p[2:], noErrors)
	le.PutUint16(p[4:], 0xFFFF) // widths: unknown
	le.PutUint16(p[6:], 0xFFFF)
	if n := total / mib; n < extendedMiB {
		le.PutUint16(p[8:], uint16(n))
	} else {
		le.PutUint16(p[8:], extendedMiB)
		le.PutUint32(p[24:], uint32(n))
	}
	p[10], p[12], p[14] = formDIMM, 1, typeRAM
	le.PutUint16(p[15:], detailOther)
	p[19] = 2
	b.add(typeDevice, p, "DIMM 0", text(c.Manufacturer))

	for _, r := range c.Memory {
		p := make([]byte, 27)
		if last := r.Base + r.Size - 1; last/kib < math.MaxUint32 {
			le.PutUint32(p[0:], uint32(r.Base/kib))
			le.PutUint32(p[4:], uint32(last/kib))
		} else {
			le.PutUint32(p[0:], math.MaxUint32)
			le.PutUint32(p[4:], math.MaxUint32)
			le.PutUint64(p[11:], r.Base)
			le.PutUint64(p[19:], last)
		}
		le.PutUint16(p[8:], array)
		p[10] = 1 // partition width
		b.add(typeMapped, p)
	}
}

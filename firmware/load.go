package firmware

import (
	"io"
)

// Memory is guest RAM by guest-physical address, zero-filled when Load is
// called. pci.DMA has this method.
type Memory interface {
	// WriteAt copies p to guest memory at addr.
	WriteAt(p []byte, addr uint64) error
}

// Windows is what a Memory may offer besides, for loading without a copy.
// pci.DMA has this method.
type Windows interface {
	// Append appends to dst the windows of guest RAM that make up the n bytes
	// at addr, in order.
	Append(dst [][]byte, addr, n uint64) ([][]byte, error)
}

// Source is a file in which to read at any offset: *bytes.Reader and
// *io.SectionReader are Sources.
type Source interface {
	io.ReaderAt
	Size() int64
}

// LoadConfig is what to load, and what to tell the kernel.
type LoadConfig struct {
	Layout  Layout
	Kernel  Source
	Initrd  Source // nil: none
	Cmdline string // without a terminating NUL
	// RSDP is the address of the ACPI root pointer, 0 if there is none.
	RSDP uint64
	// Seed is entropy for the guest's random number generator, at most
	// MaxSeed bytes; nil: none. PVH has no place for one.
	Seed []byte
}

// MaxSeed is the most entropy that a kernel is handed, in bytes.
const MaxSeed = 256

// Load puts the kernel of the configuration into memory, with its initial RAM
// disk, its command line and the structures that describe the machine to it,
// and returns how to enter it. An error says in one line what is wrong with
// the kernel, the initial RAM disk, the command line or the amount of RAM;
// memory is then partly written and of no use.
func Load(mem Memory, c LoadConfig) (Entry, error) {
	return Entry{}, nil
}

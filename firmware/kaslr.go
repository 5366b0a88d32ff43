package firmware

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// place64 is where a kernel lies, and where it is mapped, given as the physical
// address that the map of a kernel that was not moved has there.
type place64 struct {
	physical, virtual uint64
	random            bool
}

const (
	// randomFloor is how low a kernel is put that prefers to be higher.
	randomFloor = 512 * mib
	// randomCeiling is how high a kernel is put: one table of directories reaches
	// this far.
	randomCeiling = 512 * gib
)

// words are those of a command line.
type words []string

func commandLineWords(cmdline string) words { return strings.Fields(cmdline) }

func (w words) has(word string) bool { return slices.Contains(w, word) }

// decline says which option has the kernel choose its place in ways that are not
// ours: it limits the memory, or keeps some of it in large pieces.
func (w words) decline() error {
	for _, word := range w {
		name, _, _ := strings.Cut(word, "=")
		if name == "mem" || name == "memmap" || strings.Contains(name, "hugepages") {
			return fmt.Errorf("the command line has %s", word)
		}
	}
	return nil
}

// choosePlace finds a place for the kernel, at random as the kernel itself would if
// that is wished and it can be mapped anywhere (Linux, KASLR): of the addresses with
// its alignment where RAM is free for it, each is as likely as any other.
func (u *unpackedKernel) choosePlace(l Layout, initrd Range, random bool) (place64, error) {
	at := place64{physical: u.runs.Base, virtual: u.runs.Base}
	if !random {
		return at, nil
	}
	if u.relocations.empty() {
		return at, nil
	}
	at.random = true
	size, align := u.room(), u.alignment()
	n, err := randomBelow(positions(Range{u.runs.Base, kernelMapSize - u.runs.Base}, size, align))
	if err != nil {
		return at, err
	}
	at.virtual += n * align

	ranges := freeFor(l, min(u.runs.Base, randomFloor), initrd)
	var total uint64
	for _, r := range ranges {
		total += positions(r, size, align)
	}
	if n, err = randomBelow(total); err != nil {
		return at, err
	}
	for _, r := range ranges {
		count := positions(r, size, align)
		if n < count {
			at.physical = alignUp(r.Base, align) + n*align
			break
		}
		n -= count
	}
	return at, nil
}

// freeFor lists the RAM from floor on in which no initial RAM disk is.
func freeFor(l Layout, floor uint64, initrd Range) []Range {
	var list []Range
	for _, r := range l.RAM() {
		base, end := max(r.Base, floor), min(r.End(), randomCeiling)
		if base >= end {
			continue
		}
		r = Range{base, end - base}
		if initrd.Size == 0 || !r.Overlaps(initrd) {
			list = append(list, r)
			continue
		}
		if initrd.Base > base {
			list = append(list, Range{base, initrd.Base - base})
		}
		if initrd.End() < end {
			list = append(list, Range{initrd.End(), end - initrd.End()})
		}
	}
	return list
}

// positions counts the multiples of align at which size bytes are inside r.
func positions(r Range, size, align uint64) uint64 {
	skip := alignUp(r.Base, align) - r.Base
	if size > r.Size || skip > r.Size-size {
		return 0
	}
	return (r.Size-size-skip)/align + 1
}

func alignUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// randomBelow is a random number below n, of which nobody can guess anything.
func randomBelow(n uint64) (uint64, error) {
	if n == 0 {
		return 0, fmt.Errorf("there is no room for the kernel at a random address")
	}
	v, err := rand.Int(rand.Reader, new(big.Int).SetUint64(n))
	if err != nil {
		return 0, err
	}
	return v.Uint64(), nil
}

// extendMap adds to the page tables of an entry in 64-bit mode what lies above 4 GiB
// of a range below 512 GiB, and a fifth level if it is wanted.
func (g *guest) extendMap(e *Entry, r Range, la57 bool) error {
	const (
		directoryPointers = pageTablesAddr + pageSize
		firstDirectory    = HighRAMBase / gib
	)
	free := uint64(pageTablesAddr + (2+firstDirectory)*pageSize)
	le := binary.LittleEndian
	for d := max(r.Base/gib, firstDirectory); d <= (r.End()-1)/gib; d++ {
		directory := make([]byte, pageSize)
		for i := range uint64(tableSlots) {
			le.PutUint64(directory[i*8:], (d*tableSlots+i)*largePage|pagePresent|pageWrite|pageLarge)
		}
		if err := g.write(directory, free); err != nil {
			return err
		}
		if err := g.write(le.AppendUint64(nil, free|pagePresent|pageWrite), directoryPointers+d*8); err != nil {
			return err
		}
		free += pageSize
	}
	if !la57 {
		return nil
	}
	top := make([]byte, pageSize)
	le.PutUint64(top, e.CR3|pagePresent|pageWrite)
	if err := g.write(top, free); err != nil {
		return err
	}
	e.CR3, e.CR4 = free, e.CR4|cr4LA57
	return nil
}

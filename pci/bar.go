package pci

import (
	"fmt"
	"math"
)

// BARKind is what a base address register decodes. The values are the low
// bits of the register itself (PCI 6.2.5.1).
type BARKind uint8

const (
	// Mem32 is memory anywhere below 4 GiB.
	Mem32 BARKind = 0x0
	// IO is a range of ports.
	IO BARKind = 0x1
	// Mem64 is memory anywhere; it takes the next BAR as its high half.
	Mem64 BARKind = 0x4
	// Prefetchable can be added to Mem32 and Mem64: reads have no side effects.
	Prefetchable BARKind = 0x8
)

// Limits of BAR sizes in bytes.
const (
	minIOSize  = 4
	maxIOSize  = 256
	minMemSize = 16
	max32Size  = 1 << 31
)

// bar is a base address register and the window that it opens.
type bar struct {
	reg    int // offset of the register in configuration space
	kind   BARKind
	window window
}

// AddBAR gives the function base address register index (0 to 5) of the given
// kind. size is a power of two, at least 16 for memory and 4 (at most 256) for
// ports. Decoded accesses go to r; a nil r reads as zero. A Mem64 register takes
// index+1 too.
func (f *Function) AddBAR(index int, kind BARKind, size uint64, r Region) {
	last := index
	if kind.is64() {
		last++
	}
	if index < 0 || last > 5 || f.taken(index) || kind.is64() && f.bars[last] != nil {
		f.fail("BAR %d is taken or does not exist", index)
		return
	}
	if !kind.fits(size) {
		f.fail("BAR %d: kind %#x cannot decode %#x bytes", index, uint8(kind), size)
		return
	}
	if r == nil {
		r = zeroes{}
	}
	b := &bar{reg: regBAR0 + 4*index, kind: kind}
	b.window = window{
		name:   fmt.Sprintf("%s BAR %d", f.name, index),
		port:   kind.isIO(),
		size:   size,
		region: r,
	}
	f.bars[index] = b

	mask := ^(size - 1)
	f.define(Register{Offset: b.reg, Size: 4, Reset: uint32(kind), Write: uint32(mask)})
	if kind.is64() {
		f.define(Register{Offset: b.reg + 4, Size: 4, Write: uint32(mask >> 32)})
	}
}

// taken reports whether register index is in use, be it as a high half.
func (f *Function) taken(index int) bool {
	return f.bars[index] != nil ||
		index > 0 && f.bars[index-1] != nil && f.bars[index-1].kind.is64()
}

func (k BARKind) isIO() bool { return k&IO != 0 }
func (k BARKind) is64() bool { return k&(IO|Mem64) == Mem64 }

// fits reports whether k is a kind that can decode size bytes.
func (k BARKind) fits(size uint64) bool {
	if size&(size-1) != 0 {
		return false
	}
	switch k {
	case IO:
		return size >= minIOSize && size <= maxIOSize
	case Mem32, Mem32 | Prefetchable:
		return size >= minMemSize && size <= max32Size
	case Mem64, Mem64 | Prefetchable:
		return size >= minMemSize
	}
	return false
}

// windows brings the wanted positions of all BARs up to date and returns them.
//
// Preconditions: f.mu is held.
func (f *Function) windows() []wish {
	var list []wish
	for _, b := range f.bars {
		if b != nil {
			base, decoded := f.decoded(b)
			list = append(list, wish{&b.window, base, decoded})
		}
	}
	return list
}

// decoded is where b decodes accesses now, if it does. An address of zero is a
// BAR that was never set, and all ones is one that is being sized.
//
// Preconditions: f.mu is held.
func (f *Function) decoded(b *bar) (base uint64, ok bool) {
	command := f.cfg.uint16At(regCommand)
	if f.powerState() != powerD0 {
		return 0, false
	}
	size := b.window.size
	base = uint64(f.cfg.uint32At(b.reg)) &^ (minMemSize - 1)
	limit, enable := uint64(math.MaxUint32), uint16(commandMemory)
	switch {
	case b.kind.isIO():
		base = uint64(f.cfg.uint32At(b.reg)) &^ (minIOSize - 1)
		limit, enable = math.MaxUint16, commandIO
	case b.kind.is64():
		base |= uint64(f.cfg.uint32At(b.reg+4)) << 32
		limit = math.MaxUint64
	}
	sizing := base > limit-size // the last place below the limit
	return base, command&enable != 0 && base != 0 && !sizing
}

// zeroes is a Region that holds nothing.
type zeroes struct{}

func (zeroes) Read(_ uint64, p []byte) { clear(p) }
func (zeroes) Write(uint64, []byte)    {}

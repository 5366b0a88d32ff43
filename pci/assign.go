package pci

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Space is a range of ports or of memory addresses that BARs can be put into.
type Space struct {
	Base, Size uint64 // in bytes
}

// Assign gives every base address register of every function an address, as a
// PC's firmware does before it starts an operating system: ports from ports,
// memory of either width from memory, the largest first and each at a multiple
// of its size. Decoding stays as the command registers say. Without it a BAR
// stands at zero, over the ports of the chipset, until the guest moves it.
func (b *Bus) Assign(ports, memory Space) error {
	var bars []assignment
	for i := range b.functions {
		f := b.functions[i].Load()
		if f == nil {
			continue
		}
		for _, r := range f.bars {
			if r != nil {
				bars = append(bars, assignment{f, r})
			}
		}
	}
	slices.SortStableFunc(bars, func(x, y assignment) int {
		return cmp.Compare(y.bar.window.size, x.bar.window.size)
	})
	for _, a := range bars {
		space := &memory
		if a.bar.kind.isIO() {
			space = &ports
		}
		base, ok := space.take(a.bar.window.size)
		if !ok {
			return fmt.Errorf("pci function %s: no room for %#x bytes in the %#x bytes that are left from %#x",
				a.f.name, a.bar.window.size, space.Size, space.Base)
		}
		a.put(base)
	}
	return nil
}

// assignment is a base address register that gets an address.
type assignment struct {
	f   *Function
	bar *bar
}

// put writes base into the register.
func (a assignment) put(base uint64) {
	a.f.WriteConfig(a.bar.reg, binary.LittleEndian.AppendUint32(nil, uint32(base)))
	if a.bar.kind.is64() {
		a.f.WriteConfig(a.bar.reg+4, binary.LittleEndian.AppendUint32(nil, uint32(base>>32)))
	}
}

// take cuts size bytes, a power of two, off the space, at a multiple of size.
func (s *Space) take(size uint64) (base uint64, ok bool) {
	gap := -s.Base & (size - 1)
	if gap > s.Size || size > s.Size-gap {
		return 0, false
	}
	base = s.Base + gap
	s.Base += gap + size
	s.Size -= gap + size
	return base, true
}

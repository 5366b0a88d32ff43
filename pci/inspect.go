package pci

import "encoding/binary"

// RegionInfo is a base address register as the guest has programmed it.
type RegionInfo struct {
	Index        int
	IO           bool // ports, not memory
	Is64         bool
	Prefetchable bool
	Address      uint64
	Size         uint64 // bytes
}

// Regions lists the function's base address registers.
func (f *Function) Regions() []RegionInfo {
	var list []RegionInfo
	for i, b := range f.bars {
		if b == nil {
			continue
		}
		const flagBits, prefetchable = 0xF, 1 << 3
		var p [8]byte
		f.ReadConfig(b.reg, p[:4])
		if b.kind.is64() {
			f.ReadConfig(b.reg, p[:])
		}
		v := binary.LittleEndian.Uint64(p[:])
		list = append(list, RegionInfo{
			Index:        i,
			IO:           b.kind.isIO(),
			Is64:         b.kind.is64(),
			Prefetchable: !b.kind.isIO() && v&prefetchable != 0,
			Address:      v &^ flagBits & -b.window.size,
			Size:         b.window.size,
		})
	}
	return list
}

// Place is a function and where it is on its bus.
type Place struct {
	Slot, Fn int
	Function *Function
}

// Places lists the functions on the bus by their places.
func (b *Bus) Places() []Place {
	var list []Place
	for i := range b.functions {
		if f := b.functions[i].Load(); f != nil {
			list = append(list, Place{i / slotFunction, i % slotFunction, f})
		}
	}
	return list
}

package firmware

import "fmt"

// Guest-physical addresses of a PC, fixed for every amount of RAM.
const (
	// LowRAMMax is where RAM below 4 GiB ends at the latest and the PCI hole
	// begins; RAM beyond it continues at HighRAMBase.
	LowRAMMax = 0xC0000000
	// HighRAMBase is where RAM above the PCI hole begins.
	HighRAMBase = 1 << 32

	// MMIO32End is the end of the 32-bit PCI memory window: the I/O APIC, the
	// local APICs and the hypervisor's pages lie above.
	MMIO32End = 0xFEC00000
	// IOAPICBase and LocalAPICBase are the interrupt controllers' registers.
	IOAPICBase    = 0xFEC00000
	LocalAPICBase = 0xFEE00000

	// IdentityMapBase is one page for a hypervisor's real-mode identity map;
	// the three pages at TSSBase after it are for its task state segment. The
	// guest sees all four reserved.
	IdentityMapBase = 0xFEFFC000
	TSSBase         = IdentityMapBase + pageSize
	hypervisorPages = 4

	// VideoBase and VideoEnd bound the legacy video hole, which has no RAM.
	VideoBase = 0xA0000
	VideoEnd  = 0xC0000

	// TablesBase and TablesEnd bound the reserved memory that is free for the
	// ACPI tables of a machine without a BIOS.
	TablesBase = 0xE0000
	TablesEnd  = 0xF0000

	// SMBIOSBase and SMBIOSEnd bound the reserved memory in which a machine without
	// a BIOS has its SMBIOS tables, the entry point first.
	SMBIOSBase = biosBase
	SMBIOSEnd  = lowEnd

	ebdaBase = 0x9FC00 // extended BIOS data area, to VideoBase
	biosBase = 0xF0000 // BIOS segment, to lowEnd
	lowEnd   = 0x100000

	pageSize = 4 << 10
	gib      = 1 << 30
	mib      = 1 << 20
)

// The RAM sizes that a machine may have, in bytes.
const (
	// MinRAM is the least RAM of a machine.
	MinRAM = 2 * mib
	// MinPhysBits and MaxPhysBits bound the width of a physical address.
	MinPhysBits = 36
	MaxPhysBits = 52
)

// mmio64Max is the size of the 64-bit PCI window where there is room for it.
const mmio64Max = 64 * gib

// Range is a range of guest-physical addresses.
type Range struct {
	Base, Size uint64
}

// End is the first address after the range.
func (r Range) End() uint64 { return r.Base + r.Size }

// Overlaps reports whether the ranges share an address.
func (r Range) Overlaps(o Range) bool {
	return r.Base < o.End() && o.Base < r.End()
}

// Contains reports whether o lies wholly inside r.
func (r Range) Contains(o Range) bool {
	return o.Base >= r.Base && o.Size <= r.Size && o.Base-r.Base <= r.Size-o.Size
}

// String formats the range as an inclusive interval, as Linux prints it.
func (r Range) String() string {
	if r.Size == 0 {
		return "none"
	}
	return fmt.Sprintf("%#x-%#x", r.Base, r.End()-1)
}

// E820Type is the type of a range in the memory map (ACPI 6.5, 15.1).
type E820Type uint32

// The types that a map of ours contains.
const (
	E820RAM      E820Type = 1
	E820Reserved E820Type = 2
)

// String names the type as Linux does.
func (t E820Type) String() string {
	switch t {
	case E820RAM:
		return "usable"
	case E820Reserved:
		return "reserved"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// E820Entry is one range of the memory map that the guest is given.
type E820Entry struct {
	Range
	Type E820Type
}

// Layout is the division of the guest-physical address space. It is the one
// truth about where RAM is: the machine takes its memory slots from it, the
// loaders the map that the kernel is told, and the ACPI tables the windows of
// the PCI root.
type Layout struct {
	ram      uint64
	physBits uint
}

// NewLayout divides an address space of physBits bits (CPUID 0x80000008) for a
// machine with ram bytes of RAM. The RAM must be a multiple of the 4 KiB page.
func NewLayout(ram uint64, physBits uint) (Layout, error) {
	if physBits < MinPhysBits || physBits > MaxPhysBits {
		return Layout{}, fmt.Errorf("physical address width of %d bits: must be %d to %d", physBits, MinPhysBits, MaxPhysBits)
	}
	l := Layout{ram, physBits}
	limit := uint64(1) << physBits
	switch {
	case ram < MinRAM:
		return Layout{}, fmt.Errorf("memory of %s: must be at least %s", FormatSize(ram), FormatSize(MinRAM))
	case ram%pageSize != 0:
		return Layout{}, fmt.Errorf("memory of %d bytes: must be a multiple of %d", ram, pageSize)
	case ram > limit || l.top() > limit:
		return Layout{}, fmt.Errorf("memory of %s: a processor with %d address bits has room for %s",
			FormatSize(ram), physBits, FormatSize(limit-HighRAMBase+LowRAMMax))
	}
	return l, nil
}

// Size is the amount of RAM in bytes. The RAM under the legacy video hole is
// counted, though the guest cannot reach it.
func (l Layout) Size() uint64 { return l.ram }

// LowRAM is the RAM from address 0 to the PCI hole, the video hole included.
func (l Layout) LowRAM() Range { return Range{0, min(l.ram, LowRAMMax)} }

// HighRAM is the RAM above the PCI hole, empty if all of it fits below.
func (l Layout) HighRAM() Range {
	return Range{HighRAMBase, l.ram - l.LowRAM().Size}
}

// RAM lists the ranges behind which the machine has to put memory, by address:
// below the video hole, from its end to the PCI hole, and above 4 GiB.
func (l Layout) RAM() []Range {
	ranges := []Range{
		{0, VideoBase},
		{VideoEnd, l.LowRAM().Size - VideoEnd},
	}
	if high := l.HighRAM(); high.Size > 0 {
		ranges = append(ranges, high)
	}
	return ranges
}

// MMIO32 is the PCI memory window below 4 GiB.
func (l Layout) MMIO32() Range {
	return Range{LowRAMMax, MMIO32End - LowRAMMax}
}

// MMIO64 is the PCI memory window above all RAM, empty if the address width
// leaves no room for one.
func (l Layout) MMIO64() Range {
	base := (l.top() + gib - 1) &^ (gib - 1)
	limit := uint64(1) << l.physBits
	if base >= limit {
		return Range{}
	}
	return Range{base, min(mmio64Max, limit-base)}
}

// E820 is the memory map for the guest, sorted by address.
func (l Layout) E820() []E820Entry {
	entries := []E820Entry{
		{Range{0, ebdaBase}, E820RAM},
		{Range{ebdaBase, VideoBase - ebdaBase}, E820Reserved},
		{Range{TablesBase, TablesEnd - TablesBase}, E820Reserved},
		{Range{biosBase, lowEnd - biosBase}, E820Reserved},
		{Range{lowEnd, l.LowRAM().Size - lowEnd}, E820RAM},
		{Range{IdentityMapBase, hypervisorPages * pageSize}, E820Reserved},
	}
	if high := l.HighRAM(); high.Size > 0 {
		entries = append(entries, E820Entry{high, E820RAM})
	}
	return entries
}

// top is the first address above all RAM and the 32-bit address space.
func (l Layout) top() uint64 { return l.HighRAM().End() }

// FormatSize writes a number of bytes with the largest unit that keeps it
// whole: "512 MiB", "3 GiB", "2049 KiB", "17 bytes".
func FormatSize(n uint64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n != 0 && n&(1<<u.shift-1) == 0 {
			return fmt.Sprintf("%d %s", n>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

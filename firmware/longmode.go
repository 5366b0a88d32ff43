package firmware

import "encoding/binary"

// Control register and EFER bits (Intel SDM volume 3, 2.5 and 2.2.1).
const (
	cr0PE   = 1 << 0
	cr0ET   = 1 << 4
	cr0PG   = 1 << 31
	cr4PAE  = 1 << 5
	cr4LA57 = 1 << 12
	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsFixed = 1 << 1
)

// Selectors that the Linux boot protocol asks for.
const (
	codeSelector = 0x10
	dataSelector = 0x18
	taskSelector = 0x20
	gdtSize      = 0x30 // the 64-bit task descriptor takes two slots
)

// Segment types (Intel SDM volume 3, 3.4.5.1 and 3.5).
const (
	typeData = 0x3 // read, write, accessed
	typeCode = 0xB // execute, read, accessed
	typeTask = 0xB // busy task state segment
)

// Page table entry bits (Intel SDM volume 3, 4.5).
const (
	pagePresent = 1 << 0
	pageWrite   = 1 << 1
	pageLarge   = 1 << 7

	largePage  = 2 * mib
	tableSlots = 512
)

// newEntry writes the descriptor table, and for 64-bit mode the page tables,
// and returns an Entry in that mode with everything set but the registers that
// carry the kernel's arguments.
func (g *guest) newEntry(m Mode, rip uint64) (Entry, error) {
	e := Entry{
		Mode:   m,
		RIP:    rip,
		RSP:    stackTop,
		RFLAGS: rflagsFixed,
		CR0:    cr0PE | cr0ET,
		GDT:    DescriptorTable{Base: gdtAddr, Limit: gdtSize - 1},
		Code: Segment{Selector: codeSelector, Limit: 0xFFFFFFFF, Type: typeCode,
			Present: true, S: true, Default: m == Protected32, Long: m == Long64, Granular: true},
		Data: Segment{Selector: dataSelector, Limit: 0xFFFFFFFF, Type: typeData,
			Present: true, S: true, Default: true, Granular: true},
		Task: Segment{Selector: taskSelector, Limit: 0x67, Type: typeTask, Present: true},
	}
	if m == Long64 {
		e.CR0 |= cr0PG
		e.CR3 = pageTablesAddr
		e.CR4 = cr4PAE
		e.EFER = eferLME | eferLMA
		if err := g.write(identityMap(), pageTablesAddr); err != nil {
			return Entry{}, err
		}
	}
	gdt := make([]byte, gdtSize)
	for _, s := range []Segment{e.Code, e.Data, e.Task} {
		binary.LittleEndian.PutUint64(gdt[s.Selector:], s.descriptor())
	}
	return e, g.write(gdt, gdtAddr)
}

// descriptor encodes the segment as a slot of the descriptor table.
func (s Segment) descriptor() uint64 {
	limit := uint64(s.Limit)
	if s.Granular {
		limit >>= 12
	}
	return limit&0xFFFF | limit>>16&0xF<<48 |
		s.Base&0xFFFFFF<<16 | s.Base>>24&0xFF<<56 |
		uint64(s.Type&0xF)<<40 | uint64(s.DPL&3)<<45 |
		bit(44, s.S) | bit(47, s.Present) |
		bit(53, s.Long) | bit(54, s.Default) | bit(55, s.Granular)
}

// bit is a word with bit n set if v is true.
func bit(n int, v bool) uint64 {
	if v {
		return 1 << n
	}
	return 0
}

// identityMap makes page tables for pageTablesAddr that map the low 4 GiB onto
// themselves with 2 MiB pages: the top level, one directory pointer table and
// four directories.
func identityMap() []byte {
	const directories = HighRAMBase / gib
	tables := make([]byte, (2+directories)*pageSize)
	put := func(table, slot int, v uint64) {
		binary.LittleEndian.PutUint64(tables[table*pageSize+slot*8:], v)
	}
	put(0, 0, pageTablesAddr+pageSize|pagePresent|pageWrite)
	for d := range directories {
		put(1, d, uint64(pageTablesAddr+(2+d)*pageSize)|pagePresent|pageWrite)
		for i := range tableSlots {
			put(2+d, i, uint64(d*tableSlots+i)*largePage|pagePresent|pageWrite|pageLarge)
		}
	}
	return tables
}

package payload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Where the 32-bit start of a PVH kernel lies, behind what the program has. It
// ends at PVHEnd.
const (
	pvhTables = End                  // six page tables
	pvhGDT    = pvhTables + 6*0x1000 // descriptors, and behind them the pointer to them
	pvhEntry  = pvhGDT + 0x100
	pvhStack  = pvhGDT + 0x1000 // grows downwards
	PVHEnd    = pvhStack
)

// PVHKernel links the program and returns it as an ELF64 kernel with a PVH note,
// which QEMU boots, too (-kernel). It is entered in 32-bit mode and makes for
// itself what [Program.Kernel] finds: 64-bit mode, and the low 4 GiB mapped onto
// themselves.
func (p *Program) PVHKernel() *bytes.Reader {
	start := make([]byte, pvhStack-pvhTables)
	copy(start, identityTables())
	copy(start[pvhGDT-pvhTables:], descriptors())
	copy(start[pvhEntry-pvhTables:], enterLongMode())
	return p.image([]elf.Prog64{{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X), Vaddr: pvhTables, Paddr: pvhTables,
		Filesz: uint64(len(start)), Memsz: uint64(len(start)),
	}, {
		Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Filesz: uint64(len(pvhNote())), Align: 4,
	}}, [][]byte{start, pvhNote()})
}

// pvhNote is the ELF note that names the 32-bit entry (Xen,
// xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY).
func pvhNote() []byte {
	const physicalEntry = 18
	var note []byte
	for _, v := range []uint32{4, 4, physicalEntry} { // sizes of name and descriptor, type
		note = binary.LittleEndian.AppendUint32(note, v)
	}
	note = append(note, "Xen\x00"...)
	return binary.LittleEndian.AppendUint32(note, pvhEntry)
}

// identityTables map the low 4 GiB in pages of 2 MiB: one table of the fourth
// level, one of the third, and four of the second (Intel SDM volume 3, 4.5).
func identityTables() []byte {
	const (
		table     = 0x1000
		presentRW = 3
		large     = 1 << 7
	)
	tables := make([]byte, 6*table)
	le := binary.LittleEndian
	le.PutUint64(tables, pvhTables+table|presentRW)
	for i := range 4 {
		le.PutUint64(tables[table+8*i:], uint64(pvhTables+(2+i)*table|presentRW))
	}
	for i := range 4 * table / 8 {
		le.PutUint64(tables[2*table+8*i:], uint64(i)<<21|large|presentRW)
	}
	return tables
}

// descriptors are a GDT with 64-bit code at codeSelector and data behind it, and
// the pointer that LGDT takes.
func descriptors() []byte {
	const (
		code64 = 0x00af9b000000ffff
		data   = 0x00cf93000000ffff
	)
	var gdt []byte
	for _, d := range []uint64{0, 0, code64, data} {
		gdt = binary.LittleEndian.AppendUint64(gdt, d)
	}
	limit := uint16(len(gdt) - 1)
	gdt = binary.LittleEndian.AppendUint16(gdt, limit)
	return binary.LittleEndian.AppendUint32(gdt, pvhGDT)
}

// enterLongMode is the code at pvhEntry (Intel SDM volume 3, 9.8.5).
func enterLongMode() []byte {
	const gdtPointer = pvhGDT + 4*8
	p := New()
	p.Raw(0xfa)             // cli
	p.Raw(0x0f, 0x01, 0x15) // lgdt [gdtPointer]
	p.imm32(gdtPointer)
	p.Raw(0xb8) // mov eax, pvhTables
	p.imm32(pvhTables)
	p.Raw(0x0f, 0x22, 0xd8)                      // mov cr3, eax
	p.Raw(0xb8, 0x20, 0, 0, 0)                   // mov eax, PAE
	p.Raw(0x0f, 0x22, 0xe0)                      // mov cr4, eax
	p.Raw(0xb9, 0x80, 0, 0, 0xc0)                // mov ecx, EFER
	p.Raw(0x0f, 0x32)                            // rdmsr
	p.Raw(0x0d, 0, 1, 0, 0)                      // or eax, LME
	p.Raw(0x0f, 0x30)                            // wrmsr
	p.Raw(0x0f, 0x20, 0xc0)                      // mov eax, cr0
	p.Raw(0x0d, 1, 0, 0, 0x80)                   // or eax, PG|PE
	p.Raw(0x0f, 0x22, 0xc0)                      // mov cr0, eax
	p.Raw(0xea)                                  // jmp far codeSelector:next
	p.imm32(uint32(pvhEntry + p.code.Len() + 6)) // behind this instruction
	p.imm16(codeSelector)
	p.Raw(0xb8, codeSelector+8, 0, 0, 0) // mov eax, data selector
	p.Raw(0x8e, 0xd8)                    // mov ds, eax
	p.Raw(0x8e, 0xc0)                    // mov es, eax
	p.Raw(0x8e, 0xd0)                    // mov ss, eax
	p.Raw(0xbc)                          // mov esp, pvhStack
	p.imm32(pvhStack)
	p.Raw(0xb8) // mov eax, Base
	p.imm32(Base)
	p.Raw(0xff, 0xe0) // jmp rax
	return p.code.Bytes()
}

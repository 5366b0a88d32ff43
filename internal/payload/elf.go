package payload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Sizes of the ELF64 structures.
const (
	elfHeader     = 64
	elfProgHeader = 56
)

// Kernel links the program and returns it as an ELF64 kernel: one segment of code
// at Base, which is also the entry, and one of data.
func (p *Program) Kernel() *bytes.Reader { return p.image(nil, nil) }

// image is the ELF file: code, data, and further segments with their contents.
func (p *Program) image(more []elf.Prog64, contents [][]byte) *bytes.Reader {
	code := p.link()
	data := make([]byte, p.reserved)
	for _, d := range p.initial {
		copy(data[d.addr-dataBase:], d.data)
	}
	if p.idtAddr != 0 {
		copy(data[p.idtAddr-dataBase:], p.gates())
	}
	segments := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: Base, Paddr: Base,
			Filesz: uint64(len(code)), Memsz: uint64(len(code))},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Vaddr: dataBase, Paddr: dataBase,
			Filesz: uint64(len(data)), Memsz: End - dataBase},
	}
	segments = append(segments, more...)
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Entry: Base, Phoff: elfHeader, Ehsize: elfHeader,
		Phentsize: elfProgHeader, Phnum: uint16(len(segments)),
	}
	var file bytes.Buffer
	write(&file, header)
	off := uint64(elfHeader + elfProgHeader*len(segments))
	for _, s := range segments {
		s.Off, s.Align = off, max(s.Align, 1)
		write(&file, s)
		off += s.Filesz
	}
	file.Write(code)
	file.Write(data)
	for _, c := range contents {
		file.Write(c)
	}
	return bytes.NewReader(file.Bytes())
}

// write appends a structure of fixed size, which can't fail.
func write(file *bytes.Buffer, v any) {
	if err := binary.Write(file, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}

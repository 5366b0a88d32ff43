package firmware

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes and limits of the ELF structures that are read. Sections, symbols and
// everything else that a running kernel does not consist of is left alone, so
// the work is bounded whatever a file claims.
const (
	elfHeaderSize  = 64
	elfProgSize    = 56
	elfProgMax     = 64
	elfNotesMax    = 64 << 10
	elfIdentClass  = 4
	elfIdentData   = 5
	elfNoteHeader  = 12
	pvhNoteType    = 18 // XEN_ELFNOTE_PHYS32_ENTRY
	pvhNoteOwner   = "Xen\x00"
	elfSegmentBase = lowEnd // what lies below belongs to the boot structures
)

// elfImage is an x86-64 kernel as the linker made it.
type elfImage struct {
	src      Source
	header   elf.Header64
	segments []elf.ProgHeader // PT_LOAD with a size, all inside 32 bits
	span     Range
	entry    uint64 // physical, in 64-bit mode
	pvhEntry uint64 // physical, in 32-bit mode; 0: no PVH note
}

func isELF(head []byte) bool { return bytes.HasPrefix(head, []byte(elf.ELFMAG)) }

// openELF checks the headers of an ELF file whose beginning is head.
func openELF(src Source, head []byte) (*elfImage, error) {
	h, err := parseELFHeader(head, src.Size())
	if err != nil {
		return nil, err
	}
	table := make([]byte, int(h.Phnum)*elfProgSize)
	if h.Phoff > uint64(src.Size()) || uint64(len(table)) > uint64(src.Size())-h.Phoff {
		return nil, errTruncated(h.Phoff+uint64(len(table)), src.Size())
	}
	if err := readFull(src, table, int64(h.Phoff)); err != nil {
		return nil, err
	}
	img := &elfImage{src: src, header: h}
	for i := range int(h.Phnum) {
		p := parseProgHeader(table[i*elfProgSize:])
		switch p.Type {
		case elf.PT_INTERP:
			return nil, errors.New("not a kernel but a program for an operating system")
		case elf.PT_LOAD:
			err = img.addSegment(p)
		case elf.PT_NOTE:
			err = img.readNotes(p)
		}
		if err != nil {
			return nil, fmt.Errorf("program header %d: %w", i, err)
		}
	}
	return img, img.setEntry(h.Entry)
}

// parseELFHeader decodes and checks the file header.
func parseELFHeader(head []byte, size int64) (elf.Header64, error) {
	var h elf.Header64
	if len(head) < elfHeaderSize {
		return h, errTruncated(elfHeaderSize, size)
	}
	if elf.Data(head[elfIdentData]) == elf.ELFDATA2MSB {
		return h, errors.New("an ELF file for a big-endian machine, not x86-64")
	}
	// The machine has the same place in both classes.
	machine := elf.Machine(binary.LittleEndian.Uint16(head[18:]))
	if machine == elf.EM_386 || machine == elf.EM_X86_64 && elf.Class(head[elfIdentClass]) == elf.ELFCLASS32 {
		return h, errors.New("a 32-bit kernel: only x86-64 kernels can be started")
	}
	if machine != elf.EM_X86_64 {
		return h, fmt.Errorf("an ELF file for %v, not x86-64", machine)
	}
	if _, err := binary.Decode(head[:elfHeaderSize], binary.LittleEndian, &h); err != nil {
		return h, err
	}
	switch {
	case elf.Class(head[elfIdentClass]) != elf.ELFCLASS64 || elf.Data(head[elfIdentData]) != elf.ELFDATA2LSB:
		return h, errors.New("bad ELF file: unknown class or byte order")
	case elf.Type(h.Type) != elf.ET_EXEC && elf.Type(h.Type) != elf.ET_DYN:
		return h, fmt.Errorf("an ELF file of type %v: a kernel is an executable", elf.Type(h.Type))
	case h.Phentsize != elfProgSize || h.Phnum == 0:
		return h, errors.New("bad ELF file: no program headers")
	case h.Phnum > elfProgMax:
		return h, fmt.Errorf("bad ELF file: %d program headers, at most %d make sense", h.Phnum, elfProgMax)
	}
	return h, nil
}

func parseProgHeader(p []byte) elf.ProgHeader {
	le := binary.LittleEndian
	return elf.ProgHeader{
		Type:   elf.ProgType(le.Uint32(p)),
		Flags:  elf.ProgFlag(le.Uint32(p[4:])),
		Off:    le.Uint64(p[8:]),
		Vaddr:  le.Uint64(p[16:]),
		Paddr:  le.Uint64(p[24:]),
		Filesz: le.Uint64(p[32:]),
		Memsz:  le.Uint64(p[40:]),
		Align:  le.Uint64(p[48:]),
	}
}

// addSegment checks a segment: its bytes are in the file, its memory lies
// between 1 MiB and 4 GiB and is no other segment's.
func (img *elfImage) addSegment(p elf.ProgHeader) error {
	if p.Memsz == 0 {
		return nil
	}
	if err := img.checkInFile(p); err != nil {
		return err
	}
	if p.Filesz > p.Memsz {
		return fmt.Errorf("bad segment: %d bytes in the file, %d in memory", p.Filesz, p.Memsz)
	}
	r := Range{p.Paddr, p.Memsz}
	if p.Paddr < elfSegmentBase || !(Range{0, LowRAMMax}).Contains(r) {
		return fmt.Errorf("bad segment: %s at %#x, not between %#x and %#x", FormatSize(p.Memsz), p.Paddr, uint64(elfSegmentBase), uint64(LowRAMMax))
	}
	for _, o := range img.segments {
		if r.Overlaps(Range{o.Paddr, o.Memsz}) {
			return fmt.Errorf("bad segment: %v overlaps that at %#x", r, o.Paddr)
		}
	}
	img.segments = append(img.segments, p)
	if img.span.Size == 0 {
		img.span = r
		return nil
	}
	base, end := min(img.span.Base, r.Base), max(img.span.End(), r.End())
	img.span = Range{base, end - base}
	return nil
}

func (img *elfImage) checkInFile(p elf.ProgHeader) error {
	size := uint64(img.src.Size())
	if p.Off > size || p.Filesz > size-p.Off {
		return fmt.Errorf("truncated: %d bytes at offset %d are wanted, the file has %d", p.Filesz, p.Off, size)
	}
	return nil
}

// readNotes looks for the note that names the PVH entry.
func (img *elfImage) readNotes(p elf.ProgHeader) error {
	if err := img.checkInFile(p); err != nil {
		return err
	}
	if p.Filesz > elfNotesMax {
		return fmt.Errorf("bad notes: %d bytes, at most %d make sense", p.Filesz, elfNotesMax)
	}
	notes := make([]byte, p.Filesz)
	if err := readFull(img.src, notes, int64(p.Off)); err != nil {
		return err
	}
	if entry, ok := findPVHEntry(notes, p.Align); ok {
		img.pvhEntry = entry
	}
	return nil
}

// findPVHEntry walks a note segment. A note is {namesz, descsz, type u32},
// name, descriptor, the last two padded to the segment's alignment.
func findPVHEntry(notes []byte, align uint64) (uint64, bool) {
	pad := uint64(4)
	if align == 8 {
		pad = 8
	}
	le := binary.LittleEndian
	for len(notes) >= elfNoteHeader {
		nameSize, descSize := uint64(le.Uint32(notes)), uint64(le.Uint32(notes[4:]))
		kind := le.Uint32(notes[8:])
		desc := (elfNoteHeader + nameSize + pad - 1) &^ (pad - 1)
		end := desc + descSize
		if end > uint64(len(notes)) {
			return 0, false
		}
		name := notes[elfNoteHeader : elfNoteHeader+nameSize]
		if kind == pvhNoteType && string(name) == pvhNoteOwner {
			switch descSize {
			case 4:
				return uint64(le.Uint32(notes[desc:])), true
			case 8:
				return le.Uint64(notes[desc:]), true
			}
		}
		notes = notes[min((end+pad-1)&^(pad-1), uint64(len(notes))):]
	}
	return 0, false
}

// setEntry checks the entry points. That of the header may be a physical
// address, as Linux has it, or a virtual one.
func (img *elfImage) setEntry(entry uint64) error {
	if len(img.segments) == 0 {
		return errors.New("bad ELF file: nothing to load")
	}
	if img.pvhEntry != 0 {
		if !img.inSegment(img.pvhEntry) {
			return fmt.Errorf("bad ELF file: PVH entry %#x is in no segment", img.pvhEntry)
		}
		return nil
	}
	img.entry = entry
	if img.inSegment(entry) {
		return nil
	}
	for _, p := range img.segments {
		if entry >= p.Vaddr && entry-p.Vaddr < p.Memsz {
			img.entry = entry - p.Vaddr + p.Paddr
			return nil
		}
	}
	return fmt.Errorf("bad ELF file: entry %#x is in no segment", entry)
}

func (img *elfImage) inSegment(addr uint64) bool {
	for _, p := range img.segments {
		if addr >= p.Paddr && addr-p.Paddr < p.Memsz {
			return true
		}
	}
	return false
}

func (img *elfImage) extent() Range         { return img.span }
func (img *elfImage) initrdEnd() uint64     { return LowRAMMax }
func (img *elfImage) takesHighInitrd() bool { return false }

func (img *elfImage) cmdlineMax() int { return elfCmdlineMax }

// load copies the segments. What a segment has in memory beyond its bytes in
// the file is zero already.
func (img *elfImage) load(g *guest) error {
	for _, p := range img.segments {
		if err := g.copyIn(img.src, int64(p.Off), p.Paddr, p.Filesz); err != nil {
			return err
		}
	}
	return nil
}

func (img *elfImage) describe(g *guest, info bootInfo) (Entry, error) {
	if img.pvhEntry != 0 {
		return g.enterPVH(info, img.pvhEntry)
	}
	e, err := g.enterZeroPage(elfSetupHeader(), info, Long64, img.entry)
	e.Format = ELF64
	return e, err
}

// elfSetupHeader is the setup header for a kernel that has none: as much of it
// as a kernel looks at which was not loaded by a bzImage's rules.
func elfSetupHeader() []byte {
	h := make([]byte, hdrEndMin)
	le := binary.LittleEndian
	le.PutUint16(h[hdrBootFlag:], bootFlag)
	copy(h[hdrMagic:], "HdrS")
	le.PutUint16(h[hdrVersion:], protocol64)
	h[hdrLoadFlags] = loadedHigh
	le.PutUint32(h[hdrCmdlineSize:], elfCmdlineMax)
	return h[hdrSetupSects:]
}

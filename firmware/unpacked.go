package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// unpackedKernel is a bzImage whose payload has been unpacked. It is put where the
// code before the payload would put it, and told what that would tell it.
type unpackedKernel struct {
	*bzImage
	unpackedELF
	at     place64
	window []byte // of the guest's memory, for extent
	la57   bool   // entered with page tables of five levels
}

// unpackedELF is what a Payload unpacks to.
type unpackedELF struct {
	elf         *elfImage
	relocations relocations
	size        uint64 // of the file
}

// sectionHeader is the size of an entry of the section header table.
const sectionHeader = 64

// openUnpackedELF checks what a Payload unpacks to: an ELF file that ends with its
// table of sections, and relocations.
func openUnpackedELF(src Source) (u unpackedELF, err error) {
	head := make([]byte, elfHeaderSize)
	if err := readFull(src, head, 0); err != nil {
		return u, err
	}
	if !isELF(head) {
		return u, errors.New("not an ELF file")
	}
	if u.elf, err = openELF(src, head); err != nil {
		return u, err
	}
	h := u.elf.header
	u.size = uint64(src.Size())
	end := h.Shoff + uint64(h.Shnum)*sectionHeader
	if h.Shnum == 0 || h.Shentsize != sectionHeader || h.Shoff > u.size || end > u.size {
		return u, errors.New("no table of sections")
	}
	for _, p := range u.elf.segments {
		if p.Off+p.Filesz > end {
			return u, errors.New("its table of sections is not at its end")
		}
	}
	u.relocations, err = readRelocations(src, end)
	return u, err
}

// openUnpacked checks the unpacked payload of a kernel, and finds a place for it
// beside the initial RAM disk. An error is a reason to have the kernel unpack itself.
func openUnpacked(b *bzImage, mem Memory, c LoadConfig, initrd Range) (*unpackedKernel, error) {
	p, err := b.payload()
	if err != nil {
		return nil, err
	}
	if p.Size() != c.Unpacked.Size() {
		return nil, fmt.Errorf("the unpacked kernel has %d bytes, its payload says %d", c.Unpacked.Size(), p.Size())
	}
	u := &unpackedKernel{bzImage: b}
	if u.unpackedELF, err = openUnpackedELF(c.Unpacked); err != nil {
		return nil, err
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	words := commandLineWords(c.Cmdline)
	if err := words.decline(); err != nil {
		return nil, err
	}
	u.la57 = c.LA57 && binary.LittleEndian.Uint16(b.header[hdrXLoadFlags-hdrSetupSects:])&xlf5Level != 0 && !words.has("no5lvl")
	if u.at, err = u.choosePlace(c.Layout, initrd, !words.has("nokaslr")); err != nil {
		return nil, err
	}
	w, ok := mem.(Windows)
	if !ok {
		return nil, errors.New("the memory has no windows")
	}
	windows, err := w.Append(nil, u.extent().Base, u.extent().Size)
	if err != nil || len(windows) != 1 {
		return nil, fmt.Errorf("the memory %v is not in one piece", u.extent())
	}
	u.window = windows[0]
	return u, nil
}

// check holds that what the headers say of the kernel's addresses fits together.
func (u *unpackedKernel) check() error {
	pref, align := u.runs.Base, u.alignment()
	switch {
	case pref >= kernelMapSize:
		return fmt.Errorf("the kernel's preferred address is %#x, beyond its map", pref)
	case align < largePage || align&(align-1) != 0 || pref%align != 0:
		return fmt.Errorf("the kernel's alignment is %#x at %#x", align, pref)
	case u.elf.span.Base != pref:
		return fmt.Errorf("the kernel begins at %#x, its preferred address is %#x", u.elf.span.Base, pref)
	case u.elf.span.Size > u.runs.Size:
		return fmt.Errorf("the kernel has %d bytes in memory, it asks for %d", u.elf.span.Size, u.runs.Size)
	case !u.elf.inSegment(u.elf.header.Entry):
		return fmt.Errorf("the kernel's entry %#x is in no segment", u.elf.header.Entry)
	}
	for _, p := range u.elf.segments {
		if p.Align%largePage != 0 {
			return fmt.Errorf("the segment at %#x is aligned to %#x", p.Paddr, p.Align)
		}
	}
	return u.relocations.check(pref, u.elf.span.Size)
}

func (u *unpackedKernel) alignment() uint64 {
	return uint64(binary.LittleEndian.Uint32(u.header[hdrAlignment-hdrSetupSects:]))
}

// room is the memory that the kernel needs at its place, as much as its own
// placement allows for.
func (u *unpackedKernel) room() uint64 {
	align := u.alignment()
	return (max(u.size, u.elf.span.Size) + align - 1) &^ (align - 1)
}

func (u *unpackedKernel) extent() Range { return Range{u.at.physical, u.elf.span.Size} }

// load reads the segments and relocates them. If it fails, the memory may have been written.
func (u *unpackedKernel) load(g *guest) error {
	hint(g.mem, u.extent().Base, u.extent().Size)
	for _, p := range u.elf.segments {
		at := p.Paddr - u.runs.Base
		if err := readSparse(u.elf.src, u.window[at:at+p.Filesz], int64(p.Off)); err != nil {
			return err
		}
	}
	u.relocations.apply(u.window, u.runs.Base, u.at.virtual-u.runs.Base)
	return nil
}

func (u *unpackedKernel) describe(g *guest, info bootInfo) (Entry, error) {
	header := bytes.Clone(u.header)
	flags := &header[hdrLoadFlags-hdrSetupSects]
	*flags &^= kaslrDone
	if u.at.random {
		*flags |= kaslrDone
	}
	entry := u.elf.header.Entry - u.runs.Base + u.at.physical
	e, err := g.enterZeroPage(header, info, Long64, entry)
	if err != nil {
		return e, err
	}
	e.Format, e.Version = Unpacked, u.version
	return e, g.extendMap(&e, u.extent(), u.la57)
}

// relocations are the places in a kernel that hold addresses of its own: each a word
// with the lower half of the place's virtual address, whose upper half is all ones.
// They depend on where the kernel is mapped, not on where it lies.
type relocations struct {
	add64, subtract32, add32 []uint32
}

const (
	relocationSize = 4
	relocationsMax = 64 << 20 // bytes of a table
	// kernelMap is where Linux maps itself: its first byte if it lay at address 0.
	kernelMap = 0xFFFFFFFF_80000000
	// kernelMapSize is the size of that map in a kernel with relocations.
	kernelMapSize = gib
)

// readRelocations reads the table from offset off on. It has lists, each after a word
// of 0: of 64-bit addresses, until Linux 6.14 of 32-bit ones that are negative, and of
// 32-bit ones. No table is a kernel that must lie where it was linked.
func readRelocations(src Source, off uint64) (r relocations, err error) {
	n := uint64(src.Size()) - off
	if n == 0 {
		return r, nil
	}
	if n%relocationSize != 0 || n > relocationsMax {
		return r, fmt.Errorf("a table of relocations of %d bytes", n)
	}
	raw := make([]byte, n)
	if err := readFull(src, raw, int64(off)); err != nil {
		return r, err
	}
	words := make([]uint32, n/relocationSize)
	var starts []int
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(raw[i*relocationSize:])
		if words[i] == 0 {
			starts = append(starts, i+1)
		}
		if len(starts) > 3 || len(starts) == 0 {
			return r, errors.New("a table of relocations of an unknown form")
		}
	}
	switch len(starts) {
	case 2:
		r.add64, r.add32 = words[starts[0]:starts[1]-1], words[starts[1]:]
	case 3:
		r.add64, r.subtract32, r.add32 = words[starts[0]:starts[1]-1], words[starts[1]:starts[2]-1], words[starts[2]:]
	default:
		return r, errors.New("a table of relocations of an unknown form")
	}
	return r, nil
}

func (r *relocations) empty() bool {
	return len(r.add64)+len(r.subtract32)+len(r.add32) == 0
}

// check holds that all places are inside a kernel of so many bytes at base.
func (r *relocations) check(base, size uint64) error {
	for _, list := range []struct {
		places []uint32
		width  uint64
	}{{r.add64, 8}, {r.subtract32, 4}, {r.add32, 4}} {
		for _, word := range list.places {
			if place := uint64(word) - kernelMap&0xFFFFFFFF - base; place > size || list.width > size-place {
				return fmt.Errorf("a relocation at %#x, outside of the kernel", word)
			}
		}
	}
	return nil
}

// apply relocates a kernel that is linked for base and mapped delta bytes above it.
//
// Preconditions: check found nothing.
func (r *relocations) apply(kernel []byte, base, delta uint64) {
	if delta == 0 {
		return
	}
	le := binary.LittleEndian
	at := func(word uint32) []byte { return kernel[uint64(word)-kernelMap&0xFFFFFFFF-base:] }
	for _, word := range r.add64 {
		le.PutUint64(at(word), le.Uint64(at(word))+delta)
	}
	for _, word := range r.subtract32 {
		le.PutUint32(at(word), le.Uint32(at(word))-uint32(delta))
	}
	for _, word := range r.add32 {
		le.PutUint32(at(word), le.Uint32(at(word))+uint32(delta))
	}
}

package firmware

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Memory is guest RAM by guest-physical address, zero-filled when Load is
// called. pci.DMA has this method.
type Memory interface {
	// WriteAt copies p to guest memory at addr.
	WriteAt(p []byte, addr uint64) error
}

// Windows is what a Memory may offer besides, for loading without a copy.
// pci.DMA has this method.
type Windows interface {
	// Append appends to dst the windows of guest RAM that make up the n bytes
	// at addr, in order.
	Append(dst [][]byte, addr, n uint64) ([][]byte, error)
}

// Hinter is what a Memory may offer besides, to make large writes cheaper.
type Hinter interface {
	// WillWrite says that n bytes at addr are about to be written.
	WillWrite(addr, n uint64)
}

// hint gives a hint if the memory takes them.
func hint(mem Memory, addr, n uint64) {
	if h, ok := mem.(Hinter); ok {
		h.WillWrite(addr, n)
	}
}

// Source is a file in which to read at any offset: *bytes.Reader and
// *io.SectionReader are Sources. One that has a method Name() string, too, is
// called by that name in errors.
type Source interface {
	io.ReaderAt
	Size() int64
}

// about says which Source an error is about.
func about(what string, s Source, err error) error {
	if n, ok := s.(interface{ Name() string }); ok {
		return fmt.Errorf("%s %s: %w", what, n.Name(), err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Sparse is what a Source may offer besides, to spare the reading of zeroes into memory
// that is zero.
type Sparse interface {
	// NextData is the first part, from off on and before end, that is not known to be
	// zero. Both are end if there is none.
	NextData(off, end int64) (from, to int64)
}

// LoadConfig is what to load, and what to tell the kernel.
type LoadConfig struct {
	Layout  Layout
	Kernel  Source
	Initrd  Source // nil: none
	Cmdline string // without a terminating NUL
	// Unpacked is what the Payload of Kernel unpacks to, or nil. With it the kernel is
	// put where it runs, at random addresses if it has relocations and the command
	// line allows it, and entered there. Where that is not sure to have the same
	// result, or Unpacked can't be read, the kernel unpacks itself as without, and
	// Entry.Declined says why.
	Unpacked Source
	// LA57 says that the processor has page tables of five levels.
	LA57 bool
	// RSDP is the address of the ACPI root pointer, 0 if there is none.
	RSDP uint64
	// Seed is entropy for the guest's random number generator, at most
	// MaxSeed bytes; nil: none. PVH has no place for one and ignores it.
	Seed []byte
}

// MaxSeed is the most entropy that a kernel is handed, in bytes.
const MaxSeed = 256

// elfCmdlineMax is the command line limit of an ELF kernel, which does not
// state one: Linux's COMMAND_LINE_SIZE on x86, less the NUL.
const elfCmdlineMax = 2047

// Load puts the kernel of the configuration into memory, with its initial RAM
// disk, its command line and the structures that describe the machine to it,
// and returns how to enter it. An error says in one line what is wrong with
// the kernel, the initial RAM disk, the command line or the amount of RAM;
// memory is then partly written and of no use.
func Load(mem Memory, c LoadConfig) (Entry, error) {
	if err := c.check(); err != nil {
		return Entry{}, err
	}
	img, err := openImage(c.Kernel, false)
	if err != nil {
		return Entry{}, about("kernel", c.Kernel, err)
	}
	if limit := min(img.cmdlineMax(), cmdlineRoom-1); len(c.Cmdline) > limit {
		return Entry{}, fmt.Errorf("command line: %d bytes, this kernel takes at most %d", len(c.Cmdline), limit)
	}
	initrd, err := place(img, c)
	if err != nil {
		return Entry{}, err
	}

	g := &guest{mem: mem, ram: c.Layout.LowRAM(), high: c.Layout.HighRAM()}
	img, declined, err := loadKernel(g, img, c, initrd)
	if err != nil {
		return Entry{}, about("kernel", c.Kernel, err)
	}
	if c.Initrd != nil {
		if err := g.copyIn(c.Initrd, 0, initrd.Base, initrd.Size); err != nil {
			return Entry{}, about("initrd", c.Initrd, err)
		}
	}
	if err := g.writeBIOSData(); err != nil {
		return Entry{}, err
	}
	cmdline, err := g.writeCmdline(c.Cmdline)
	if err != nil {
		return Entry{}, err
	}
	e, err := img.describe(g, bootInfo{
		e820:    c.Layout.E820(),
		initrd:  initrd,
		cmdline: cmdline,
		rsdp:    c.RSDP,
		seed:    c.Seed,
	})
	if err != nil {
		return Entry{}, err
	}
	e.Kernel, e.Initrd, e.Cmdline, e.Declined = img.extent(), initrd, cmdline, declined
	return e, nil
}

// loadKernel copies the kernel into memory, unpacked if it can be: declined is why not.
// loaded is what is there.
func loadKernel(g *guest, img image, c LoadConfig, initrd Range) (loaded image, declined, err error) {
	b, ok := img.(*bzImage)
	if !ok || c.Unpacked == nil {
		return img, nil, img.load(g)
	}
	u, declined := openUnpacked(b, g.mem, c, initrd)
	if declined == nil {
		if declined = u.load(g); declined == nil {
			return u, nil, nil
		}
		clear(u.window)
	}
	return b, declined, b.load(g)
}

// check refuses what is wrong whatever the kernel is.
func (c *LoadConfig) check() error {
	switch {
	case c.Kernel == nil:
		return errors.New("kernel: none given")
	case c.Layout.Size() == 0:
		return errors.New("memory: no layout given")
	case strings.IndexByte(c.Cmdline, 0) >= 0:
		return fmt.Errorf("command line: NUL byte at position %d", strings.IndexByte(c.Cmdline, 0))
	case c.Initrd != nil && c.Initrd.Size() <= 0:
		return errors.New("initrd: the file is empty")
	case len(c.Seed) > MaxSeed:
		return fmt.Errorf("seed: %d bytes, at most %d can be handed over", len(c.Seed), MaxSeed)
	}
	return nil
}

// image is a kernel whose headers have been checked.
type image interface {
	// extent is the memory that the kernel occupies before it has read its
	// memory map: its own and what it unpacks itself into.
	extent() Range
	// initrdEnd is the first address that the initial RAM disk may not reach.
	initrdEnd() uint64
	// takesHighInitrd reports whether the initial RAM disk may lie above 4 GiB.
	takesHighInitrd() bool
	// cmdlineMax is the longest command line, without its NUL.
	cmdlineMax() int
	// load copies the kernel into memory.
	load(*guest) error
	// describe writes the structures that the kernel is handed and returns how
	// to enter it.
	describe(*guest, bootInfo) (Entry, error)
}

// bootInfo is what a kernel is told about the machine, by either protocol.
type bootInfo struct {
	e820    []E820Entry
	initrd  Range // empty: none
	cmdline Range // with its NUL
	rsdp    uint64
	seed    []byte
}

// openImage recognises a kernel by its content. One that is compressed as a whole
// is unpacked first, unless src has been unpacked already.
func openImage(src Source, unpacked bool) (image, error) {
	// All magic numbers lie inside the first sectors; a shorter file reads as
	// if zeroes followed.
	head := make([]byte, setupHeaderMax)
	n := min(max(src.Size(), 0), int64(len(head)))
	if err := readFull(src, head[:n], 0); err != nil {
		return nil, err
	}
	switch {
	case isELF(head):
		return openELF(src, head[:n])
	case isBzImage(head):
		return openBzImage(src, head)
	}
	c := compressionOf(head[:n])
	if c == nil {
		return nil, notAKernel(head[:n])
	}
	if unpacked {
		return nil, fmt.Errorf("not a kernel but %s data inside of other compressed data", c.name)
	}
	data, err := c.unpack(src)
	if err != nil {
		return nil, err
	}
	return openImage(bytes.NewReader(data), true)
}

// place finds the memory of the initial RAM disk: as high as it may lie, so
// that it is out of the way of the kernel, which starts low.
func place(img image, c LoadConfig) (Range, error) {
	ram, kernel := c.Layout.LowRAM(), img.extent()
	high := c.Layout.HighRAM()
	var size uint64
	if c.Initrd != nil {
		size = uint64(c.Initrd.Size())
	}
	start := pageUp(kernel.End())
	switch {
	case kernel.End() > LowRAMMax:
		return Range{}, fmt.Errorf("kernel: it needs the memory %v, which must end below %#x", kernel, uint64(LowRAMMax))
	case kernel.End() > ram.End():
		return Range{}, fmt.Errorf("memory: %s is too small for this kernel, which needs at least %s",
			FormatSize(c.Layout.Size()), FormatSize(alignUp(start, mib)))
	case size == 0:
		return Range{}, nil
	}
	end := min(ram.End(), img.initrdEnd())
	if end >= size && (end-size)&^(pageSize-1) >= start {
		return Range{(end - size) &^ (pageSize - 1), size}, nil
	}
	if img.takesHighInitrd() && pageUp(size) <= high.Size {
		return Range{(high.End() - size) &^ (pageSize - 1), size}, nil
	}
	return Range{}, noRoom(img, c.Layout, size)
}

// noRoom says how large an initial RAM disk may be, of which one of size bytes is too large
// where the kernel fits, and whether more memory would help.
func noRoom(img image, l Layout, size uint64) error {
	start, limit := pageUp(img.extent().End()), min(LowRAMMax, img.initrdEnd())
	below := func(end uint64) uint64 { return end - min(start, end) }
	need := start + pageUp(size)
	switch {
	case size <= below(limit):
	case img.takesHighInitrd():
		need = LowRAMMax + pageUp(size)
	default:
		return fmt.Errorf("initrd: %s is too large: this kernel takes at most %s, between its end at %#x and %#x",
			FormatSize(size), FormatSize(below(limit)), start, limit)
	}
	room := below(min(l.LowRAM().End(), limit))
	if img.takesHighInitrd() {
		room = max(room, l.HighRAM().Size)
	}
	return fmt.Errorf("initrd: %s is too large: the memory of %s has room for %s beside the kernel, at least %s of memory would do",
		FormatSize(size), FormatSize(l.Size()), FormatSize(room), FormatSize(alignUp(need, mib)))
}

func pageUp(n uint64) uint64 { return alignUp(n, pageSize) }

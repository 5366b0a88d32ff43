package firmware

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// fakeKernel is a kernel with relocations, packed and not.
type fakeKernel struct {
	elf         fakeELF
	relocations []uint32
	image       fakeBzImage
}

// Where the fake kernel has addresses of its own, from its start on.
const (
	add64At, subtract32At, add32At = 0x108, 0x210, 0x31C

	linkedAt = 0xFFFFFFFF81000000
)

func newFakeKernel() fakeKernel {
	k := fakeKernel{elf: newFakeELF(), image: newFakeBzImage()}
	k.image.alignment = 2 * mib
	text := k.elf.data[0]
	binary.LittleEndian.PutUint64(text[add64At:], linkedAt+0x40)
	binary.LittleEndian.PutUint32(text[subtract32At:], 0x1000)
	binary.LittleEndian.PutUint32(text[add32At:], 0x81000080)
	const base = 0x81000000
	k.relocations = []uint32{0, base + add64At, 0, base + subtract32At, 0, base + add32At}
	return k
}

// unpacked is what the payload unpacks to.
func (k fakeKernel) unpacked() []byte {
	const sections = 2
	k.elf.header.Shentsize, k.elf.header.Shnum = sectionHeader, sections
	k.elf.header.Shoff = uint64(len(makeELF(k.elf)))
	file := append(makeELF(k.elf), make([]byte, sections*sectionHeader)...)
	for _, word := range k.relocations {
		file = binary.LittleEndian.AppendUint32(file, word)
	}
	return file
}

func (k fakeKernel) packed() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(k.unpacked())
	z.Close()
	k.image.payload = Range{0x1000, uint64(b.Len())}
	k.image.code = append(k.image.code[:0x1000:0x1000], b.Bytes()...)
	k.image.code = append(k.image.code, make([]byte, -len(k.image.code)&(sysUnit-1))...)
	return makeBzImage(k.image)
}

// config is for Load.
func (k fakeKernel) config(t testing.TB) LoadConfig {
	return LoadConfig{
		Layout: mustLayout(t, 128*mib), Kernel: bytes.NewReader(k.packed()), Unpacked: bytes.NewReader(k.unpacked()),
		Initrd: bytes.NewReader(pattern(3 * pageSize)),
	}
}

func TestUnpackPayload(t *testing.T) {
	k := newFakeKernel()
	p, err := OpenPayload(bytes.NewReader(k.packed()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Unpack()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, k.unpacked()) || p.Size() != int64(len(got)) {
		t.Errorf("%d bytes, size %d, want %d", len(got), p.Size(), len(k.unpacked()))
	}
	other := newFakeKernel()
	other.elf.data[0][0]++
	q, err := OpenPayload(bytes.NewReader(other.packed()))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := mustID(t, p), mustID(t, q); a == b || len(a) != 64 || a != mustID(t, p) {
		t.Errorf("different kernels are called %s and %s", a, b)
	}
}

func mustID(t *testing.T, p *Payload) string {
	t.Helper()
	id, err := p.ID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// The unpacked kernel runs at random addresses, which it is told and relocated for,
// in RAM that nothing else uses.
func TestLoadUnpacked(t *testing.T) {
	k := newFakeKernel()
	bases, maps := map[uint64]bool{}, map[uint64]bool{}
	m := make(flat, 128*mib)
	for range 50 {
		e, err := Load(m, k.config(t))
		if err != nil || e.Declined != nil {
			t.Fatal(err, e.Declined)
		}
		base := e.Kernel.Base
		if e.Format != Unpacked || e.Mode != Long64 || e.RIP != base+0x100 || e.Version != "6.1.0-test" {
			t.Fatalf("%s %q in %v at %#x, kernel at %v", e.Format, e.Version, e.Mode, e.RIP, e.Kernel)
		}
		if base%(2*mib) != 0 || base < 16*mib || e.Kernel.Overlaps(e.Initrd) || e.Kernel.End() > 128*mib {
			t.Fatalf("kernel at %v, initrd at %v", e.Kernel, e.Initrd)
		}
		if got := m[e.RSI+hdrLoadFlags] & kaslrDone; got == 0 {
			t.Error("the kernel is not told that its addresses are random")
		}
		le := binary.LittleEndian
		mapped := le.Uint64(m[base+add64At:]) - 0x40 - linkedAt
		if mapped%(2*mib) != 0 || mapped >= kernelMapSize-16*mib {
			t.Errorf("mapped %#x bytes higher", mapped)
		}
		if got, want := le.Uint32(m[base+subtract32At:]), uint32(0x1000-mapped); got != want {
			t.Errorf("a negative address is %#x, want %#x", got, want)
		}
		if got, want := le.Uint32(m[base+add32At:]), uint32(0x81000080+mapped); got != want {
			t.Errorf("an address is %#x, want %#x", got, want)
		}
		if got := m.read(base+2*mib, 0x1001); !bytes.Equal(got, k.elf.data[1]) {
			t.Error("the second segment is not where it belongs")
		}
		bases[base], maps[mapped] = true, true
	}
	if len(bases) < 10 || len(maps) < 40 {
		t.Errorf("50 starts had %d addresses in RAM, and %d in the map", len(bases), len(maps))
	}
}

// Where the addresses are not to be random, or can't be, they are what the kernel is
// linked for.
func TestLoadUnpackedInPlace(t *testing.T) {
	without := newFakeKernel()
	without.relocations = nil
	fixed := newFakeKernel().config(t)
	fixed.Cmdline = "quiet nokaslr"
	for name, c := range map[string]LoadConfig{"nokaslr": fixed, "no relocations": without.config(t)} {
		m := make(flat, 128*mib)
		e, err := Load(m, c)
		if err != nil || e.Declined != nil {
			t.Fatal(name, err, e.Declined)
		}
		if e.RIP != 0x1000100 || e.Format != Unpacked || !bytes.Equal(m.read(0x1000000, 0x3000), newFakeKernel().elf.data[0]) {
			t.Errorf("%s: entered at %#x", name, e.RIP)
		}
		if m[e.RSI+hdrLoadFlags]&kaslrDone != 0 {
			t.Errorf("%s: the kernel is told that its addresses are random", name)
		}
	}
}

// mapped walks the page tables of an entry.
func mapped(m flat, e Entry, addr uint64) bool {
	le := binary.LittleEndian
	table, shifts := e.CR3, []uint{39, 30, 21}
	if e.CR4&cr4LA57 != 0 {
		shifts = append([]uint{48}, shifts...)
	}
	for _, shift := range shifts {
		entry := le.Uint64(m[table+addr>>shift&(tableSlots-1)*8:])
		if entry&pagePresent == 0 {
			return false
		}
		if entry&pageLarge != 0 {
			return entry&^(largePage-1) == addr&^(largePage-1)
		}
		table = entry &^ (pageSize - 1)
	}
	return false
}

func TestMapOfKernelAbove4GiB(t *testing.T) {
	for _, la57 := range []bool{false, true} {
		for _, base := range []uint64{16 * mib, 5 * gib, 6*gib - 2*mib, 512*gib - 64*mib} {
			m := make(flat, 1*mib)
			g := &guest{mem: m, ram: Range{0, 1 * mib}}
			e, err := g.newEntry(Long64, 0)
			if err != nil {
				t.Fatal(err)
			}
			kernel := Range{base, 64 * mib}
			if err := g.extendMap(&e, kernel, la57); err != nil {
				t.Fatal(err)
			}
			for _, addr := range []uint64{0, zeroPageAddr, 4*gib - 1, kernel.Base, kernel.End() - 1} {
				if !mapped(m, e, addr) {
					t.Errorf("kernel at %v, LA57 %v: %#x is not mapped onto itself", kernel, la57, addr)
				}
			}
		}
	}
}

// Random addresses may be anywhere in RAM, but in the initial RAM disk.
func TestFreeForKernel(t *testing.T) {
	l := mustLayout(t, 5*gib)
	for _, tt := range []struct {
		initrd Range
		want   string
	}{
		{Range{}, "[0x1000000-0xbfffffff 0x100000000-0x17fffffff]"},
		{Range{0xBF000000, 0x1000000}, "[0x1000000-0xbeffffff 0x100000000-0x17fffffff]"},
		{Range{0x140000000, 0x1000}, "[0x1000000-0xbfffffff 0x100000000-0x13fffffff 0x140001000-0x17fffffff]"},
	} {
		if got := fmt.Sprint(freeFor(l, 16*mib, tt.initrd)); got != tt.want {
			t.Errorf("initrd %v: %s, want %s", tt.initrd, got, tt.want)
		}
	}
	for _, tt := range []struct {
		r    Range
		want uint64
	}{
		{Range{0, 4 * mib}, 2}, {Range{1, 4 * mib}, 1}, {Range{0, 2*mib - 1}, 0}, {Range{1, 2 * mib}, 0}, {Range{mib, 3 * mib}, 1}, {Range{}, 0},
	} {
		if got := positions(tt.r, 2*mib, 2*mib); got != tt.want {
			t.Errorf("%d positions in %v, want %d", got, tt.r, tt.want)
		}
	}
}

// What is not understood, or has the kernel choose otherwise, is left to the kernel.
func TestUnpackedIsDeclined(t *testing.T) {
	kernelWith := func(change func(*fakeKernel)) func(*LoadConfig) {
		return func(c *LoadConfig) {
			k := newFakeKernel()
			change(&k)
			c.Kernel, c.Unpacked = bytes.NewReader(k.packed()), bytes.NewReader(k.unpacked())
		}
	}
	option := func(text string) func(*LoadConfig) { return func(c *LoadConfig) { c.Cmdline = text } }
	const base = 0x81000000
	tests := []struct {
		name   string
		change func(*LoadConfig)
		want   string
	}{
		{"mem", option("quiet mem=64M"), "the command line has mem=64M"},
		{"memmap", option("memmap=1M$64M"), "the command line has memmap"},
		{"huge pages", option("hugepagesz=1G hugepages=1"), "the command line has hugepagesz=1G"},
		{"another kernel", func(c *LoadConfig) { c.Unpacked = bytes.NewReader(newFakeKernel().unpacked()[:100]) }, "its payload says"},
		{"no ELF file", func(c *LoadConfig) { c.Unpacked = bytes.NewReader(make([]byte, c.Unpacked.Size())) }, "not an ELF file"},
		{"alignment", kernelWith(func(k *fakeKernel) { k.image.alignment = 4096 }), "alignment is 0x1000"},
		{"odd alignment", kernelWith(func(k *fakeKernel) { k.image.alignment = 0x300000 }), "alignment is 0x300000"},
		{"segment's alignment", kernelWith(func(k *fakeKernel) { k.elf.progs[0].Align = 0x1000 }), "is aligned to 0x1000"},
		{"not relocatable", kernelWith(func(k *fakeKernel) { k.image.relocatable = 0 }), "not of 64 bits and relocatable"},
		{"of 32 bits", kernelWith(func(k *fakeKernel) { k.image.xloadFlags = 0 }), "not of 64 bits and relocatable"},
		{"elsewhere", kernelWith(func(k *fakeKernel) { k.image.prefAddress = 32 * mib }), "the kernel begins at 0x1000000"},
		{"beyond its map", kernelWith(func(k *fakeKernel) { k.image.prefAddress = gib }), "the kernel begins at"},
		{"larger than it says", kernelWith(func(k *fakeKernel) { k.image.initSize = 2 * mib }), "it asks for"},
		{"entry", kernelWith(func(k *fakeKernel) { k.elf.header.Entry = linkedAt }), "in no segment"},
		{"relocation below", kernelWith(func(k *fakeKernel) { k.relocations[1] = base - 1 }), "outside of the kernel"},
		{"relocation in user space", kernelWith(func(k *fakeKernel) { k.relocations[1] = 0x1000 }), "outside of the kernel"},
		{"relocation above", kernelWith(func(k *fakeKernel) { k.relocations[1] = base + 0x205000 - 7 }), "outside of the kernel"},
		{"relocation at the end", kernelWith(func(k *fakeKernel) { k.relocations[5] = 0xFFFFFFFF }), "outside of the kernel"},
		{"one list", kernelWith(func(k *fakeKernel) { k.relocations = k.relocations[:2] }), "unknown form"},
		{"four lists", kernelWith(func(k *fakeKernel) { k.relocations = append(k.relocations, 0) }), "unknown form"},
		{"no first list", kernelWith(func(k *fakeKernel) { k.relocations = k.relocations[1:] }), "unknown form"},
	}
	m := make(flat, 128*mib)
	for _, tt := range tests {
		c := newFakeKernel().config(t)
		tt.change(&c)
		e, err := Load(m, c)
		if err != nil && tt.name != "beyond its map" {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err == nil && (e.Format != BzImage || e.Declined == nil || !strings.Contains(e.Declined.Error(), tt.want)) {
			t.Errorf("%s: %s, %v; want %q", tt.name, e.Format, e.Declined, tt.want)
		}
	}
	c := newFakeKernel().config(t)
	if e, err := Load(ram{}, c); err != nil || e.Declined == nil {
		t.Errorf("memory without windows: %v, %v", e.Declined, err)
	}
	if e, err := Load(&windowed{ram: ram{}}, c); err != nil || e.Declined == nil {
		t.Errorf("memory in pieces: %v, %v", e.Declined, err)
	}
}

// Linux has no list of negative addresses any more since 6.15.
func TestTwoListsOfRelocations(t *testing.T) {
	k := newFakeKernel()
	k.relocations = []uint32{0, k.relocations[1], 0, k.relocations[5]}
	m := make(flat, 128*mib)
	e, err := Load(m, k.config(t))
	if err != nil || e.Declined != nil {
		t.Fatal(err, e.Declined)
	}
	low := binary.LittleEndian.Uint32(m[e.Kernel.Base+add64At:]) - 0x40
	if got := binary.LittleEndian.Uint32(m[e.Kernel.Base+add32At:]) - 0x80; got != low {
		t.Errorf("one address says %#x, the other %#x", low, got)
	}
	if got := binary.LittleEndian.Uint32(m[e.Kernel.Base+subtract32At:]); got != 0x1000 {
		t.Errorf("a number became %#x", got)
	}
}

// A payload that lies is refused without a panic.
func TestBadPayloads(t *testing.T) {
	tests := map[string]func(*fakeBzImage){
		"outside":           func(f *fakeBzImage) { f.payload.Size += 1 << 20 },
		"wraps":             func(f *fakeBzImage) { f.payload = Range{1<<32 - 1, 1<<32 - 1} },
		"none":              func(f *fakeBzImage) { f.payload = Range{} },
		"not compressed":    func(f *fakeBzImage) { f.payload = Range{0, 0x800} },
		"cut off":           func(f *fakeBzImage) { f.payload.Size -= 16 },
		"begins in the mid": func(f *fakeBzImage) { f.payload.Base += 8 },
	}
	for name, change := range tests {
		good := newFakeKernel()
		image := good.packed()
		f := good.image
		f.payload = Range{uint64(binary.LittleEndian.Uint32(image[hdrPayloadOffset:])), uint64(binary.LittleEndian.Uint32(image[hdrPayloadLength:]))}
		f.code = image[(int(f.sects)+1)*sectorSize:]
		change(&f)
		p, err := OpenPayload(bytes.NewReader(makeBzImage(f)))
		if err == nil {
			_, err = p.Unpack()
		}
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	elfKernel := makeELF(newFakeELF())
	if _, err := OpenPayload(bytes.NewReader(elfKernel)); err == nil {
		t.Error("an ELF kernel has a payload")
	}
}

// FuzzUnpacked loads a good kernel with whatever its payload unpacked to.
func FuzzUnpacked(f *testing.F) {
	k := newFakeKernel()
	k.elf.data[0], k.elf.data[1] = fill(0x400, "text"), fill(64, "percpu")
	f.Add(k.unpacked())
	k.elf.progs = append(k.elf.progs, elf.Prog64{Type: uint32(elf.PT_LOAD), Paddr: 0x1400000, Memsz: 1 << 20, Align: 0x200000})
	f.Add(k.unpacked())
	m := make(flat, 128*mib)
	f.Fuzz(func(t *testing.T, unpacked []byte) {
		// The image says the size that there is.
		var end [4]byte
		binary.LittleEndian.PutUint32(end[:], uint32(len(unpacked)))
		image := newFakeKernel().image
		image.code = append(fill(0x1000, "\x1f\x8b"), end[:]...)
		image.code = append(image.code, make([]byte, -len(image.code)&(sysUnit-1))...)
		image.payload = Range{0, 0x1004}
		c := newFakeKernel().config(t)
		c.Kernel, c.Unpacked = bytes.NewReader(makeBzImage(image)), bytes.NewReader(unpacked)
		e, err := Load(m, c)
		if err != nil {
			t.Fatal(err)
		}
		if e.Declined != nil {
			return
		}
		if !e.Kernel.Contains(Range{e.RIP, 1}) || e.Kernel.Overlaps(e.Initrd) || !c.Layout.LowRAM().Contains(e.Kernel) {
			t.Errorf("entry %#x, kernel %v, initrd %v", e.RIP, e.Kernel, e.Initrd)
		}
		if !bytes.Equal(m.read(e.Initrd.Base, e.Initrd.Size), pattern(3*pageSize)) {
			t.Error("the initrd was written over")
		}
	})
}

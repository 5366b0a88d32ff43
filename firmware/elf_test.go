package firmware

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeELF describes an ELF kernel that makeELF builds.
type fakeELF struct {
	header elf.Header64
	progs  []elf.Prog64
	data   map[int][]byte // by program header: what its p_offset points to
}

// newFakeELF is like an extracted Linux kernel: linked high, loaded low, with a
// per-CPU segment at virtual address 0 and a bss.
func newFakeELF() fakeELF {
	f := fakeELF{
		header: elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7F, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: 0x1000100,
			Phoff: elfHeaderSize, Ehsize: elfHeaderSize, Phentsize: elfProgSize,
		},
		data: map[int][]byte{0: fill(0x3000, "text"), 1: fill(0x1001, "percpu")},
	}
	f.progs = []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Vaddr: 0xFFFFFFFF81000000, Paddr: 0x1000000, Memsz: 0x3000, Align: 0x200000},
		{Type: uint32(elf.PT_LOAD), Vaddr: 0, Paddr: 0x1200000, Memsz: 0x5000, Align: 0x200000},
	}
	return f
}

// withNotes adds a note segment.
func (f fakeELF) withNotes(align uint64, notes ...[]byte) fakeELF {
	f.progs = append(f.progs, elf.Prog64{Type: uint32(elf.PT_NOTE), Align: align})
	f.data[len(f.progs)-1] = bytes.Join(notes, nil)
	return f
}

func note(align int, owner string, kind uint32, desc []byte) []byte {
	pad := func(p []byte) []byte { return append(p, make([]byte, -len(p)&(align-1))...) }
	n := binary.LittleEndian.AppendUint32(nil, uint32(len(owner)+1))
	n = binary.LittleEndian.AppendUint32(n, uint32(len(desc)))
	n = binary.LittleEndian.AppendUint32(n, kind)
	return pad(append(pad(append(append(n, owner...), 0)), desc...))
}

func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// makeELF writes the file; p_offset and p_filesz follow from the data.
func makeELF(f fakeELF) []byte {
	f.header.Phnum = uint16(len(f.progs))
	progs := append([]elf.Prog64{}, f.progs...)
	off := uint64(elfHeaderSize + len(progs)*elfProgSize)
	var body []byte
	for i := range progs {
		if d := f.data[i]; d != nil {
			progs[i].Off, progs[i].Filesz = off+uint64(len(body)), uint64(len(d))
			body = append(body, d...)
		}
	}
	var b bytes.Buffer
	for _, v := range []any{f.header, progs} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return append(b.Bytes(), body...)
}

func TestLoadELF64(t *testing.T) {
	f := newFakeELF()
	l := mustLayout(t, 64*mib)
	m := ram{}
	e, err := Load(m, LoadConfig{Layout: l, Kernel: bytes.NewReader(makeELF(f)),
		Initrd: bytes.NewReader(pattern(100)), Cmdline: "quiet", RSDP: 0xE0000})
	if err != nil {
		t.Fatal(err)
	}
	if e.Format != ELF64 || e.Mode != Long64 || e.RIP != 0x1000100 {
		t.Errorf("%s entered in %v at %#x", e.Format, e.Mode, e.RIP)
	}
	if want := (Range{0x1000000, 0x205000}); e.Kernel != want {
		t.Errorf("kernel at %v, want %v", e.Kernel, want)
	}
	for i, p := range f.progs {
		if !bytes.Equal(m.read(p.Paddr, uint64(len(f.data[i]))), f.data[i]) {
			t.Errorf("segment %d is not at %#x", i, p.Paddr)
		}
	}
	zp := e.RSI
	if m.u16(zp+0x1FE) != 0xAA55 || m.u32(zp+0x202) != 0x53726448 || m.u16(zp+0x206) < 0x20C {
		t.Error("the zero page has no setup header")
	}
	if got := m.cstring(uint64(m.u32(zp + 0x228))); got != "quiet" {
		t.Errorf("command line is %q", got)
	}
	if got := (Range{uint64(m.u32(zp + 0x218)), uint64(m.u32(zp + 0x21C))}); got != e.Initrd || got.Size != 100 {
		t.Errorf("initrd in the zero page is %v, loaded at %v", got, e.Initrd)
	}
	if diff := cmp.Diff(l.E820(), zeroPageMap(m, zp)); diff != "" {
		t.Errorf("memory map (-want +got):\n%s", diff)
	}
	if got := m.u64(zp + 0x70); got != 0xE0000 {
		t.Errorf("acpi_rsdp_addr is %#x", got)
	}
}

func TestELFVirtualEntry(t *testing.T) {
	f := newFakeELF()
	f.header.Entry = 0xFFFFFFFF81000040
	e, err := Load(ram{}, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(makeELF(f))})
	if err != nil {
		t.Fatal(err)
	}
	if e.RIP != 0x1000040 {
		t.Errorf("entry %#x, want the physical address of the virtual entry", e.RIP)
	}
}

func TestLoadPVH(t *testing.T) {
	f := newFakeELF().withNotes(4, note(4, "Linux", 1, u32(7)), note(4, "Xen", 18, u32(0x1000850)))
	l := mustLayout(t, 4*gib)
	m := ram{}
	e, err := Load(m, LoadConfig{Layout: l, Kernel: bytes.NewReader(makeELF(f)),
		Initrd: bytes.NewReader(pattern(5000)), Cmdline: "console=ttyS0", RSDP: 0xE0000})
	if err != nil {
		t.Fatal(err)
	}
	if e.Format != PVH || e.Mode != Protected32 || e.RIP != 0x1000850 {
		t.Errorf("%s entered in %v at %#x", e.Format, e.Mode, e.RIP)
	}
	s := e.RBX
	if got := m.u32(s); got != 0x336EC578 {
		t.Errorf("start_info magic %#x", got)
	}
	if version, flags := m.u32(s+4), m.u32(s+8); version != 1 || flags != 0 {
		t.Errorf("start_info version %d flags %#x", version, flags)
	}
	if got := m.cstring(m.u64(s + 24)); got != "console=ttyS0" {
		t.Errorf("command line is %q", got)
	}
	if got := m.u64(s + 32); got != 0xE0000 {
		t.Errorf("rsdp_paddr is %#x", got)
	}
	if n := m.u32(s + 12); n != 1 {
		t.Fatalf("%d modules", n)
	}
	mod := m.u64(s + 16)
	if got := (Range{m.u64(mod), m.u64(mod + 8)}); got != e.Initrd || got.Size != 5000 {
		t.Errorf("module is %v, initrd at %v", got, e.Initrd)
	}
	if cmdline, reserved := m.u64(mod+16), m.u64(mod+24); cmdline != 0 || reserved != 0 {
		t.Errorf("module's command line %#x, reserved %#x", cmdline, reserved)
	}
	var entries []E820Entry
	for i := range uint64(m.u32(s + 48)) {
		p := m.u64(s+40) + i*24
		entries = append(entries, E820Entry{Range{m.u64(p), m.u64(p + 8)}, E820Type(m.u32(p + 16))})
	}
	if diff := cmp.Diff(l.E820(), entries); diff != "" {
		t.Errorf("memory map (-want +got):\n%s", diff)
	}
}

func TestFindPVHEntry(t *testing.T) {
	other := note(4, "GNU", 3, make([]byte, 20))
	tests := []struct {
		name  string
		notes []byte
		align uint64
		want  uint64
		found bool
	}{
		{"none", nil, 4, 0, false},
		{"32 bits", append(other[:len(other):len(other)], note(4, "Xen", 18, u32(0x1234))...), 4, 0x1234, true},
		{"64 bits", note(4, "Xen", 18, u64(0x1000850)), 4, 0x1000850, true},
		{"aligned to 8", append(note(8, "GNU", 3, make([]byte, 5)), note(8, "Xen", 18, u64(0x42))...), 8, 0x42, true},
		{"another type", note(4, "Xen", 17, u32(0x1234)), 4, 0, false},
		{"another owner", note(4, "Zen", 18, u32(0x1234)), 4, 0, false},
		{"odd size", note(4, "Xen", 18, make([]byte, 6)), 4, 0, false},
		{"cut off", note(4, "Xen", 18, u32(0x1234))[:18], 4, 0, false},
		{"name beyond the end", append(u32(0xFFFFFFF0), make([]byte, 40)...), 4, 0, false},
		{"descriptor beyond the end", append(append(u32(4), u32(0xFFFFFFFF)...), make([]byte, 40)...), 4, 0, false},
	}
	for _, tt := range tests {
		got, found := findPVHEntry(tt.notes, tt.align)
		if got != tt.want || found != tt.found {
			t.Errorf("%s: %#x %v, want %#x %v", tt.name, got, found, tt.want, tt.found)
		}
	}
}

package firmware

import (
	"bytes"
	"debug/elf"
	"strings"
	"testing"
)

// bzImageWith and elfWith build a kernel that differs in one thing from a good
// one.
func bzImageWith(change func(*fakeBzImage)) []byte {
	f := newFakeBzImage()
	change(&f)
	return makeBzImage(f)
}

func elfWith(change func(*fakeELF)) []byte {
	f := newFakeELF()
	change(&f)
	return makeELF(f)
}

// TestBadKernels holds that every bad kernel is refused with one line which
// says what is wrong.
func TestBadKernels(t *testing.T) {
	good := bzImageWith(func(*fakeBzImage) {})
	goodELF := elfWith(func(*fakeELF) {})
	arm64 := make([]byte, 4096)
	copy(arm64, "MZ")
	copy(arm64[0x38:], "ARM\x64")
	tests := []struct {
		name   string
		kernel []byte
		want   string
	}{
		{"empty", nil, "kernel: the file is empty"},
		{"text", []byte("#!/bin/sh\n"), "kernel: not a kernel: neither a bzImage nor an ELF file"},
		{"zeroes", make([]byte, 1<<20), "kernel: not a kernel: neither a bzImage nor an ELF file"},
		{"gzip", []byte("\x1f\x8b\x08rest"), "kernel: gzip data that is cut off"},
		{"cpio", []byte("070701000"), "kernel: not a kernel but a cpio archive: is it the initrd?"},
		{"arm64", arm64, "kernel: not a kernel but a kernel for arm64, not x86-64"},
		{"EFI", append([]byte("MZ"), make([]byte, 4096)...), "kernel: not a kernel but an EFI program without Linux's boot header"},

		{"old", bzImageWith(func(f *fakeBzImage) { f.protocol = 0x209 }), "kernel: boot protocol 2.09: 2.10 or later is needed (Linux 2.6.31)"},
		{"zImage", bzImageWith(func(f *fakeBzImage) { f.loadFlags = 0 }), "kernel: a zImage, which loads below 1 MiB: a bzImage is needed"},
		{"short header", bzImageWith(func(f *fakeBzImage) { f.jump = 0x20 }), "kernel: bad bzImage: the setup header ends at 0x222, before its fields do"},
		{"no code", bzImageWith(func(f *fakeBzImage) { f.code = f.code[:512] }), "kernel: bad bzImage: 512 bytes of code, the entry is at 512"},
		{"low address", bzImageWith(func(f *fakeBzImage) { f.prefAddress = 0 }), "kernel: bad bzImage: its preferred address is 0x0"},
		{"high address", bzImageWith(func(f *fakeBzImage) { f.prefAddress = 1<<64 - pageSize }), "kernel: bad bzImage: its preferred address is 0xfffffffffffff000"},
		{"cut off", good[:len(good)-1], "kernel: truncated: its header says 86016 bytes or more, the file has 86015"},
		{"header only", good[:0x206], "kernel: boot protocol 0.00: 2.10 or later is needed (Linux 2.6.31)"},
		{"header cut off", good[:0x260], "kernel: truncated: its header says 620 bytes or more, the file has 608"},

		{"ELF cut off", goodELF[:len(goodELF)-1], "kernel: program header 1: truncated: 4097 bytes at offset 12464 are wanted, the file has 16560"},
		{"ELF header cut off", goodELF[:40], "kernel: truncated: its header says 64 bytes or more, the file has 40"},
		{"ELF table cut off", goodELF[:100], "kernel: truncated: its header says 176 bytes or more, the file has 100"},
		{"ELF for i386", elfWith(func(f *fakeELF) {
			f.header.Machine, f.header.Ident[4] = uint16(elf.EM_386), byte(elf.ELFCLASS32)
		}), "kernel: a 32-bit kernel: only x86-64 kernels can be started"},
		{"ELF for arm64", elfWith(func(f *fakeELF) { f.header.Machine = uint16(elf.EM_AARCH64) }), "kernel: an ELF file for EM_AARCH64, not x86-64"},
		{"ELF big-endian", elfWith(func(f *fakeELF) { f.header.Ident[5] = byte(elf.ELFDATA2MSB) }), "kernel: an ELF file for a big-endian machine, not x86-64"},
		{"ELF class", elfWith(func(f *fakeELF) { f.header.Ident[4] = 9 }), "kernel: bad ELF file: unknown class or byte order"},
		{"ELF object", elfWith(func(f *fakeELF) { f.header.Type = uint16(elf.ET_REL) }), "kernel: an ELF file of type ET_REL: a kernel is an executable"},
		{"ELF program", elfWith(func(f *fakeELF) { f.progs[1].Type = uint32(elf.PT_INTERP) }), "kernel: not a kernel but a program for an operating system"},
		{"ELF without segments", elfWith(func(f *fakeELF) { f.progs = nil }), "kernel: bad ELF file: no program headers"},
		{"ELF with nothing to load", elfWith(func(f *fakeELF) { f.progs[0].Type, f.progs[1].Type = 0, 0 }), "kernel: bad ELF file: nothing to load"},
		{"ELF with many segments", elfWith(func(f *fakeELF) { f.progs = make([]elf.Prog64, 65) }), "kernel: bad ELF file: 65 program headers, at most 64 make sense"},
		{"ELF too low", elfWith(func(f *fakeELF) { f.progs[0].Paddr = 0x9000 }), "kernel: program header 0: bad segment: 12 KiB at 0x9000, not between 0x100000 and 0xc0000000"},
		{"ELF too high", elfWith(func(f *fakeELF) { f.progs[0].Paddr = 1<<64 - pageSize }), "kernel: program header 0: bad segment: 12 KiB at 0xfffffffffffff000, not between 0x100000 and 0xc0000000"},
		{"ELF too large", elfWith(func(f *fakeELF) { f.progs[0].Memsz = 1 << 63 }), "kernel: program header 0: bad segment: 8589934592 GiB at 0x1000000, not between 0x100000 and 0xc0000000"},
		{"ELF file beyond memory", elfWith(func(f *fakeELF) { f.progs[0].Memsz = 1 }), "kernel: program header 0: bad segment: 12288 bytes in the file, 1 in memory"},
		{"ELF overlap", elfWith(func(f *fakeELF) { f.progs[1].Paddr = 0x1002FFF }), "kernel: program header 1: bad segment: 0x1002fff-0x1007ffe overlaps that at 0x1000000"},
		{"ELF entry", elfWith(func(f *fakeELF) { f.header.Entry = 0x2000000 }), "kernel: bad ELF file: entry 0x2000000 is in no segment"},
		{"PVH entry", makeELF(newFakeELF().withNotes(4, note(4, "Xen", 18, u32(0x100)))), "kernel: bad ELF file: PVH entry 0x100 is in no segment"},
		{"notes", makeELF(newFakeELF().withNotes(4, make([]byte, elfNotesMax+1))), "kernel: program header 2: bad notes: 65537 bytes, at most 65536 make sense"},
	}
	l := mustLayout(t, 128*mib)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(ram{}, LoadConfig{Layout: l, Kernel: bytes.NewReader(tt.kernel)})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestBadConfig holds the same for everything beside the kernel.
func TestBadConfig(t *testing.T) {
	l := mustLayout(t, 128*mib)
	kernel := makeBzImage(newFakeBzImage())
	limited := bzImageWith(func(f *fakeBzImage) { f.initrdAddrMax, f.xloadFlags = 0x1800000-1, xlf64Bit })
	below := bzImageWith(func(f *fakeBzImage) { f.xloadFlags = xlf64Bit })
	tests := []struct {
		name string
		c    LoadConfig
		want string
	}{
		{"no kernel", LoadConfig{Layout: l}, "kernel: none given"},
		{"no layout", LoadConfig{Kernel: bytes.NewReader(kernel)}, "memory: no layout given"},
		{
			"long command line", LoadConfig{Layout: l, Kernel: bytes.NewReader(kernel), Cmdline: strings.Repeat("x", 2048)},
			"command line: 2048 bytes, this kernel takes at most 2047",
		},
		{
			"long command line for ELF", LoadConfig{Layout: l, Kernel: bytes.NewReader(makeELF(newFakeELF())), Cmdline: strings.Repeat("x", 2048)},
			"command line: 2048 bytes, this kernel takes at most 2047",
		},
		{
			"command line beyond its room",
			LoadConfig{Layout: l, Kernel: bytes.NewReader(bzImageWith(func(f *fakeBzImage) { f.cmdlineSize = 1<<32 - 1 })), Cmdline: strings.Repeat("x", cmdlineRoom)},
			"command line: 65536 bytes, this kernel takes at most 65535",
		},
		{"NUL", LoadConfig{Layout: l, Kernel: bytes.NewReader(kernel), Cmdline: "a\x00b"}, "command line: NUL byte at position 1"},
		{"empty initrd", LoadConfig{Layout: l, Kernel: bytes.NewReader(kernel), Initrd: bytes.NewReader(nil)}, "initrd: the file is empty"},
		{"long seed", LoadConfig{Layout: l, Kernel: bytes.NewReader(kernel), Seed: make([]byte, 257)}, "seed: 257 bytes, at most 256 can be handed over"},
		{
			"RAM too small", LoadConfig{Layout: mustLayout(t, 16*mib), Kernel: bytes.NewReader(kernel)},
			"memory: 16 MiB is too small for this kernel, which needs at least 20 MiB",
		},
		{
			"RAM too small with initrd", LoadConfig{Layout: mustLayout(t, 20*mib), Kernel: bytes.NewReader(kernel), Initrd: bytes.NewReader(pattern(1))},
			"initrd: 1 bytes is too large: the memory of 20 MiB has room for 0 bytes beside the kernel, at least 21 MiB of memory would do",
		},
		{
			"RAM too small for kernel and initrd", LoadConfig{Layout: mustLayout(t, 16*mib), Kernel: bytes.NewReader(kernel), Initrd: sized{3 * gib}},
			"memory: 16 MiB is too small for this kernel, which needs at least 20 MiB",
		},
		{
			"initrd above its limit", LoadConfig{Layout: l, Kernel: bytes.NewReader(limited), Initrd: bytes.NewReader(pattern(5 * mib))},
			"initrd: 5 MiB is too large: this kernel takes at most 4 MiB, between its end at 0x1400000 and 0x1800000",
		},
		{
			"initrd larger than RAM", LoadConfig{Layout: l, Kernel: bytes.NewReader(kernel), Initrd: sized{3 * gib}},
			"initrd: 3 GiB is too large: the memory of 128 MiB has room for 108 MiB beside the kernel, at least 6 GiB of memory would do",
		},
		{
			"initrd larger than RAM above 4 GiB", LoadConfig{Layout: mustLayout(t, 6*gib-4096), Kernel: bytes.NewReader(kernel), Initrd: sized{3 * gib}},
			"initrd: 3 GiB is too large: the memory of 6291452 KiB has room for 3145724 KiB beside the kernel, at least 6 GiB of memory would do",
		},
		{
			"initrd for no machine", LoadConfig{Layout: l, Kernel: bytes.NewReader(below), Initrd: sized{3 * gib}},
			"initrd: 3 GiB is too large: this kernel takes at most 2028 MiB, between its end at 0x1400000 and 0x80000000",
		},
		{
			"kernel for no machine",
			LoadConfig{Layout: l, Kernel: bytes.NewReader(bzImageWith(func(f *fakeBzImage) { f.prefAddress, f.initSize = LowRAMMax-mib, 2*mib }))},
			"kernel: it needs the memory 0xbff00000-0xc00fffff, which must end below 0xc0000000",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(ram{}, tt.c)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestInitrdFits holds that the largest initrd which fits is accepted.
func TestInitrdFits(t *testing.T) {
	f := newFakeBzImage() // ends at 20 MiB
	e, err := Load(ram{}, LoadConfig{Layout: mustLayout(t, 22*mib),
		Kernel: bytes.NewReader(makeBzImage(f)), Initrd: bytes.NewReader(pattern(2 * mib))})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Range{20 * mib, 2 * mib}); e.Initrd != want {
		t.Errorf("initrd at %v, want %v", e.Initrd, want)
	}
}

// sized is a file of which only the size matters.
type sized struct{ n int64 }

func (s sized) Size() int64                       { return s.n }
func (s sized) ReadAt([]byte, int64) (int, error) { panic("read before the size was checked") }

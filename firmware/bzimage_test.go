package firmware

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeBzImage describes a bzImage that makeBzImage builds; a zero value in a
// field other than those of newFakeBzImage is written as it is.
type fakeBzImage struct {
	sects         byte
	jump          byte
	protocol      uint16
	loadFlags     byte
	initrdAddrMax uint32
	relocatable   byte
	xloadFlags    uint16
	cmdlineSize   uint32
	prefAddress   uint64
	initSize      uint32
	version       string
	code          []byte
	alignment     uint32
	payload       Range // in code
}

// newFakeBzImage is like Debian 6.1's kernel, but small.
func newFakeBzImage() fakeBzImage {
	return fakeBzImage{
		sects: 39, jump: 0x6A, protocol: 0x20F, loadFlags: loadedHigh,
		initrdAddrMax: 0x7FFFFFFF, relocatable: 1, xloadFlags: 0x7F, cmdlineSize: 2047,
		prefAddress: 0x1000000, initSize: 4 * mib,
		version: "6.1.0-test (someone@example.org) #1 SMP",
		code:    fill(64<<10, "code"),
	}
}

func makeBzImage(f fakeBzImage) []byte {
	le := binary.LittleEndian
	setup := (int(f.sects) + 1) * sectorSize
	if f.sects == 0 {
		setup = (defaultSects + 1) * sectorSize
	}
	b := make([]byte, setup)
	b[hdrSetupSects] = f.sects
	le.PutUint32(b[hdrSysSize:], uint32(len(f.code)/sysUnit))
	le.PutUint16(b[hdrVidMode:], 0x1234)
	le.PutUint16(b[hdrBootFlag:], bootFlag)
	b[hdrJump], b[hdrJump+1] = 0xEB, f.jump
	copy(b[hdrMagic:], "HdrS")
	le.PutUint16(b[hdrVersion:], f.protocol)
	b[hdrLoadFlags] = f.loadFlags
	le.PutUint32(b[hdrInitrdAddrMax:], f.initrdAddrMax)
	b[hdrRelocatable] = f.relocatable
	le.PutUint16(b[hdrXLoadFlags:], f.xloadFlags)
	le.PutUint32(b[hdrCmdlineSize:], f.cmdlineSize)
	le.PutUint64(b[hdrSetupData:], 0xDEAD)
	le.PutUint32(b[hdrAlignment:], f.alignment)
	le.PutUint32(b[hdrPayloadOffset:], uint32(f.payload.Base))
	le.PutUint32(b[hdrPayloadLength:], uint32(f.payload.Size))
	le.PutUint64(b[hdrPrefAddress:], f.prefAddress)
	le.PutUint32(b[hdrInitSize:], f.initSize)
	if f.version != "" {
		le.PutUint16(b[hdrKernelVersion:], 0x400-0x200)
		copy(b[0x400:], f.version)
	}
	return append(b, f.code...)
}

func TestLoadBzImage(t *testing.T) {
	f := newFakeBzImage()
	kernel, initrd := makeBzImage(f), pattern(3*pageSize+5)
	const cmdline = "console=ttyS0 panic=-1"
	seed := []byte("0123456789abcdef0123456789abcdef")
	l := mustLayout(t, 64*mib)

	m := ram{}
	e, err := Load(m, LoadConfig{
		Layout: l, Kernel: bytes.NewReader(kernel), Initrd: bytes.NewReader(initrd),
		Cmdline: cmdline, RSDP: 0xE0000, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}

	if e.Format != BzImage || e.Version != "6.1.0-test" {
		t.Errorf("recognised as %q %q", e.Format, e.Version)
	}
	if want := (Range{0x1000000, 4 * mib}); e.Kernel != want {
		t.Errorf("kernel at %v, want %v", e.Kernel, want)
	}
	if e.Mode != Long64 || e.RIP != 0x1000200 {
		t.Errorf("entered in %v at %#x, want 64-bit mode at 0x1000200", e.Mode, e.RIP)
	}
	if got := m.read(0x1000000, uint64(len(f.code))); !bytes.Equal(got, f.code) {
		t.Error("protected-mode code is not at the preferred address")
	}

	wantInitrd := Range{64*mib - 4*pageSize, uint64(len(initrd))}
	if e.Initrd != wantInitrd {
		t.Errorf("initrd at %v, want %v", e.Initrd, wantInitrd)
	}
	if !bytes.Equal(m.read(wantInitrd.Base, wantInitrd.Size), initrd) {
		t.Error("initrd differs from the file")
	}

	zp := e.RSI
	if got := m.read(zp+zpSetupHeader, 1)[0]; got != f.sects {
		t.Errorf("setup header was not copied: setup_sects is %d", got)
	}
	for _, field := range []struct {
		name      string
		got, want uint64
	}{
		{"acpi_rsdp_addr", m.u64(zp + 0x70), 0xE0000},
		{"ext_ramdisk_image", uint64(m.u32(zp + 0xC0)), 0},
		{"ext_ramdisk_size", uint64(m.u32(zp + 0xC4)), 0},
		{"ext_cmd_line_ptr", uint64(m.u32(zp + 0xC8)), 0},
		{"sentinel", uint64(m.read(zp+0x1EF, 1)[0]), 0},
		{"vid_mode", uint64(m.u16(zp + 0x1FA)), 0xFFFF},
		{"boot_flag", uint64(m.u16(zp + 0x1FE)), 0xAA55},
		{"header", uint64(m.u32(zp + 0x202)), 0x53726448},
		{"version", uint64(m.u16(zp + 0x206)), 0x20F},
		{"type_of_loader", uint64(m.read(zp+0x210, 1)[0]), 0xFF},
		{"ramdisk_image", uint64(m.u32(zp + 0x218)), wantInitrd.Base},
		{"ramdisk_size", uint64(m.u32(zp + 0x21C)), wantInitrd.Size},
		{"cmd_line_ptr", uint64(m.u32(zp + 0x228)), e.Cmdline.Base},
		{"pref_address", m.u64(zp + 0x258), f.prefAddress},
		{"init_size", uint64(m.u32(zp + 0x260)), uint64(f.initSize)},
		{"beyond the header", uint64(m.u32(zp + hdrMagic + uint64(f.jump))), 0},
	} {
		if field.got != field.want {
			t.Errorf("zero page: %s is %#x, want %#x", field.name, field.got, field.want)
		}
	}
	if got := m.cstring(e.Cmdline.Base); got != cmdline {
		t.Errorf("command line is %q", got)
	}
	if diff := cmp.Diff(l.E820(), zeroPageMap(m, zp)); diff != "" {
		t.Errorf("memory map in the zero page (-want +got):\n%s", diff)
	}

	node := m.u64(zp + 0x250)
	if next, kind, n := m.u64(node), m.u32(node+8), m.u32(node+12); next != 0 || kind != 9 || int(n) != len(seed) {
		t.Errorf("setup_data: next %#x, type %d, length %d", next, kind, n)
	}
	if got := m.read(node+16, uint64(len(seed))); !bytes.Equal(got, seed) {
		t.Errorf("seed is %q", got)
	}
}

// zeroPageMap decodes the memory map of a zero page.
func zeroPageMap(m ram, zp uint64) []E820Entry {
	var entries []E820Entry
	for i := range uint64(m.read(zp+0x1E8, 1)[0]) {
		p := zp + 0x2D0 + i*20
		entries = append(entries, E820Entry{Range{m.u64(p), m.u64(p + 8)}, E820Type(m.u32(p + 16))})
	}
	return entries
}

// A kernel that is told nothing must not find pointers left in its own header.
func TestLoadBzImageAlone(t *testing.T) {
	m := ram{}
	e, err := Load(m, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(makeBzImage(newFakeBzImage()))})
	if err != nil {
		t.Fatal(err)
	}
	if e.Initrd.Size != 0 || m.u32(e.RSI+hdrRamdiskImage) != 0 || m.u32(e.RSI+hdrRamdiskSize) != 0 {
		t.Errorf("an initrd appeared at %v", e.Initrd)
	}
	if got := m.u64(e.RSI + hdrSetupData); got != 0 {
		t.Errorf("setup_data is %#x", got)
	}
	if got := m.u64(e.RSI + zpRSDP); got != 0 {
		t.Errorf("acpi_rsdp_addr is %#x", got)
	}
	if got := m.cstring(uint64(m.u32(e.RSI + hdrCmdLinePtr))); got != "" {
		t.Errorf("command line is %q", got)
	}
}

func TestBzImagePlacement(t *testing.T) {
	tests := []struct {
		name           string
		change         func(*fakeBzImage)
		rip            uint64
		kernel, initrd Range
	}{
		{
			"relocatable", func(*fakeBzImage) {},
			0x1000200, Range{0x1000000, 4 * mib}, Range{0x8000000 - 0x1000, 0x1000},
		},
		{
			"not relocatable: loaded at 1 MiB, runs at its address", func(f *fakeBzImage) { f.relocatable = 0 },
			0x100200, Range{0x100000, 0x1400000 - 0x100000}, Range{0x8000000 - 0x1000, 0x1000},
		},
		{
			"code larger than init_size", func(f *fakeBzImage) { f.initSize = 16 },
			0x1000200, Range{0x1000000, 64 << 10}, Range{0x8000000 - 0x1000, 0x1000},
		},
		{
			"initrd limited by the kernel", func(f *fakeBzImage) { f.initrdAddrMax = 0x2FFFFFF },
			0x1000200, Range{0x1000000, 4 * mib}, Range{0x3000000 - 0x1000, 0x1000},
		},
		{
			"setup_sects of zero means four", func(f *fakeBzImage) { f.sects = 0 },
			0x1000200, Range{0x1000000, 4 * mib}, Range{0x8000000 - 0x1000, 0x1000},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeBzImage()
			tt.change(&f)
			m := ram{}
			e, err := Load(m, LoadConfig{
				Layout: mustLayout(t, 128*mib), Kernel: bytes.NewReader(makeBzImage(f)),
				Initrd: bytes.NewReader(pattern(0x1000)),
			})
			if err != nil {
				t.Fatal(err)
			}
			if e.RIP != tt.rip || e.Kernel != tt.kernel || e.Initrd != tt.initrd {
				t.Errorf("entry %#x kernel %v initrd %v, want %#x, %v, %v", e.RIP, e.Kernel, e.Initrd, tt.rip, tt.kernel, tt.initrd)
			}
			if got := m.read(tt.rip, 16); !bytes.Equal(got, f.code[entry64Offset:][:16]) {
				t.Errorf("at the entry is %q", got)
			}
		})
	}
}

func TestBzImageVersion(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "6.12.1 (x)": "6.12.1", "6.1": "6.1", "bad\x1b[31mred": "bad", "\xff": "",
	} {
		f := newFakeBzImage()
		f.version = in
		b, err := openImage(bytes.NewReader(makeBzImage(f)), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.(*bzImage).version; got != want {
			t.Errorf("version %q read as %q, want %q", in, got, want)
		}
	}
}

package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Fields of the setup header, by offset in the file and in the zero page
// (Linux, Documentation/arch/x86/boot.rst).
const (
	hdrSetupSects    = 0x1F1 // u8: real-mode sectors after the first, 0 means 4
	hdrSysSize       = 0x1F4 // u32: protected-mode code in 16-byte units
	hdrVidMode       = 0x1FA // u16
	hdrBootFlag      = 0x1FE // u16: 0xAA55
	hdrJump          = 0x200 // u8 opcode, u8 distance to the end of the header
	hdrMagic         = 0x202 // "HdrS"
	hdrVersion       = 0x206 // u16: protocol, major.minor
	hdrKernelVersion = 0x20E // u16: version string at this offset + 0x200
	hdrTypeOfLoader  = 0x210 // u8
	hdrLoadFlags     = 0x211 // u8
	hdrRamdiskImage  = 0x218 // u32
	hdrRamdiskSize   = 0x21C // u32
	hdrCmdLinePtr    = 0x228 // u32
	hdrInitrdAddrMax = 0x22C // u32: highest address of the initrd's last byte
	hdrAlignment     = 0x230 // u32: of the address that a relocatable kernel runs at
	hdrRelocatable   = 0x234 // u8
	hdrXLoadFlags    = 0x236 // u16
	hdrCmdlineSize   = 0x238 // u32: longest command line without NUL
	hdrSetupData     = 0x250 // u64
	hdrPrefAddress   = 0x258 // u64
	hdrInitSize      = 0x260 // u32: bytes needed from the load address on

	hdrEndMin = 0x264 // a header of protocol 2.12 reaches this far
)

const (
	bootFlag         = 0xAA55
	protocolMin      = 0x020A // the first that says where the kernel unpacks itself
	protocol64       = 0x020C // the first with a 64-bit entry
	loadedHigh       = 1 << 0 // loadflags
	kaslrDone        = 1 << 1 // loadflags: the kernel runs at a random address
	xlf64Bit         = 1 << 0 // xloadflags: 64-bit entry exists
	xlfAbove4G       = 1 << 1 // xloadflags: kernel, initrd and so on may lie above 4 GiB
	xlf5Level        = 1 << 6 // xloadflags: page tables of five levels are used where the processor has them
	entry64Offset    = 0x200  // of the 64-bit entry in the protected-mode code
	bzImageBase      = 0x100000
	vidModeNormal    = 0xFFFF
	loaderUndefined  = 0xFF
	sectorSize       = 512
	defaultSects     = 4
	sysUnit          = 16
	setupHeaderMax   = hdrMagic + 0xFF // the furthest that the jump can reach
	kernelVersionMax = 128
)

// bzImage is a Linux kernel that unpacks itself.
type bzImage struct {
	src     Source
	header  []byte // from hdrSetupSects to the end of the setup header
	version string

	codeOffset  int64 // of the protected-mode code in the file
	codeSize    uint64
	loadAddr    uint64 // where that code is put
	runs        Range  // where it unpacks the kernel and runs it
	initrdLimit uint64
	cmdlineSize uint32
	relocatable bool
	entry64     bool // or in 32-bit protected mode, at the start of the code
	high        bool // the initrd may lie above 4 GiB
}

func isBzImage(head []byte) bool {
	return binary.LittleEndian.Uint16(head[hdrBootFlag:]) == bootFlag &&
		string(head[hdrMagic:hdrMagic+4]) == "HdrS"
}

// openBzImage checks the headers of a bzImage. head is its beginning, filled
// up with zeroes to setupHeaderMax.
func openBzImage(src Source, head []byte) (*bzImage, error) {
	le := binary.LittleEndian
	version := le.Uint16(head[hdrVersion:])
	if version < protocolMin {
		return nil, fmt.Errorf("boot protocol %d.%02d: 2.10 or later is needed (Linux 2.6.31)", version>>8, version&0xFF)
	}
	end := hdrMagic + int(head[hdrJump+1])
	if end < hdrEndMin {
		return nil, fmt.Errorf("bad bzImage: the setup header ends at %#x, before its fields do", end)
	}
	if int64(end) > src.Size() {
		return nil, errTruncated(uint64(end), src.Size())
	}
	if head[hdrLoadFlags]&loadedHigh == 0 {
		return nil, errors.New("a zImage, which loads below 1 MiB: a bzImage is needed")
	}

	sects := int64(head[hdrSetupSects])
	if sects == 0 {
		sects = defaultSects
	}
	b := &bzImage{
		src:         src,
		header:      bytes.Clone(head[hdrSetupSects:end]),
		codeOffset:  (sects + 1) * sectorSize,
		codeSize:    uint64(le.Uint32(head[hdrSysSize:])) * sysUnit,
		loadAddr:    bzImageBase,
		initrdLimit: uint64(le.Uint32(head[hdrInitrdAddrMax:])) + 1,
		cmdlineSize: le.Uint32(head[hdrCmdlineSize:]),
	}
	if flags := le.Uint16(head[hdrXLoadFlags:]); version >= protocol64 {
		b.entry64, b.high = flags&xlf64Bit != 0, flags&(xlf64Bit|xlfAbove4G) == xlf64Bit|xlfAbove4G
	}
	if need := uint64(b.codeOffset) + b.codeSize; need > uint64(src.Size()) {
		return nil, errTruncated(need, src.Size())
	}
	if b.codeSize <= entry64Offset {
		return nil, fmt.Errorf("bad bzImage: %d bytes of code, the entry is at %d", b.codeSize, entry64Offset)
	}
	b.runs = Range{le.Uint64(head[hdrPrefAddress:]), uint64(le.Uint32(head[hdrInitSize:]))}
	if b.runs.Base < bzImageBase || b.runs.Base >= LowRAMMax || b.runs.Base%pageSize != 0 {
		return nil, fmt.Errorf("bad bzImage: its preferred address is %#x", b.runs.Base)
	}
	if b.relocatable = head[hdrRelocatable] != 0; b.relocatable {
		b.loadAddr = b.runs.Base
	}
	var err error
	b.version, err = readKernelVersion(src, head, b.codeOffset)
	return b, err
}

// readKernelVersion reads the release from the version string in the
// real-mode part, which ends at limit: its first word, such as
// "6.1.0-18-amd64". Kernels may leave it out.
func readKernelVersion(src Source, head []byte, limit int64) (string, error) {
	p := int64(binary.LittleEndian.Uint16(head[hdrKernelVersion:]))
	if p == 0 || p+0x200 >= limit {
		return "", nil
	}
	s := make([]byte, min(kernelVersionMax, limit-p-0x200))
	if err := readFull(src, s, p+0x200); err != nil {
		return "", err
	}
	for i, c := range s {
		if c <= ' ' || c > '~' {
			return string(s[:i]), nil
		}
	}
	return string(s), nil
}

func errTruncated(need uint64, have int64) error {
	return fmt.Errorf("truncated: its header says %d bytes or more, the file has %d", need, have)
}

func (b *bzImage) extent() Range {
	base := min(b.loadAddr, b.runs.Base)
	end := max(b.loadAddr+b.codeSize, b.runs.End())
	return Range{base, end - base}
}

func (b *bzImage) initrdEnd() uint64 { return b.initrdLimit }

func (b *bzImage) takesHighInitrd() bool { return b.high }

func (b *bzImage) cmdlineMax() int { return int(b.cmdlineSize) }

func (b *bzImage) load(g *guest) error {
	return g.copyIn(b.src, b.codeOffset, b.loadAddr, b.codeSize)
}

func (b *bzImage) describe(g *guest, info bootInfo) (Entry, error) {
	mode, entry := Protected32, b.loadAddr
	if b.entry64 {
		mode, entry = Long64, b.loadAddr+entry64Offset
	}
	e, err := g.enterZeroPage(b.header, info, mode, entry)
	e.Format, e.Version = BzImage, b.version
	return e, err
}

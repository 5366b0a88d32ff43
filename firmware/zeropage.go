package firmware

import (
	"encoding/binary"
	"fmt"
)

// Fields of the zero page (Linux, Documentation/arch/x86/zero-page.rst).
const (
	zpRSDP          = 0x070 // u64
	zpInitrdHigh    = 0x0C0 // u32, upper half of ramdisk_image
	zpInitrdSizeHi  = 0x0C4 // u32, upper half of ramdisk_size
	zpCmdlineHigh   = 0x0C8 // u32, upper half of cmd_line_ptr
	zpE820Entries   = 0x1E8 // u8
	zpSetupHeader   = 0x1F1 // as in the file
	zpSetupHeaderHi = 0x290 // what may follow the header begins here
	zpE820Table     = 0x2D0 // up to 128 entries as of EncodeE820

	zpE820Max = 128
)

// setupDataSeed is the type of a setup_data node with random bytes.
const setupDataSeed = 9

// enterZeroPage hands the kernel the zero page and enters it at rip in the given
// mode. header is the part of the setup header that came with the kernel, from
// offset zpSetupHeader on.
func (g *guest) enterZeroPage(header []byte, info bootInfo, mode Mode, rip uint64) (Entry, error) {
	zp := make([]byte, pageSize)
	copy(zp[zpSetupHeader:zpSetupHeaderHi], header)

	le := binary.LittleEndian
	le.PutUint16(zp[hdrVidMode:], vidModeNormal)
	zp[hdrTypeOfLoader] = loaderUndefined
	le.PutUint64(zp[zpRSDP:], info.rsdp)
	putSplit := func(low, high int, v uint64) {
		le.PutUint32(zp[low:], uint32(v))
		le.PutUint32(zp[high:], uint32(v>>32))
	}
	putSplit(hdrRamdiskImage, zpInitrdHigh, info.initrd.Base)
	putSplit(hdrRamdiskSize, zpInitrdSizeHi, info.initrd.Size)
	putSplit(hdrCmdLinePtr, zpCmdlineHigh, info.cmdline.Base)

	if len(info.e820) > zpE820Max {
		return Entry{}, fmt.Errorf("memory map: %d ranges, the boot protocol has room for %d", len(info.e820), zpE820Max)
	}
	zp[zpE820Entries] = byte(len(info.e820))
	copy(zp[zpE820Table:], EncodeE820(info.e820))

	le.PutUint64(zp[hdrSetupData:], 0)
	if len(info.seed) > 0 {
		le.PutUint64(zp[hdrSetupData:], setupDataAddr)
		if err := g.write(setupDataNode(setupDataSeed, info.seed), setupDataAddr); err != nil {
			return Entry{}, err
		}
	}
	if err := g.write(zp, zeroPageAddr); err != nil {
		return Entry{}, err
	}
	e, err := g.newEntry(mode, rip)
	e.RSI = zeroPageAddr
	return e, err
}

// setupDataNode is the last node of a setup_data list: next, type, length.
func setupDataNode(kind uint32, data []byte) []byte {
	p := make([]byte, 16, 16+len(data))
	binary.LittleEndian.PutUint32(p[8:], kind)
	binary.LittleEndian.PutUint32(p[12:], uint32(len(data)))
	return append(p, data...)
}

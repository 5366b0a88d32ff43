package firmware

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The structures of the PVH start of day (Xen,
// xen/include/public/arch-x86/hvm/start_info.h, version 1), little-endian.
const (
	startInfoMagic   = 0x336EC578
	startInfoVersion = 1
	startInfoSize    = 56
	moduleSize       = 32
	memmapSize       = 24
	startInfoRoom    = zeroPageAddr - startInfoAddr
)

type startInfo struct {
	Magic, Version, Flags, Modules uint32
	ModuleList                     uint64
	Cmdline                        uint64
	RSDP                           uint64
	Memmap                         uint64
	MemmapEntries                  uint32
	_                              uint32
}

type pvhModule struct{ Addr, Size, Cmdline, _ uint64 }

type pvhMemmap struct {
	Base, Size uint64
	Type       uint32
	_          uint32
}

// enterPVH hands the kernel a start_info and enters it at rip in 32-bit mode.
// The module list and the memory map follow the structure.
func (g *guest) enterPVH(info bootInfo, rip uint64) (Entry, error) {
	s := startInfo{
		Magic:         startInfoMagic,
		Version:       startInfoVersion,
		Cmdline:       info.cmdline.Base,
		RSDP:          info.rsdp,
		Memmap:        startInfoAddr + startInfoSize,
		MemmapEntries: uint32(len(info.e820)),
	}
	parts := []any{&s}
	for _, r := range info.e820 {
		parts = append(parts, pvhMemmap{Base: r.Base, Size: r.Size, Type: uint32(r.Type)})
	}
	if info.initrd.Size > 0 {
		s.Modules = 1
		s.ModuleList = s.Memmap + uint64(len(info.e820))*memmapSize
		parts = append(parts, pvhModule{Addr: info.initrd.Base, Size: info.initrd.Size})
	}
	var buf bytes.Buffer
	for _, p := range parts {
		if err := binary.Write(&buf, binary.LittleEndian, p); err != nil {
			return Entry{}, err
		}
	}
	if buf.Len() > startInfoRoom {
		return Entry{}, fmt.Errorf("memory map: %d ranges do not fit into %d bytes", len(info.e820), startInfoRoom)
	}
	if err := g.write(buf.Bytes(), startInfoAddr); err != nil {
		return Entry{}, err
	}
	e, err := g.newEntry(Protected32, rip)
	e.Format, e.RBX = PVH, startInfoAddr
	return e, err
}
